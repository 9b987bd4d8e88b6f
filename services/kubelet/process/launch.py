"""From a container's spec to a command line: what is run, in which environment, and what cannot be honoured. Pure.

Nothing is guessed: what a process of this machine cannot be given refuses the container when it would run differently
without it (another user, a file system of its own), and is told when it would only be less well kept (probes, limits).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from services.api.pb.ursa.core.v1.pod_pb2 import Container, EnvVar, Pod, SecurityContext

CONFIG_ERROR, CREATE_ERROR = "CreateContainerConfigError", "CreateContainerError"

_PAUSE_IMAGE = re.compile(r"(?:.*/)?pause(?:-[a-z0-9]+)?(?:[:@].*)?")
# Ends with 0 on SIGTERM, as the pause container does.
_PAUSE = ("/bin/sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 86400 & wait; done")
_REFERENCE = re.compile(r"\$(\$|\([^()]*\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class Refusal(Exception):
    """The container cannot be made. ``reason`` as in a container's waiting state."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Surroundings(NamedTuple):
    """What a container gets of its machine. ``path``: the search path for commands; ``user``, ``group``: numbers of
    whom it runs as; ``directory``: where it starts unless it says; ``address``: of the node and so of its pods."""

    path: str
    home: str
    user: int
    group: int
    directory: str
    address: str


class Launch(NamedTuple):
    """``unhonoured``: parts of the spec that have no effect here."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    unhonoured: tuple[str, ...]


def plan(pod: Pod, container: Container, around: Surroundings) -> Launch:
    """Raises ``Refusal``."""
    _check_security(pod, container, around)
    _check_files(container)
    env = _environment(pod, container, around)
    words = [*container.command, *container.args]
    if not container.command:
        if not _PAUSE_IMAGE.fullmatch(container.image):
            raise Refusal(
                CREATE_ERROR,
                f"container {container.name!r} names no command, and the image {container.image!r} is not run here:"
                " the process runtime runs commands of this machine",
            )
        return Launch(_PAUSE, env, around.directory, tuple(_unhonoured(container)))
    argv = tuple(expand(word, env) for word in words)
    return Launch(argv, env, container.working_dir or around.directory, tuple(_unhonoured(container)))


def expand(text: str, env: Mapping[str, str]) -> str:
    """``$(NAME)`` becomes the variable's value, ``$$`` one dollar sign; an unknown name stays as it is written.

    (``third_party/forked/golang/expansion``.)
    """

    def replace(match: re.Match[str]) -> str:
        found = match.group(1)
        return "$" if found == "$" else env.get(found[1:-1], match.group(0))

    return _REFERENCE.sub(replace, text)


def _environment(pod: Pod, container: Container, around: Surroundings) -> dict[str, str]:
    if container.env_from:
        source = container.env_from[0]
        kind, reference = (
            ("secret", source.secret_ref) if source.HasField("secret_ref") else ("configmap", source.config_map_ref)
        )
        if any(not _optional(one) for one in container.env_from):
            raise Refusal(CONFIG_ERROR, f'{kind} "{reference.name}" not found')
    env = {"PATH": around.path, "HOME": around.home, "HOSTNAME": pod.spec.hostname or pod.metadata.name}
    for variable in container.env:
        value = _value(pod, variable, around, env)
        if value is not None:
            env[variable.name] = value
    return env


def _optional(source: object) -> bool:
    reference = source.secret_ref if source.HasField("secret_ref") else source.config_map_ref  # type: ignore[attr-defined]
    return bool(reference.optional)


def _value(pod: Pod, variable: EnvVar, around: Surroundings, env: Mapping[str, str]) -> str | None:
    """None: an optional reference to what does not exist."""
    if not variable.HasField("value_from"):
        return expand(variable.value, env)
    source = variable.value_from
    if source.HasField("field_ref"):
        return _field(pod, variable.name, source.field_ref.field_path, around)
    for kind, name in (("secret", "secret_key_ref"), ("configmap", "config_map_key_ref")):
        if source.HasField(name):  # type: ignore[arg-type]
            reference = getattr(source, name)
            if reference.optional:
                return None
            raise Refusal(CONFIG_ERROR, f'{kind} "{reference.name}" not found')
    raise Refusal(CONFIG_ERROR, f"env {variable.name}: resourceFieldRef has no meaning for a process without limits")


def _field(pod: Pod, variable: str, path: str, around: Surroundings) -> str:
    metadata, spec = pod.metadata, pod.spec
    plain = {
        "metadata.name": metadata.name,
        "metadata.namespace": metadata.namespace,
        "metadata.uid": metadata.uid,
        "metadata.tenant": metadata.tenant,
        "spec.nodeName": spec.node_name,
        "spec.serviceAccountName": spec.service_account_name,
        "status.hostIP": around.address,
        "status.podIP": around.address,
        "status.hostIPs": around.address,
        "status.podIPs": around.address,
    }
    if path in plain:
        return plain[path]
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        table = metadata.labels if subscript.group(1) == "labels" else metadata.annotations
        return str(table.get(subscript.group(2), ""))
    raise Refusal(CONFIG_ERROR, f"env {variable}: fieldPath {path!r} is not supported")


def _check_security(pod: Pod, container: Container, around: Surroundings) -> None:
    """A process runs as the kubelet's user and sees all that this user sees; what asks for less must not run."""
    whole, own = pod.spec.security_context, container.security_context
    user = (
        own.run_as_user
        if own.HasField("run_as_user")
        else (whole.run_as_user if whole.HasField("run_as_user") else around.user)
    )
    group = (
        own.run_as_group
        if own.HasField("run_as_group")
        else (whole.run_as_group if whole.HasField("run_as_group") else around.group)
    )
    if user != around.user:
        raise _unkept("runAsUser", f"is {user}; containers run as the kubelet's user {around.user}")
    if group != around.group:
        raise _unkept("runAsGroup", f"is {group}; containers run as the kubelet's group {around.group}")
    if around.user == 0 and (own.run_as_non_root if own.HasField("run_as_non_root") else whole.run_as_non_root):
        raise _unkept("runAsNonRoot", "the kubelet runs as root, and so would the container")
    for name, problem in _impossible(own):
        raise _unkept(name, problem)
    if whole.supplemental_groups or whole.HasField("fs_group"):
        raise _unkept("supplementalGroups or fsGroup", "a process keeps the kubelet's groups")
    if whole.sysctls:
        raise _unkept("sysctls", "a process has no kernel namespaces of its own")


