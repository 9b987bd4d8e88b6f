"""Rules of containers: names, images, ports, environment, mounts, probes, resources (``validateContainers``)."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from services.api import names
from services.api.pb.ursa.core.v1.pod_pb2 import (
    Container,
    ContainerPort,
    EnvFromSource,
    EnvVar,
    ExecAction,
    GRPCAction,
    HTTPGetAction,
    Lifecycle,
    LifecycleHandler,
    PodSpec,
    Probe,
    SecurityContext,
    TCPSocketAction,
    VolumeMount,
)
from services.api.validation.resources import requirements_faults
from services.api.validation.violations import (
    Violations,
    duplicate,
    faults,
    forbidden,
    invalid,
    non_negative,
    one_of,
    required,
    under,
)

PROTOCOLS = frozenset(("TCP", "UDP", "SCTP"))
PULL_POLICIES = frozenset(("Always", "IfNotPresent", "Never"))
MESSAGE_POLICIES = frozenset(("File", "FallbackToLogsOnError"))
SCHEMES = frozenset(("HTTP", "HTTPS"))
PROPAGATIONS = frozenset(("None", "HostToContainer", "Bidirectional"))
_FIELD_PATHS = frozenset(
    (
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.labels",
        "metadata.annotations",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    )
)


def containers_faults(spec: PodSpec) -> Violations:
    """All containers of a pod; paths start inside ``spec``."""
    volumes = {volume.name for volume in spec.volumes}
    found: Violations = []
    if not spec.containers:
        found.append(required("containers", "at least one container is required"))
    seen: set[str] = set()
    for index, container in enumerate(spec.init_containers):
        wrong = _container(container, volumes, seen) + _init_only(container)
        if wrong:
            found += under(f"initContainers[{index}]", wrong)
    for index, container in enumerate(spec.containers):
        wrong = _container(container, volumes, seen)
        if container.restart_policy:
            wrong.append(forbidden("restartPolicy", "may not be set for non-init containers"))
        if wrong:
            found += under(f"containers[{index}]", wrong)
    return found + _host_ports(spec)


def _container(container: Container, volumes: Collection[str], seen: set[str]) -> Violations:
    found = _identity(container, seen)
    found += one_of("imagePullPolicy", container.image_pull_policy, PULL_POLICIES, optional=True)
    policy = container.termination_message_policy
    found += one_of("terminationMessagePolicy", policy, MESSAGE_POLICIES, optional=True)
    if container.ports:
        found += _ports(container.ports)
    for index, variable in enumerate(container.env):
        wrong = _variable(variable)
        if wrong:
            found += under(f"env[{index}]", wrong)
    for index, source in enumerate(container.env_from):
        found += under(f"envFrom[{index}]", _variables_from(source))
    if container.volume_mounts:
        found += _mounts(container.volume_mounts, volumes)
    if container.HasField("resources"):
        wrong = requirements_faults(container.resources)
        if wrong:
            found += under("resources", wrong)
    found += _probes(container)
    if container.HasField("security_context"):
        found += under("securityContext", security_faults(container.security_context))
    return found


def _identity(container: Container, seen: set[str]) -> Violations:
    name, image = container.name, container.image
    found = faults("name", name, names.dns_label(name)) if name else [required("name")]
    if name in seen:
        found.append(duplicate("name", name))
    seen.add(name)
    if not image:
        found.append(required("image"))
    elif image != image.strip():
        found.append(invalid("image", image, "must not have leading or trailing whitespace"))
    return found


def _init_only(container: Container) -> Violations:
    """A plain init container ends before the pod starts: it cannot be probed. A sidecar restarts always."""
    if container.restart_policy == "Always":
        return []
    found = one_of("restartPolicy", container.restart_policy, ("Always",), optional=True)
    for field, path in (
        ("lifecycle", "lifecycle"),
        ("liveness_probe", "livenessProbe"),
        ("readiness_probe", "readinessProbe"),
        ("startup_probe", "startupProbe"),
    ):
        if container.HasField(field):  # type: ignore[arg-type]
            found.append(forbidden(path, "may not be set for init containers without restartPolicy=Always"))
    return found


def port_faults(field: str, number: int) -> Violations:
    return [] if 1 <= number <= 65535 else [invalid(field, number, "must be between 1 and 65535, inclusive")]


def _ports(ports: Iterable[ContainerPort]) -> Violations:
    found: Violations = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        wrong = _port(port)
        if port.name and port.name in seen:
            wrong.append(duplicate("name", port.name))
        seen.add(port.name)
        if wrong:
            found += under(f"ports[{index}]", wrong)
    return found


def _port(port: ContainerPort) -> Violations:
    found = faults("name", port.name, names.port_name(port.name)) if port.name else []
    if port.container_port == 0:
        found.append(required("containerPort"))
    else:
        found += port_faults("containerPort", port.container_port)
    if port.host_port:
        found += port_faults("hostPort", port.host_port)
    found += one_of("protocol", port.protocol, PROTOCOLS)
    if port.host_ip and not is_ip(port.host_ip):
        found.append(invalid("hostIP", port.host_ip, "must be a valid IP address"))
    return found


def is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _host_ports(spec: PodSpec) -> Violations:
    """One host port serves one container; on the host's network the two numbers are the same."""
    found: Violations = []
    taken: set[tuple[str, str, int]] = set()
    for group, containers in (("initContainers", spec.init_containers), ("containers", spec.containers)):
        for at, container in enumerate(containers):
            if group == "initContainers" and container.restart_policy != "Always":
                continue
            for index, port in enumerate(container.ports):
                here = f"{group}[{at}].ports[{index}]"
                if spec.host_network and port.host_port != port.container_port:
                    detail = "must match hostPort when hostNetwork is true"
                    found.append(invalid(f"{here}.containerPort", port.container_port, detail))
                if port.host_port:
                    found += _take(taken, port, f"{here}.hostPort")
    return found


