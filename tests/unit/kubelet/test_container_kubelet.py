"""The kubelet's core over a runtime that runs each container by itself."""

from __future__ import annotations

from typing import Any

import pytest

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.base.clock import FakeClock
from services.client.informer import Change
from services.kubelet.contact import Contact
from services.kubelet.containerkubelet import ContainerKubelet
from services.kubelet.instructions import (
    ClaimCapacity,
    ConfirmRemoval,
    Forget,
    Journal,
    Record,
    ReportStatus,
    SetTimer,
    StartContainer,
    StartPod,
    StopPod,
    Wake,
)
from services.kubelet.podstatus import NodeFacts
from services.kubelet.runtime import RuntimeEvent, RuntimeEventType
from tests.support.client_world import pod as make_pod

STARTED, EXITED, STOPPED = RuntimeEventType.STARTED, RuntimeEventType.EXITED, RuntimeEventType.STOPPED
FAILED, KNOWN = RuntimeEventType.FAILED, RuntimeEventType.KNOWN


class World:
    """One kubelet, and a way to say what happens to it. ``out``: everything that it asked for and was not taken."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        facts = NodeFacts("n1", "rp-1", "127.0.0.1", "process")
        self.kubelet = ContainerKubelet(facts, {"cpu": 4000, "pods": 10}, Contact(40.0), self.clock)
        self.out: list[Any] = []

    def see(self, pod: Pod) -> None:
        pod.spec.capacity_claimed = True
        self.out += self.kubelet.pods_changed([Change("k", None, pod, "tp-1")])
        for asked in [each for each in self.out if isinstance(each, ClaimCapacity)]:
            self.out.remove(asked)
            self.out += self.kubelet.claim_answered(asked.uid, None)

    def tell(self, type_: RuntimeEventType, container: str = "", code: int = 0, restart: int = 0, **more: Any) -> None:
        self.out += self.kubelet.runtime_event(
            RuntimeEvent(type_, "uid-p", code, container=container, restart=restart, **more)
        )

    def wake(self) -> None:
        self.out += self.kubelet.timer("uid-p", Wake.RESTART)

    def take(self, kind: type) -> list[Any]:
        taken = [each for each in self.out if isinstance(each, kind)]
        self.out = [each for each in self.out if not isinstance(each, kind)]
        return taken

    def started(self) -> list[tuple[str, int]]:
        return [(each.container, each.restart) for each in self.take(StartContainer)]

    def status(self) -> Any:
        message = self.kubelet.status_of("uid-p")
        assert message is not None
        return message.status

    def container(self, name: str) -> Any:
        status = self.status()
        return next(c for c in (*status.init_container_statuses, *status.container_statuses) if c.name == name)


def bound(*containers: str, init: tuple[str, ...] = (), sidecars: tuple[str, ...] = (), **spec: Any) -> Pod:
    pod = make_pod("p", node_name="n1", **spec)
    pod.metadata.uid = "uid-p"
    del pod.spec.containers[:]
    for name in containers:
        pod.spec.containers.add(name=name, image="none")
    for name in (*sidecars, *init):
        pod.spec.init_containers.add(name=name, image="none", restart_policy="Always" if name in sidecars else "")
    return pod


def begun(pod: Pod) -> World:
    """The pod is new to the runtime, and what may start has been asked for."""
    world = World()
    world.see(pod)
    world.tell(KNOWN)
    return world


def test_what_the_runtime_knows_is_asked_before_anything_starts() -> None:
    world, pod = World(), bound("a", "b")
    world.see(pod)
    assert world.take(StartPod) == [StartPod(pod, adopt=True)]
    assert world.started() == []
    world.tell(KNOWN)
    assert world.started() == [("a", 0), ("b", 0)]


def test_a_pod_is_running_when_every_container_has_begun() -> None:
    world = begun(bound("a", "b"))
    world.tell(STARTED, "a", pod_ip="127.0.0.1")
    assert world.status().phase == "Pending"
    assert world.take(Journal) == []
    world.tell(STARTED, "b")
    assert world.status().phase == "Running"
    assert len(world.take(Journal)) == 1
    assert {c.type: c.status for c in world.status().conditions}["Ready"] == "True"
    assert world.container("a").container_id == "process://uid-p/a/0"


def test_each_container_has_its_own_exit_code_count_and_pause() -> None:
    world = begun(bound("a", "b"))
    world.tell(STARTED, "a")
    world.tell(STARTED, "b")
    world.started()
    world.tell(EXITED, "b", 3)
    assert world.take(SetTimer)[-1] == SetTimer("uid-p", 0.0, Wake.RESTART)
    assert world.started() == [("b", 1)], "the first restart is at once, and of this one alone"
    world.tell(STARTED, "b", restart=1)
    world.tell(EXITED, "b", 4, restart=1)
    assert SetTimer("uid-p", 10.0, Wake.RESTART) in world.take(SetTimer)
    b, a = world.container("b"), world.container("a")
    assert (b.state.waiting.reason, b.restart_count, b.last_state.terminated.exit_code) == ("CrashLoopBackOff", 1, 4)
    assert b.last_state.terminated.container_id == "process://uid-p/b/1"
    assert (a.restart_count, a.ready, a.state.HasField("running")) == (0, True, True)
    assert {c.type: c.status for c in world.status().conditions}["Ready"] == "False"
    assert world.status().phase == "Running"
    world.wake()
    assert world.started() == [], "not before its pause is over"
    world.clock._now += 10.0
    world.wake()
    assert world.started() == [("b", 2)]


@pytest.mark.parametrize(
    ("policy", "codes", "phase"),
    [
        ("Never", (0, 0), "Succeeded"),
        ("Never", (0, 2), "Failed"),
        ("OnFailure", (0, 0), "Succeeded"),
    ],
)
def test_all_containers_together_decide_the_phase(policy: str, codes: tuple[int, int], phase: str) -> None:
    world = begun(bound("a", "b", restart_policy=policy))
    world.tell(STARTED, "a")
    world.tell(STARTED, "b")
    world.tell(EXITED, "a", codes[0])
    assert world.status().phase == "Running"
    world.tell(EXITED, "b", codes[1])
    assert world.status().phase == phase
    assert [c.state.terminated.exit_code for c in world.status().container_statuses] == list(codes)
    assert world.kubelet.used == {}


def test_init_containers_run_one_after_the_other() -> None:
    world = begun(bound("main", init=("one", "two")))
    assert world.started() == [("one", 0)]
    world.tell(STARTED, "one")
    assert world.container("main").state.waiting.reason == "PodInitializing"
    world.tell(EXITED, "one", 1)
    assert world.started() == [("one", 1)]
    world.tell(EXITED, "one", 0, restart=1)
    assert world.started() == [("two", 0)]
    assert {c.type: c.status for c in world.status().conditions}["Initialized"] == "False"
    world.tell(EXITED, "two", 0)
    assert world.started() == [("main", 0)]
    assert {c.type: c.status for c in world.status().conditions}["Initialized"] == "True"


def test_an_init_container_that_may_not_restart_fails_the_pod() -> None:
    world = begun(bound("main", init=("one",), restart_policy="Never"))
    world.started()
    world.tell(EXITED, "one", 5)
    assert world.status().phase == "Failed"
    assert world.started() == []
    assert world.container("one").state.terminated.exit_code == 5


def test_a_sidecar_only_has_to_begin_and_ends_with_the_pod() -> None:
    world = begun(bound("main", sidecars=("side",), restart_policy="Never"))
    assert world.started() == [("side", 0)]
    world.tell(STARTED, "side")
    assert world.started() == [("main", 0)]
    world.tell(STARTED, "main")
    world.tell(EXITED, "main", 0)
    assert len(world.take(StopPod)) == 1
    world.tell(EXITED, "side", 143)
    world.tell(STOPPED, code=143)
    assert world.status().phase == "Succeeded"


def test_a_container_that_cannot_be_made_waits_with_the_reason() -> None:
    world = begun(bound("a", "b"))
    world.tell(STARTED, "b")
    world.started()
    world.tell(FAILED, "a", reason="CreateContainerError", message="no command")
    waiting = world.container("a").state.waiting
    assert (waiting.reason, waiting.message) == ("CreateContainerError", "no command")
    assert world.status().phase == "Pending"
    assert SetTimer("uid-p", 10.0, Wake.RESTART) in world.take(SetTimer)
    world.clock._now += 10.0
    world.wake()
    assert world.started() == [("a", 0)], "tried again, and not counted as a restart"


def test_a_start_that_was_never_reported_is_not_made_twice() -> None:
    # An earlier kubelet started it and was killed before it could write any status.
    world, pod = World(), bound("a", "b")
    world.see(pod)
    world.tell(STARTED, "a", restart=0, started_s=1_600_000_000.0)
    world.tell(KNOWN)
    assert world.started() == [("b", 0)]
    assert world.container("a").state.running.started_at.seconds == 1_600_000_000


def test_a_kubelet_that_comes_back_takes_over_and_writes_nothing_new() -> None:
    before, pod = begun(bound("a", "b")), bound("a", "b")
    before.tell(STARTED, "a", started_s=1_600_000_000.0)
    before.tell(STARTED, "b", started_s=1_600_000_000.0)
    pod.status.CopyFrom(before.status())
    after = World()
    after.see(pod)
    after.tell(STARTED, "a", started_s=1_600_000_000.0)
    after.tell(STARTED, "b", started_s=1_600_000_000.0)
    after.tell(KNOWN)
    assert after.started() == []
    assert after.take(ReportStatus) == []
    assert after.take(Journal) == [], "its start is told once"
    assert after.take(Record) == []
    assert after.status() == pod.status


def test_what_ended_while_no_kubelet_was_there_is_reported() -> None:
    before, pod = begun(bound("a", restart_policy="Never")), bound("a", restart_policy="Never")
    before.tell(STARTED, "a")
    pod.status.CopyFrom(before.status())
    after = World()
    after.see(pod)
    after.tell(EXITED, "a", 6, started_s=1_600_000_000.0, finished_s=1_600_000_060.0)
    after.tell(KNOWN)
    assert len(after.take(ReportStatus)) == 1
    assert after.status().phase == "Failed"
    terminated = after.container("a").state.terminated
    assert (terminated.exit_code, terminated.finished_at.seconds) == (6, 1_600_000_060)


def test_what_ran_and_is_not_known_any_more_is_lost_and_restarted() -> None:
    before, pod = begun(bound("a")), bound("a")
    before.tell(STARTED, "a")
    pod.status.CopyFrom(before.status())
    after = World()
    after.see(pod)
    after.tell(KNOWN)
    assert after.started() == [("a", 1)]
    last = after.container("a").last_state.terminated
    assert (last.exit_code, last.reason) == (137, "ContainerStatusUnknown")


def test_deletion_stops_all_then_confirms() -> None:
    world, pod = begun(bound("a", "b")), bound("a", "b")
    world.tell(STARTED, "a")
    world.tell(STARTED, "b")
    assert world.started() == [("a", 0), ("b", 0)]
    pod.metadata.deletion_timestamp.seconds = 1_700_000_100
    pod.metadata.deletion_grace_period_seconds = 7
    world.see(pod)
    assert world.take(StopPod) == [StopPod("uid-p", 7.0)]
    world.tell(EXITED, "a", 143, signal=15)
    world.tell(EXITED, "b", 0)
    assert world.started() == [], "nothing is restarted any more"
    world.tell(STOPPED, code=143)
    status = world.status()
    assert status.phase == "Failed"
    assert [c.state.terminated.exit_code for c in status.container_statuses] == [143, 0]
    assert world.kubelet.status_written("uid-p", None) == [ConfirmRemoval("tp-1", pod)]
    assert world.kubelet.pods_changed([Change("k", pod, None, "tp-1")]) == [Forget("uid-p")]


def test_the_final_status_of_a_pod_that_was_deleted_while_no_kubelet_ran_says_how_it_ended() -> None:
    before, pod = begun(bound("a")), bound("a")
    before.tell(STARTED, "a")
    pod.status.CopyFrom(before.status())
    pod.metadata.deletion_timestamp.seconds = 1_700_000_100
    after = World()
    after.see(pod)
    assert after.take(StartPod) == []
    assert len(after.take(StopPod)) == 1
    after.tell(EXITED, "a", 6, started_s=1_600_000_000.0, finished_s=1_600_000_060.0)
    after.tell(STOPPED, code=6)
    terminated = after.container("a").state.terminated
    assert (terminated.exit_code, terminated.finished_at.seconds) == (6, 1_600_000_060)


def test_a_pod_that_is_back_before_it_has_stopped_goes_on_with_what_the_runtime_knows() -> None:
    world, pod = begun(bound("a")), bound("a")
    world.tell(STARTED, "a")
    pod.status.CopyFrom(world.status())
    world.kubelet.pods_changed([Change("k", pod, None, "tp-1")])
    world.see(pod)
    world.out.clear()
    world.tell(EXITED, "a", 143)
    world.tell(STOPPED, code=143)
    assert world.take(Forget) == [], "its files are still needed"
    assert world.take(StartPod) == [StartPod(pod, adopt=True)]
    world.tell(EXITED, "a", 143)
    world.tell(KNOWN)
    assert world.started() == [("a", 1)]


def test_a_pod_that_was_over_before_this_process_is_forgotten_with_its_object() -> None:
    world, pod = World(), bound("a")
    pod.status.phase = "Succeeded"
    world.see(pod)
    assert world.out == []
    assert world.kubelet.pods_changed([Change("k", pod, None, "tp-1")]) == [Forget("uid-p")]


def test_a_pod_that_is_refused_ends_what_an_earlier_kubelet_may_have_started() -> None:
    world, pod = World(), bound("a")
    pod.spec.containers[0].resources.requests["cpu"] = "100"
    world.see(pod)
    assert world.take(StopPod) == [StopPod("uid-p", 0.0)]
    assert world.status().reason == "OutOfcpu"
