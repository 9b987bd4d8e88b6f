"""What an update may change, and that a change it may not make is named by its exact path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from services.api import kinds, validation
from services.api.kinds import PODS, Kind
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.scheduling.v1.priority_class_pb2 import PriorityClass
from services.api.pb.ursa.tenancy.v1.tenancy_pb2 import TenantPlacement
from tests.unit.api.pods import pod

Change = Callable[[Any], None]


def stored() -> Pod:
    found = pod(
        activeDeadlineSeconds=100,
        containers=[
            {
                "name": "main",
                "image": "nginx:1",
                "env": [{"name": "A", "value": "1"}],
                "resources": {"requests": {"cpu": "1"}},
            }
        ],
        schedulingGates=[{"name": "a"}, {"name": "b"}],
        nodeSelector={"disk": "ssd"},
    )
    found.metadata.uid = "0000"
    found.metadata.generation = 2
    found.metadata.creation_timestamp.seconds = 100
    found.metadata.labels["app"] = "web"
    return found


def updated(kind: Kind, old: Any, change: Change) -> list[tuple[str, str]]:
    new = type(old)()
    new.CopyFrom(old)
    change(new)
    return [(violation.field, violation.reason) for violation in validation.validate_update(kind, new, old)]


def put(path: str, value: Any) -> Change:
    """Set ``a.b[0].c`` of a message."""

    def change(message: Any) -> None:
        *parents, last = path.replace("[", ".[").split(".")
        for name in parents:
            message = message[int(name[1:-1])] if name.startswith("[") else getattr(message, name)
        setattr(message, last, value)

    return change


def tolerate(message: Pod) -> None:
    message.spec.tolerations.add(key="a", operator="Exists")


def longer_toleration(message: Pod) -> None:
    message.spec.tolerations[0].toleration_seconds = 5


def fewer_gates(message: Pod) -> None:
    del message.spec.scheduling_gates[0]


def narrower(message: Pod) -> None:
    message.spec.node_selector["zone"] = "a"


def labelled(message: Pod) -> None:
    message.metadata.labels["app"] = "api"
    message.metadata.annotations["note"] = "x"


@pytest.mark.parametrize(
    "change",
    [
        lambda message: None,
        put("spec.containers[0].image", "nginx:2"),
        put("spec.active_deadline_seconds", 50),
        put("status.phase", "Running"),
        put("metadata.generation", 3),
        tolerate,
        longer_toleration,
        fewer_gates,
        narrower,
        labelled,
    ],
)
def test_a_pod_may_change_in_these_ways(change: Change) -> None:
    assert updated(PODS, stored(), change) == []


def no_toleration(message: Pod) -> None:
    del message.spec.tolerations[0]


def another_container(message: Pod) -> None:
    message.spec.containers.add(name="b", image="b", image_pull_policy="Always")


def another_gate(message: Pod) -> None:
    message.spec.scheduling_gates.add(name="c")


def other_request(message: Pod) -> None:
    message.spec.containers[0].resources.requests["cpu"] = "2"


def wider(message: Pod) -> None:
    del message.spec.node_selector["disk"]


def affinity(message: Pod) -> None:
    message.spec.affinity.SetInParent()


@pytest.mark.parametrize(
    ("change", "violations"),
    [
        (put("spec.node_name", "n1"), [("spec.nodeName", "Forbidden")]),
        (put("spec.priority", 5), [("spec.priority", "Forbidden")]),
        (put("spec.restart_policy", "Never"), [("spec.restartPolicy", "Forbidden")]),
        (put("spec.containers[0].env[0].value", "2"), [("spec.containers[0].env[0].value", "Forbidden")]),
        (put("spec.containers[0].image", ""), [("spec.containers[0].image", "Required")]),
        (put("spec.active_deadline_seconds", 101), [("spec.activeDeadlineSeconds", "Invalid")]),
        (put("status.phase", "Odd"), [("status.phase", "NotSupported")]),
        (other_request, [("spec.containers[0].resources.requests[cpu]", "Forbidden")]),
        (another_container, [("spec.containers", "Forbidden")]),
        (another_gate, [("spec.schedulingGates[2].name", "Forbidden")]),
        (no_toleration, [("spec.tolerations", "Forbidden")]),
        (wider, [("spec.nodeSelector[disk]", "Forbidden")]),
        (affinity, [("spec.affinity", "Forbidden")]),
        (put("metadata.name", "other"), [("metadata.name", "Invalid")]),
        (put("metadata.tenant", "other"), [("metadata.tenant", "Invalid")]),
        (put("metadata.namespace", "other"), [("metadata.namespace", "Invalid")]),
        (put("metadata.uid", "1111"), [("metadata.uid", "Invalid")]),
        (put("metadata.creation_timestamp.seconds", 101), [("metadata.creationTimestamp", "Invalid")]),
        (put("metadata.deletion_timestamp.seconds", 101), [("metadata.deletionTimestamp", "Invalid")]),
        (put("metadata.generation", 1), [("metadata.generation", "Invalid")]),
        (lambda message: message.metadata.labels.update({"a b": ""}), [("metadata.labels[a b]", "Invalid")]),
    ],
)
def test_a_pod_may_not_change_in_these(change: Change, violations: list[tuple[str, str]]) -> None:
    assert updated(PODS, stored(), change) == violations


def test_a_deadline_may_be_set_but_not_removed() -> None:
    old = stored()
    assert updated(PODS, old, lambda message: message.spec.ClearField("active_deadline_seconds")) == [
        ("spec.activeDeadlineSeconds", "Invalid")
    ]
    old.spec.ClearField("active_deadline_seconds")
    assert updated(PODS, old, put("spec.active_deadline_seconds", 7)) == []


def test_the_selector_of_a_pod_without_gates_is_fixed() -> None:
    old = stored()
    del old.spec.scheduling_gates[:]
    assert updated(PODS, old, narrower) == [("spec.nodeSelector[zone]", "Forbidden")]


def test_an_object_that_is_being_deleted_gets_no_more_finalizers() -> None:
    old = stored()
    old.metadata.finalizers.append("a/b")
    assert updated(PODS, old, lambda message: message.metadata.finalizers.append("c/d")) == []
    old.metadata.deletion_timestamp.seconds = 1
    assert updated(PODS, old, lambda message: message.metadata.finalizers.append("c/d")) == [
        ("metadata.finalizers", "Forbidden")
    ]
    assert updated(PODS, old, lambda message: message.metadata.ClearField("finalizers")) == []


def test_a_nodes_identity_at_its_provider_is_set_once() -> None:
    old = Node()
    old.metadata.name = "n1"
    assert updated(kinds.NODES, old, put("spec.provider_id", "cloud://1")) == []
    old.spec.provider_id, old.spec.pod_cidr = "cloud://1", "10.0.0.0/24"
    assert updated(kinds.NODES, old, put("spec.provider_id", "cloud://2")) == [("spec.providerID", "Forbidden")]
    assert updated(kinds.NODES, old, put("spec.pod_cidr", "")) == [("spec.podCIDR", "Forbidden")]
    assert updated(kinds.NODES, old, put("spec.unschedulable", True)) == []


def test_the_value_of_a_priority_class_is_fixed() -> None:
    old = PriorityClass(value=1, preemption_policy="Never")
    old.metadata.name, old.metadata.tenant = "low", "acme"
    assert updated(kinds.PRIORITY_CLASSES, old, put("value", 2)) == [("value", "Forbidden")]
    assert updated(kinds.PRIORITY_CLASSES, old, put("preemption_policy", "PreemptLowerPriority")) == [
        ("preemptionPolicy", "Forbidden")
    ]
    assert updated(kinds.PRIORITY_CLASSES, old, put("description", "x")) == []


def test_a_placement_is_a_recorded_fact() -> None:
    old = TenantPlacement()
    old.metadata.name, old.spec.tenant_partition = "acme", "tp-1"
    assert updated(kinds.TENANT_PLACEMENTS, old, put("spec.tenant_partition", "tp-2")) == [
        ("spec.tenantPartition", "Forbidden")
    ]
