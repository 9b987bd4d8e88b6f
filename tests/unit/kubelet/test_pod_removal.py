"""When a kubelet confirms that a deleted pod is gone: after its final status, which any other event may come before."""

from __future__ import annotations

import random
from typing import Any

import pytest

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.kubelet.instructions import ClaimCapacity, ConfirmRemoval, Forget, ReportStatus, StartPod, StopPod, Wake
from services.kubelet.worker import Stage
from services.placement.pods import is_terminal
from services.rpc import status
from services.rpc.status import StatusError
from tests.unit.kubelet.test_kubelet import EXITED, STARTED, STOPPED, World, bound, deleted, kinds

UID = "uid-p"


def labelled(pod: Pod, **labels: str) -> Pod:
    result = Pod()
    result.CopyFrom(pod)
    result.metadata.labels.update(labels)
    return result


def running(**options: Any) -> tuple[World, Pod]:
    world, pod = World(), bound("p", **options)
    world.run(pod)
    return world, pod


def test_an_event_after_the_stop_does_not_confirm_before_the_final_status() -> None:
    world, pod = running()
    doomed = deleted(pod)
    world.see(doomed)
    assert world.runtime(STOPPED, UID) == [ReportStatus("tp-1", UID)]
    doomed = labelled(doomed, x="y")
    assert world.see(doomed) == []
    assert world.status(UID).phase == "Succeeded"
    assert world.see(doomed) == [], "sent is not stored"
    assert world.kubelet.status_written(UID, None) == [ConfirmRemoval("tp-1", doomed)]
    assert world.see(doomed) == [], "once"


def test_the_answer_to_an_earlier_write_does_not_confirm() -> None:
    world, pod = World(), bound("p")
    world.see(pod)
    world.runtime(STARTED, UID)
    assert world.status(UID).phase == "Running"
    doomed = deleted(pod)
    world.see(doomed)
    world.runtime(STOPPED, UID)
    assert ConfirmRemoval not in kinds(world.kubelet.status_written(UID, None))
    assert world.write(UID) == [ConfirmRemoval("tp-1", doomed)]


def test_a_pod_that_ended_by_itself_is_confirmed_after_its_end_is_written() -> None:
    world, pod = running(restart_policy="Never")
    world.runtime(EXITED, UID)
    doomed = deleted(pod)
    assert world.see(doomed) == []
    assert world.write(UID) == [ConfirmRemoval("tp-1", doomed)]


def test_a_pod_whose_end_is_written_already_is_confirmed_at_once() -> None:
    world, pod = running(restart_policy="Never")
    world.runtime(EXITED, UID)
    world.echo(pod)
    doomed = deleted(pod)
    assert world.see(doomed) == [ConfirmRemoval("tp-1", doomed)]


@pytest.mark.parametrize(
    "refusal",
    [status.not_found("pods", "p"), status.invalid([status.Violation("status", "no")]), status.forbidden("no")],
)
def test_a_refusal_of_the_final_status_stands_for_its_write_also_before_the_deletion(refusal: StatusError) -> None:
    world, pod = running(restart_policy="Never")
    world.runtime(EXITED, UID)
    assert world.write(UID, refusal) == []
    doomed = deleted(pod)
    assert world.see(doomed) == [ConfirmRemoval("tp-1", doomed)]