def _impossible(own: SecurityContext) -> Iterator[tuple[str, str]]:
    if own.privileged:
        yield "privileged", "a process gets no more rights than the kubelet's user has"
    if own.capabilities.add:
        yield "capabilities.add", "a process gets no more rights than the kubelet's user has"
    if own.read_only_root_filesystem:
        yield "readOnlyRootFilesystem", "a process sees this machine's file system as the kubelet's user does"


def _unkept(field: str, problem: str) -> Refusal:
    return Refusal(CONFIG_ERROR, f"securityContext.{field} cannot be honoured by the process runtime: {problem}")


def _check_files(container: Container) -> None:
    for mount in container.volume_mounts:
        # Every pod of Kubernetes gets its account's token there, asked for or not.
        if not mount.mount_path.startswith("/var/run/secrets/"):
            raise Refusal(
                CONFIG_ERROR,
                f"volumeMounts[{mount.name}]: the process runtime mounts nothing at {mount.mount_path!r}:"
                " a process sees this machine's file system",
            )
    if container.volume_devices:
        raise Refusal(CONFIG_ERROR, "volumeDevices: the process runtime has no block devices to give")


def _unhonoured(container: Container) -> Iterator[str]:
    for name, field in (
        ("livenessProbe", "liveness_probe"),
        ("readinessProbe", "readiness_probe"),
        ("startupProbe", "startup_probe"),
        ("lifecycle", "lifecycle"),
    ):
        if container.HasField(field):  # type: ignore[arg-type]
            yield name
    if container.resources.limits:
        yield "resources.limits"
    own = container.security_context
    if own.capabilities.drop:
        yield "securityContext.capabilities.drop"
    if own.HasField("allow_privilege_escalation") and not own.allow_privilege_escalation:
        yield "securityContext.allowPrivilegeEscalation"
    if own.HasField("seccomp_profile") or own.HasField("app_armor_profile") or own.HasField("se_linux_options"):
        yield "securityContext profiles"
    if container.tty or container.stdin:
        yield "stdin and tty"