def _take(taken: set[tuple[str, str, int]], port: ContainerPort, field: str) -> Violations:
    key = (port.protocol, port.host_ip or "0.0.0.0", port.host_port)
    if key in taken:
        return [duplicate(field, f"{port.protocol}/{port.host_ip}/{port.host_port}")]
    taken.add(key)
    return []


def _variable(variable: EnvVar) -> Violations:
    found = faults("name", variable.name, names.env_name(variable.name)) if variable.name else [required("name")]
    if not variable.HasField("value_from"):
        return found
    source = variable.value_from
    chosen = [field.name for field, _ in source.ListFields()]
    if variable.value:
        found.append(invalid("valueFrom", "", "may not be specified when `value` is not empty"))
    if len(chosen) != 1:
        found.append(invalid("valueFrom", "", "must specify exactly one of its sources"))
        return found
    if source.HasField("field_ref"):
        found += under("valueFrom.fieldRef", _field_path(source.field_ref.field_path))
    elif source.HasField("resource_field_ref"):
        if not source.resource_field_ref.resource:
            found.append(required("valueFrom.resourceFieldRef.resource"))
    else:
        is_map = source.HasField("config_map_key_ref")
        reference = source.config_map_key_ref if is_map else source.secret_key_ref
        here = "valueFrom.configMapKeyRef" if is_map else "valueFrom.secretKeyRef"
        found += _reference(f"{here}.name", reference.name)
        found += (
            faults(f"{here}.key", reference.key, names.config_key(reference.key))
            if reference.key
            else [required(f"{here}.key")]
        )
    return found


def _field_path(path: str) -> Violations:
    if not path:
        return [required("fieldPath")]
    base, bracket, _ = path.partition("['")
    if path in _FIELD_PATHS or (
        bracket and path.endswith("']") and base in ("metadata.labels", "metadata.annotations")
    ):
        return []
    return one_of("fieldPath", path, _FIELD_PATHS)


def _reference(field: str, name: str) -> Violations:
    return faults(field, name, names.dns_subdomain(name)) if name else [required(field)]


def _variables_from(source: EnvFromSource) -> Violations:
    found = faults("prefix", source.prefix, names.env_name(source.prefix)) if source.prefix else []
    chosen = [name for name in ("config_map_ref", "secret_ref") if source.HasField(name)]
    if len(chosen) != 1:
        found.append(invalid("", "", "must specify exactly one of configMapRef, secretRef"))
    elif chosen == ["config_map_ref"]:
        found += _reference("configMapRef.name", source.config_map_ref.name)
    else:
        found += _reference("secretRef.name", source.secret_ref.name)
    return found


def _mounts(mounts: Iterable[VolumeMount], volumes: Collection[str]) -> Violations:
    found: Violations = []
    paths: set[str] = set()
    for index, mount in enumerate(mounts):
        wrong = _mount(mount, volumes)
        if mount.mount_path and mount.mount_path in paths:
            wrong.append(invalid("mountPath", mount.mount_path, "must be unique"))
        paths.add(mount.mount_path)
        if wrong:
            found += under(f"volumeMounts[{index}]", wrong)
    return found


def _mount(mount: VolumeMount, volumes: Collection[str]) -> Violations:
    found: Violations = []
    if not mount.name:
        found.append(required("name"))
    elif mount.name not in volumes:
        found.append(invalid("name", mount.name, "not found: no volume of the pod has this name"))
    if not mount.mount_path:
        found.append(required("mountPath"))
    for field, path in (("subPath", mount.sub_path), ("subPathExpr", mount.sub_path_expr)):
        found += relative_faults(field, path) if path else []
    if mount.sub_path and mount.sub_path_expr:
        found.append(invalid("subPathExpr", mount.sub_path_expr, "subPathExpr and subPath are mutually exclusive"))
    return found + one_of("mountPropagation", mount.mount_propagation, PROPAGATIONS, optional=True)


def relative_faults(field: str, path: str) -> Violations:
    """A path below some directory, that cannot leave it."""
    if path.startswith("/"):
        return [invalid(field, path, "must be a relative path")]
    return [invalid(field, path, "must not contain '..'")] if ".." in path.split("/") else []


