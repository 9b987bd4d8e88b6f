"""What a container's spec becomes as a process, and what is refused."""

from __future__ import annotations

import pytest

from services.api.pb.ursa.core.v1.pod_pb2 import Container, Pod
from services.kubelet.process.launch import Refusal, Surroundings, expand, plan
from tests.support.client_world import pod as make_pod

ROOT = Surroundings("/bin:/usr/bin", "/root", 0, 0, "/work", "127.0.0.1")
USER = ROOT._replace(user=1000, group=1000)


def made(**fields: object) -> tuple[Pod, Container]:
    pod = make_pod("web", node_name="n1")
    pod.metadata.uid = "uid-web"
    pod.metadata.labels["app"] = "shop"
    del pod.spec.containers[:]
    return pod, pod.spec.containers.add(name="main", image="none", command=["run"], **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "a"),
        ("x$(A)y$(A)", "xaya"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$a"),
        ("$(NO)", "$(NO)"),
        ("$A $", "$A $"),
        ("$()", "$()"),
        ("$(A", "$(A"),
    ],
)
def test_variables_are_expanded_as_kubernetes_does(text: str, expected: str) -> None:
    assert expand(text, {"A": "a"}) == expected


def test_a_variable_may_use_those_before_it() -> None:
    pod, spec = made(args=["$(B)"])
    spec.env.add(name="B", value="$(A)")
    spec.env.add(name="A", value="1")
    spec.env.add(name="C", value="$(A)")
    launch = plan(pod, spec, ROOT)
    assert (launch.env["B"], launch.env["C"]) == ("$(A)", "1")
    assert launch.argv == ("run", "$(A)")


def test_fields_of_the_pod_are_variables() -> None:
    pod, spec = made()
    for name, path in (("N", "metadata.name"), ("L", "metadata.labels['app']"), ("H", "spec.nodeName")):
        spec.env.add(name=name).value_from.field_ref.field_path = path
    env = plan(pod, spec, ROOT).env
    assert (env["N"], env["L"], env["H"], env["HOSTNAME"]) == ("web", "shop", "n1", "web")


def test_optional_references_to_what_does_not_exist_are_left_out() -> None:
    pod, spec = made()
    reference = spec.env.add(name="S").value_from.secret_key_ref
    reference.name, reference.optional = "keys", True
    assert "S" not in plan(pod, spec, ROOT).env
    reference.optional = False
    with pytest.raises(Refusal, match='secret "keys" not found') as refused:
        plan(pod, spec, ROOT)
    assert refused.value.reason == "CreateContainerConfigError"


@pytest.mark.parametrize(
    ("around", "field", "value", "words"),
    [
        (USER, "run_as_user", 0, "runAsUser cannot be honoured by the process runtime: is 0"),
        (USER, "run_as_group", 5, "runAsGroup"),
        (ROOT, "run_as_non_root", True, "runAsNonRoot"),
        (USER, "privileged", True, "privileged"),
        (USER, "read_only_root_filesystem", True, "readOnlyRootFilesystem"),
    ],
)
def test_a_security_context_that_cannot_be_kept_refuses(
    around: Surroundings, field: str, value: object, words: str
) -> None:
    pod, spec = made()
    setattr(spec.security_context, field, value)
    with pytest.raises(Refusal, match=words):
        plan(pod, spec, around)


def test_a_security_context_that_is_kept_anyway_is_no_matter() -> None:
    pod, spec = made()
    spec.security_context.run_as_user = 1000
    spec.security_context.run_as_non_root = True
    pod.spec.security_context.run_as_user = 0
    assert plan(pod, spec, USER).unhonoured == ()


def test_mounts_are_refused_but_not_the_accounts_token() -> None:
    pod, spec = made()
    spec.volume_mounts.add(name="token", mount_path="/var/run/secrets/kubernetes.io/serviceaccount")
    plan(pod, spec, ROOT)
    spec.volume_mounts.add(name="data", mount_path="/data")
    with pytest.raises(Refusal, match=r"volumeMounts\[data\]"):
        plan(pod, spec, ROOT)


def test_what_has_no_effect_is_named() -> None:
    pod, spec = made()
    spec.readiness_probe.period_seconds = 1
    spec.resources.limits["cpu"] = "1"
    spec.security_context.capabilities.drop.append("ALL")
    expected = ("readinessProbe", "resources.limits", "securityContext.capabilities.drop")
    assert plan(pod, spec, ROOT).unhonoured == expected


@pytest.mark.parametrize(
    ("image", "runs"),
    [
        ("registry.k8s.io/pause:3.9", True),
        ("pause", True),
        ("k8s.gcr.io/pause-amd64:3.1", True),
        ("pause@sha256:0", True),
        ("example.com/pauser:1", False),
        ("nginx", False),
    ],
)
def test_without_a_command_only_a_pause_image_runs(image: str, runs: bool) -> None:
    pod, spec = made()
    del spec.command[:]
    spec.image = image
    if runs:
        assert plan(pod, spec, ROOT).argv[0] == "/bin/sh"
        return
    with pytest.raises(Refusal, match="names no command") as refused:
        plan(pod, spec, ROOT)
    assert refused.value.reason == "CreateContainerError"