def test_a_pod_that_was_refused_is_confirmed_after_that_is_written() -> None:
    world, pod = World(cpu=100, pods=1), bound("p", cpu="1")
    world.see(pod)
    doomed = deleted(pod)
    assert world.see(doomed) == []
    assert world.write(UID) == [ConfirmRemoval("tp-1", doomed)]


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_in_between_a_pod_that_is_confirmed_has_a_final_status(seed: int) -> None:
    """Events, answers and echoes in any order, as long as one write is under way at a time."""
    rand = random.Random(seed)
    world, stored = World(), bound("p", restart_policy=rand.choice(["Always", "Never", "OnFailure"]))
    sent: Pod | None = None
    out: list[Any] = world.see(stored)
    for _ in range(40):
        match rand.choice(["send", "answer", "label", "started", "exited", "stopped", "delete", "timer"]):
            case "send" if sent is None and any(isinstance(each, ReportStatus) for each in out):
                out = [each for each in out if not isinstance(each, ReportStatus)]
                sent = world.kubelet.status_of(UID)
            case "answer" if sent is not None:
                stored.status.CopyFrom(sent.status)
                sent = None
                out += world.kubelet.status_written(UID, None)
            case "label":
                stored = labelled(stored, n=str(rand.random()))
                out += world.see(stored)
            case "started":
                out += world.runtime(STARTED, UID)
            case "exited":
                out += world.runtime(EXITED, UID, rand.choice([0, 1]))
            case "stopped" if any(isinstance(each, StopPod) for each in out):
                out += world.runtime(STOPPED, UID)
            case "delete":
                stored = deleted(stored)
                out += world.see(stored)
            case "timer":
                out += world.kubelet.timer(UID, Wake.RESTART)
        confirmed = any(isinstance(each, ConfirmRemoval) for each in out)
        assert is_terminal(stored) or not confirmed, f"seed {seed}"
    # Nor does anything hang: whatever is still asked of others is done.
    out += world.see(deleted(stored))
    out += world.runtime(STOPPED, UID)
    if sent is not None:
        out += world.kubelet.status_written(UID, None)
    if any(isinstance(each, ReportStatus) for each in out):
        out += world.write(UID)
    assert len([each for each in out if isinstance(each, ConfirmRemoval)]) == 1, f"seed {seed}"


# A partition that is removed and added again while its pods are being stopped.


def test_a_pod_that_is_back_before_it_has_stopped_is_begun_anew() -> None:
    world, pod = running()
    assert StopPod(UID, 30.0) in world.vanish(pod)
    assert world.see(pod) == [], "its containers are still being ended"
    assert world.runtime(STOPPED, UID) == [StartPod(pod, adopt=True)]
    world.runtime(STARTED, UID)
    assert world.kubelet.workers[UID].stage is Stage.RUNNING
    assert world.status(UID).phase == "Running"
    world.see(deleted(pod))
    world.runtime(STOPPED, UID)
    assert kinds(world.write(UID)) == [ConfirmRemoval], "it is a pod like any other"


def test_a_pod_that_is_back_before_it_had_started_is_claimed_for_again() -> None:
    world, pod = World(), bound("p")
    world.see(pod)
    world.vanish(pod)
    world.see(pod)
    out = world.runtime(STOPPED, UID)
    assert out == [ClaimCapacity("tp-1", UID)]
    assert StartPod(pod, adopt=False) in world.kubelet.claim_answered(UID, None)


def test_a_pod_that_is_back_and_gone_again_is_forgotten() -> None:
    world, pod = running()
    world.vanish(pod)
    world.see(pod)
    world.vanish(pod)
    assert world.runtime(STOPPED, UID) == [Forget(UID)]
    assert world.kubelet.workers == {}


def test_a_pod_that_is_back_to_be_deleted_is_stopped_once_and_reported() -> None:
    world, pod = running()
    world.vanish(pod)
    doomed = deleted(pod)
    assert world.see(doomed) == []
    assert world.see(deleted(pod, grace_s=5))[0] == StopPod(UID, 5.0), "a shorter grace counts"
    assert world.runtime(STOPPED, UID, 137) == [ReportStatus("tp-1", UID)]
    assert world.status(UID).container_statuses[0].state.terminated.exit_code == 137
    assert kinds(world.kubelet.status_written(UID, None)) == [ConfirmRemoval]


def test_a_pod_that_is_back_and_over_is_left_alone() -> None:
    world, pod = running()
    world.vanish(pod)
    over = labelled(pod)
    over.status.phase = "Failed"
    assert world.see(over) == []
    assert world.runtime(STOPPED, UID) == []
    assert world.kubelet.workers == {}
    assert world.vanish(over) == [Forget(UID)]


def test_the_timer_of_the_stop_before_it_came_back_cuts_no_grace_short() -> None:
    world, pod = running()
    world.vanish(pod)
    world.see(pod)
    world.runtime(STOPPED, UID)
    world.runtime(STARTED, UID)
    world.clock._now += 35.0
    world.see(deleted(pod))
    world.clock._now += 5.0
    assert world.kubelet.timer(UID, Wake.STOP_OVERDUE) == []
    world.clock._now += 35.0
    assert StopPod(UID, 0.0) in world.kubelet.timer(UID, Wake.STOP_OVERDUE)
