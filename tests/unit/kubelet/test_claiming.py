"""A pod that was bound: nothing of it happens before the ledger has answered."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from services.kubelet.instructions import ClaimCapacity, ConfirmRemoval, Forget, ReportStatus, StartPod, StopPod
from services.kubelet.worker import Stage
from services.rpc.status import StatusError
from tests.support.client_world import pod as make_pod
from tests.unit.kubelet.test_kubelet import STARTED, STOPPED, World


def refusal(reason: str, message: str) -> StatusError:
    return StatusError(grpc.StatusCode.FAILED_PRECONDITION, reason, message)


def of_kind(instructions: list[Any], kind: type) -> list[Any]:
    return [instruction for instruction in instructions if isinstance(instruction, kind)]


def unclaimed(**fields: Any) -> Any:
    pod = make_pod("web", node_name="n1", **fields)
    pod.metadata.uid = "u1"
    pod.spec.resource_partition = "rp-1"
    pod.spec.bind_epoch = 2
    if not pod.spec.containers:
        pod.spec.containers.add(name="main")
    pod.spec.containers[0].resources.requests["cpu"] = "1500m"
    pod.spec.containers[0].ports.add(container_port=80, host_port=8080)
    return pod


def test_it_is_claimed_for_before_it_is_admitted() -> None:
    world, pod = World(), unclaimed()
    assert world.see(pod, claimed=False) == [ClaimCapacity("tp-1", "u1")]
    assert world.kubelet.used == {}
    claim = world.kubelet.claim_of("u1")
    assert claim is not None
    assert claim.metadata.name == "u1"
    spec = claim.spec
    assert (spec.node_name, spec.tenant_partition, spec.bind_epoch) == ("n1", "tp-1", 2)
    assert (spec.tenant, spec.namespace, spec.pod_name) == ("acme", "default", "web")
    assert dict(spec.requests) == {"cpu": 1500}
    assert [(port.protocol, port.host_ip, port.host_port) for port in spec.host_ports] == [("TCP", "0.0.0.0", 8080)]
    started = world.kubelet.claim_answered("u1", None)
    assert of_kind(started, StartPod) == [StartPod(pod, adopt=False)]
    assert world.kubelet.used == {"cpu": 1500}


def test_that_a_binding_says_claimed_is_not_taken_for_a_claim() -> None:
    world, pod = World(), unclaimed()
    assert world.see(pod, held=False) == [ClaimCapacity("tp-1", "u1")]
    assert pod.spec.capacity_claimed
    assert world.kubelet.workers["u1"].stage is Stage.CLAIMING
    world.kubelet.claim_answered("u1", refusal("Insufficient", "Insufficient cpu"))
    told = world.kubelet.status_of("u1")
    assert told is not None
    assert (told.status.phase, told.status.reason) == ("Failed", "OutOfcpu")


def test_a_running_pod_that_was_claimed_for_is_adopted_without_a_question() -> None:
    world, pod = World(), unclaimed()
    pod.status.phase = "Running"
    assert of_kind(world.see(pod), ClaimCapacity) == []


@pytest.mark.parametrize(
    ("reason", "message", "expected"),
    [
        ("Insufficient", "Insufficient cpu", "OutOfcpu"),
        ("Insufficient", "Too many pods", "OutOfpods"),
        ("PortConflict", "taken", "NodePorts"),
        ("Invalid", "nonsense", "UnexpectedAdmissionError"),
    ],
)
def test_a_claim_that_the_ledger_refuses_fails_the_pod(reason: str, message: str, expected: str) -> None:
    world, pod = World(), unclaimed()
    world.see(pod, claimed=False)
    out = world.kubelet.claim_answered("u1", refusal(reason, message))
    assert of_kind(out, ReportStatus) == [ReportStatus("tp-1", "u1")]
    assert of_kind(out, StartPod) == []
    told = world.kubelet.status_of("u1")
    assert told is not None
    assert (told.status.phase, told.status.reason) == ("Failed", expected)
    assert world.kubelet.claim_of("u1") is None


def test_a_held_claim_does_not_replace_admission() -> None:
    world = World(cpu=1000, pods=10)
    world.see(unclaimed(), claimed=False)
    world.kubelet.claim_answered("u1", None)
    told = world.kubelet.status_of("u1")
    assert told is not None
    assert (told.status.phase, told.status.reason) == ("Failed", "OutOfcpu")


def test_a_pod_deleted_while_its_claim_is_under_way_never_starts() -> None:
    world, pod = World(), unclaimed()
    world.see(pod, claimed=False)
    pod.metadata.deletion_timestamp.seconds = 1
    assert of_kind(world.see(pod, claimed=False), StopPod) == [StopPod("u1", 30.0)]
    assert world.kubelet.claim_of("u1") is None
    assert world.kubelet.claim_answered("u1", None) == []
    world.runtime(STOPPED, "u1")
    confirmed = world.write("u1")
    assert of_kind(confirmed, ConfirmRemoval) == [ConfirmRemoval("tp-1", pod)]


def test_a_pod_that_vanishes_while_its_claim_is_under_way_is_forgotten() -> None:
    world, pod = World(), unclaimed()
    world.see(pod, claimed=False)
    world.vanish(pod)
    assert world.kubelet.claim_of("u1") is None
    assert of_kind(world.runtime(STOPPED, "u1"), Forget) == [Forget("u1")]


def test_a_running_pod_is_adopted_and_claimed_for_and_runs_on_whatever_the_answer() -> None:
    world, pod = World(), unclaimed()
    pod.status.phase = "Running"
    out = world.see(pod, claimed=False)
    assert of_kind(out, StartPod) == [StartPod(pod, adopt=True)]
    assert of_kind(out, ClaimCapacity) == [ClaimCapacity("tp-1", "u1")]
    world.runtime(STARTED, "u1")
    assert world.kubelet.claim_answered("u1", refusal("Insufficient", "Insufficient cpu")) == []
    assert world.kubelet.workers["u1"].stage is Stage.RUNNING
