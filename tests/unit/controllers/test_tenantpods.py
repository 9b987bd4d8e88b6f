"""What is kept of a pod's bytes."""

from __future__ import annotations

import pytest

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.controllers.tenantpods import DELETION_COST, read_pod


def message() -> Pod:
    pod = Pod()
    metadata = pod.metadata
    metadata.name, metadata.uid, metadata.tenant, metadata.namespace = "web-x", "u-1", "acme", "shop"
    metadata.resource_version = 7
    metadata.creation_timestamp.seconds = 500
    metadata.labels.update({"b": "2", "a": "1"})
    metadata.owner_references.add(uid="someone", kind="Other")
    metadata.owner_references.add(uid="rs-1", kind="ReplicaSet", controller=True)
    pod.spec.node_name, pod.spec.resource_partition = "n1", "rp-1"
    pod.status.phase = "Running"
    pod.status.conditions.add(type="Ready", status="True").last_transition_time.seconds = 600
    pod.status.container_statuses.add(name="a", restart_count=2)
    pod.status.container_statuses.add(name="b", restart_count=5)
    return pod


def test_everything_that_is_needed_is_kept() -> None:
    found = read_pod(message().SerializeToString())
    assert found == (
        *("u-1", "web-x", "acme", "shop", 7, "rp-1", "n1", "Running", 600, 500, "rs-1"),
        *((("a", "1"), ("b", "2")), 5, 0, False, False, False),
    )
    assert found.active and not found.finished


def test_labels_of_many_pods_are_kept_once() -> None:
    one, two = message(), message()
    two.metadata.uid = "u-2"
    assert read_pod(one.SerializeToString()).labels is read_pod(two.SerializeToString()).labels


def test_what_ends_is_no_replica() -> None:
    ending, failed = message(), message()
    ending.metadata.deletion_timestamp.seconds = 1
    ending.metadata.finalizers.append("example.com/hold")
    failed.status.phase, failed.status.reason = "Failed", "Evicted"
    first, second = read_pod(ending.SerializeToString()), read_pod(failed.SerializeToString())
    assert (first.active, first.ending, first.held) == (False, True, True)
    assert (second.active, second.finished, second.evicted) == (False, True, True)


def test_ready_without_a_time_is_ready_and_not_ready_is_not() -> None:
    pod = message()
    pod.status.conditions[0].ClearField("last_transition_time")
    assert read_pod(pod.SerializeToString()).ready_since == 1
    pod.status.conditions[0].status = "False"
    assert read_pod(pod.SerializeToString()).ready_since == 0


@pytest.mark.parametrize(
    ("text", "cost"),
    [("-5", -5), ("10", 10), ("0", 0), ("+5", 0), ("05", 0), ("x", 0), ("2147483648", 0), ("-2147483648", -(1 << 31))],
)
def test_the_deletion_cost_is_a_32_bit_number(text: str, cost: int) -> None:
    pod = message()
    pod.metadata.annotations[DELETION_COST] = text
    assert read_pod(pod.SerializeToString()).cost == cost