def _probes(container: Container) -> Violations:
    found: Violations = []
    if container.HasField("liveness_probe"):
        found += under("livenessProbe", _probe(container.liveness_probe, once=True))
    if container.HasField("readiness_probe"):
        found += under("readinessProbe", _probe(container.readiness_probe))
        if container.readiness_probe.HasField("termination_grace_period_seconds"):
            seconds = container.readiness_probe.termination_grace_period_seconds
            detail = "must not be set for readinessProbes"
            found.append(invalid("readinessProbe.terminationGracePeriodSeconds", seconds, detail))
    if container.HasField("startup_probe"):
        found += under("startupProbe", _probe(container.startup_probe, once=True))
    if container.HasField("lifecycle"):
        found += under("lifecycle", _lifecycle(container.lifecycle))
    return found


def _probe(probe: Probe, *, once: bool = False) -> Violations:
    """``once``: a single success must be enough."""
    found = _handler(probe, ("exec", "http_get", "tcp_socket", "grpc"))
    for field, value in (
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ):
        found += non_negative(field, value)
    if once and probe.success_threshold not in (0, 1):
        found.append(invalid("successThreshold", probe.success_threshold, "must be 1"))
    if probe.HasField("termination_grace_period_seconds") and probe.termination_grace_period_seconds <= 0:
        seconds = probe.termination_grace_period_seconds
        found.append(invalid("terminationGracePeriodSeconds", seconds, "must be greater than 0"))
    return found


def _lifecycle(lifecycle: Lifecycle) -> Violations:
    found: Violations = []
    if lifecycle.HasField("post_start"):
        found += under("postStart", _handler(lifecycle.post_start, _HOOKS))
    if lifecycle.HasField("pre_stop"):
        found += under("preStop", _handler(lifecycle.pre_stop, _HOOKS))
    return found


_HOOKS = ("exec", "http_get", "tcp_socket", "sleep")


def _handler(handler: Probe | LifecycleHandler, known: Sequence[str]) -> Violations:
    """Exactly one handler."""
    chosen = [field for field, _ in handler.ListFields() if field.name in known]
    if not chosen:
        return [required("", "must specify a handler type")]
    found: Violations = []
    for extra in chosen[1:]:
        found.append(forbidden(extra.json_name, "may not specify more than 1 handler type"))
    for field in chosen:
        found += under(field.json_name, _action(getattr(handler, field.name)))
    return found


def _action(action: Any) -> Violations:
    if isinstance(action, ExecAction):
        return [] if action.command else [required("command")]
    if isinstance(action, HTTPGetAction):
        return _http_get(action)
    if isinstance(action, TCPSocketAction):
        return int_or_port_name("port", action.port)
    if isinstance(action, GRPCAction):
        return port_faults("port", action.port)
    return non_negative("seconds", action.seconds)


def _http_get(action: HTTPGetAction) -> Violations:
    found = [] if action.path else [required("path")]
    found += int_or_port_name("port", action.port)
    found += one_of("scheme", action.scheme, SCHEMES)
    for index, header in enumerate(action.http_headers):
        if not header.name or any(character in header.name for character in " :\r\n\t"):
            found.append(invalid(f"httpHeaders[{index}].name", header.name, "must be a valid HTTP header name"))
    return found


def int_or_port_name(field: str, value: Any) -> Violations:
    """A ``google.protobuf.Value`` that stands for IntOrString: a port's number, or the name of one."""
    form = value.WhichOneof("kind")
    if form == "string_value":
        return faults(field, value.string_value, names.port_name(value.string_value))
    if form == "number_value" and float(value.number_value).is_integer():
        return port_faults(field, int(value.number_value))
    return [required(field)] if form is None else [invalid(field, form, "must be an integer or a string")]


def security_faults(context: SecurityContext) -> Violations:
    """A container's security context."""
    found: Violations = []
    for field, value in (("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)):
        found += non_negative(field, value)
    if context.HasField("allow_privilege_escalation") and not context.allow_privilege_escalation and context.privileged:
        detail = "cannot set allowPrivilegeEscalation to false and privileged to true"
        found.append(invalid("allowPrivilegeEscalation", False, detail))
    if context.HasField("seccomp_profile"):
        found += under("seccompProfile", profile_faults(context.seccomp_profile))
    if context.HasField("app_armor_profile"):
        found += under("appArmorProfile", profile_faults(context.app_armor_profile))
    return found + one_of("procMount", context.proc_mount, ("Default", "Unmasked"), optional=True)


def profile_faults(profile: Any) -> Violations:
    """seccomp and AppArmor alike."""
    found = one_of("type", profile.type, ("Localhost", "RuntimeDefault", "Unconfined"))
    if profile.type == "Localhost" and not profile.localhost_profile:
        found.append(required("localhostProfile", "must be set when type is Localhost"))
    if profile.type != "Localhost" and profile.localhost_profile:
        found.append(invalid("localhostProfile", profile.localhost_profile, "may only be set when type is Localhost"))
    return found
