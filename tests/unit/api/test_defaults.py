"""Kubernetes' defaults: what an unset field becomes, and that a set one is left alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api import defaults, kinds, manifests
from services.api.kinds import PODS, Kind
from services.api.pb.ursa.core.v1.namespace_pb2 import Namespace
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.scheduling.v1.priority_class_pb2 import PriorityClass
from services.api.pb.ursa.tenancy.v1.tenancy_pb2 import Tenant
from tests.unit.api import arbitrary
from tests.unit.api.pods import pod


def printed(**spec: Any) -> dict[str, Any]:
    return manifests.to_dict(PODS, pod(**spec))


def test_a_pod_of_one_container_gets_kubernetes_defaults() -> None:
    found = printed()
    assert found["spec"] == {
        "containers": [
            {
                "name": "main",
                "image": "nginx:1.27",
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "imagePullPolicy": "IfNotPresent",
            }
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
        "tolerations": [
            {
                "key": f"node.kubernetes.io/{condition}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 300,
            }
            for condition in ("not-ready", "unreachable")
        ],
    }
    assert found["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("restartPolicy", "Never"),
        ("terminationGracePeriodSeconds", 0),
        ("dnsPolicy", "Default"),
        ("schedulerName", "mine"),
        ("enableServiceLinks", False),
    ],
)
def test_what_is_set_stays(field: str, value: Any) -> None:
    assert printed(**{field: value})["spec"][field] == value


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("registry:5000/nginx", "Always"),
        ("registry:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:0123", "IfNotPresent"),
        ("nginx:latest@sha256:0123", "Always"),
    ],
)
def test_the_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert pod(containers=[{"name": "main", "image": image}]).spec.containers[0].image_pull_policy == policy


@pytest.mark.parametrize(
    ("tolerations", "keys"),
    [
        ([{"operator": "Exists"}], [""]),
        ([{"operator": "Exists", "effect": "NoSchedule"}], ["", "not-ready", "unreachable"]),
        ([{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}], ["not-ready", "unreachable"]),
        (
            [{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}],
            ["unreachable", "not-ready"],
        ),
    ],
)
def test_eviction_tolerations_are_added_unless_the_pod_says_otherwise(tolerations: list[Any], keys: list[str]) -> None:
    found = pod(tolerations=tolerations).spec.tolerations
    assert [toleration.key.rpartition("/")[2] for toleration in found] == keys


def container(**fields: Any) -> dict[str, Any]:
    return {"name": "main", "image": "nginx:1", **fields}


def test_requests_follow_limits_and_quantities_become_canonical() -> None:
    resources = {"limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {"cpu": 0.0001}}
    found = pod(containers=[container(resources=resources)]).spec.containers[0].resources
    assert dict(found.limits) == {"cpu": "1", "memory": "1Gi"}
    assert dict(found.requests) == {"cpu": "1m", "memory": "1Gi"}


def test_what_is_no_quantity_is_left_for_validation() -> None:
    found = pod(containers=[container(resources={"requests": {"cpu": "lots"}})])
    assert found.spec.containers[0].resources.requests["cpu"] == "lots"


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": 0}}], "BestEffort"),
        ([{"requests": {"example.com/gpu": 1}, "limits": {"example.com/gpu": 1}}], "BestEffort"),
        ([{"requests": {"cpu": 1}}], "Burstable"),
        ([{"limits": {"cpu": 1}}], "Burstable"),
        ([{"limits": {"cpu": 1, "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}], "Guaranteed"),
        ([{"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "500m"}}], "Burstable"),
        ([{"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "0"}}], "Burstable"),
        ([{"limits": {"cpu": 1, "memory": "1Gi"}}, {}], "Burstable"),
    ],
)
def test_quality_of_service(resources: list[Any], qos: str) -> None:
    containers = [container(name=f"c{index}", resources=each) for index, each in enumerate(resources)]
    assert pod(containers=containers).status.qos_class == qos


def test_ports_probes_environment_and_volumes() -> None:
    found = printed(
        hostNetwork=True,
        containers=[
            container(
                ports=[{"containerPort": 80}],
                livenessProbe={"httpGet": {"port": "web"}},
                readinessProbe={"exec": {"command": ["true"]}, "periodSeconds": 5},
                lifecycle={"preStop": {"httpGet": {"port": 80, "path": "/bye"}}},
                env=[
                    {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                ],
            )
        ],
        volumes=[
            {"name": "tmp"},
            {"name": "cm", "configMap": {"name": "x"}},
            {"name": "s", "secret": {"secretName": "x", "defaultMode": 256}},
            {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        ],
    )["spec"]
    main = found["containers"][0]
    assert main["ports"] == [{"hostPort": 80, "containerPort": 80, "protocol": "TCP"}]
    assert main["livenessProbe"] == {
        "httpGet": {"path": "/", "port": "web", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert main["readinessProbe"]["periodSeconds"] == 5
    assert main["lifecycle"] == {"preStop": {"httpGet": {"path": "/bye", "port": 80, "scheme": "HTTP"}}}
    assert main["env"][0]["valueFrom"] == {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}
    assert main["env"][1]["valueFrom"] == {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"}}
    assert found["volumes"] == [
        {"name": "tmp", "emptyDir": {}},
        {"name": "cm", "configMap": {"name": "x", "defaultMode": 420}},
        {"name": "s", "secret": {"secretName": "x", "defaultMode": 256}},
        {
            "name": "p",
            "projected": {
                "sources": [{"serviceAccountToken": {"expirationSeconds": 3600, "path": "token"}}],
                "defaultMode": 420,
            },
        },
    ]


def test_init_containers_get_the_same_defaults() -> None:
    found = pod(initContainers=[container(name="init", image="busybox")])
    assert found.spec.init_containers[0].image_pull_policy == "Always"


def test_a_namespace_is_active_and_has_its_finalizer_and_its_name_as_a_label() -> None:
    namespace = Namespace()
    namespace.metadata.name = "team-a"
    defaults.apply(kinds.NAMESPACES, namespace)
    assert (list(namespace.spec.finalizers), namespace.status.phase) == (["kubernetes"], "Active")
    assert dict(namespace.metadata.labels) == {"kubernetes.io/metadata.name": "team-a"}


def test_a_terminating_namespace_does_not_get_its_finalizer_back() -> None:
    namespace = Namespace()
    namespace.metadata.deletion_timestamp.seconds = 1
    namespace.status.phase = "Terminating"
    defaults.apply(kinds.NAMESPACES, namespace)
    assert (list(namespace.spec.finalizers), namespace.status.phase) == ([], "Terminating")


def test_a_nodes_allocatable_is_its_capacity() -> None:
    node = Node()
    node.status.capacity.update({"cpu": "32000m", "pods": "110"})
    defaults.apply(kinds.NODES, node)
    assert dict(node.status.allocatable) == {"cpu": "32", "pods": "110"}
    del node.status.allocatable["pods"]
    defaults.apply(kinds.NODES, node)
    assert dict(node.status.allocatable) == {"cpu": "32"}


def test_a_node_without_status_gets_none() -> None:
    node = Node()
    defaults.apply(kinds.NODES, node)
    assert not node.HasField("status")


def test_tenants_and_priority_classes() -> None:
    tenant, priority_class = Tenant(), PriorityClass()
    defaults.apply(kinds.TENANTS, tenant)
    defaults.apply(kinds.PRIORITY_CLASSES, priority_class)
    assert tenant.status.phase == "Active"
    assert priority_class.preemption_policy == "PreemptLowerPriority"


@st.composite
def objects(draw: st.DrawFn) -> tuple[Kind, Any]:
    kind = draw(arbitrary.kinds)
    return kind, draw(arbitrary.messages(kind))


@given(objects())
def test_applying_defaults_twice_changes_nothing_more(found: tuple[Kind, Any]) -> None:
    kind, message = found
    defaults.apply(kind, message)
    once = message.SerializeToString(deterministic=True)
    defaults.apply(kind, message)
    assert message.SerializeToString(deterministic=True) == once


@given(arbitrary.messages(PODS))
def test_defaults_take_nothing_away(message: Pod) -> None:
    before = manifests.to_dict(PODS, message)
    defaults.apply(PODS, message)
    assert _holds(manifests.to_dict(PODS, message), before, "")


def _holds(after: Any, before: Any, path: str) -> bool:
    """Everything of ``before`` is in ``after``, but for quantities, whose text may change."""
    if isinstance(before, dict):
        return all(
            path.endswith(("limits", "requests", "overhead")) or _holds(after[key], value, f"{path}.{key}")
            for key, value in before.items()
        )
    if isinstance(before, list):
        return all(_holds(after[index], value, path) for index, value in enumerate(before))
    return bool(after == before)
