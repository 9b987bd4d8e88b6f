"""The kubelet's core: what happens in, what to do out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import pytest

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.apiserver.objects import merge_conditions
from services.base.clock import FakeClock
from services.client.informer import Change
from services.kubelet import metrics
from services.kubelet.contact import Contact
from services.kubelet.instructions import (
    Acknowledged,
    ClaimCapacity,
    ConfirmRemoval,
    Forget,
    Journal,
    Record,
    ReportStatus,
    SetTimer,
    StartPod,
    StopPod,
    Trace,
    Wake,
)
from services.kubelet.kubelet import Kubelet
from services.kubelet.podstatus import NodeFacts
from services.kubelet.runtime import RuntimeEvent, RuntimeEventType
from services.kubelet.worker import Stage
from services.rpc import status
from services.rpc.status import StatusError
from tests.support.client_world import pod as make_pod

STARTED, EXITED, STOPPED = RuntimeEventType.STARTED, RuntimeEventType.EXITED, RuntimeEventType.STOPPED
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class World:
    """One kubelet, and a way to say what happens to it."""

    def __init__(self, **allocatable: int) -> None:
        self.clock = FakeClock()
        facts = NodeFacts("n1", "rp-1", "172.16.0.1", "hollow")
        self.contact = Contact(40.0)
        self.kubelet = Kubelet(facts, allocatable or {"cpu": 4000, "pods": 10}, self.contact, self.clock)

    def see(self, pod: Pod, partition: str = "tp-1", *, claimed: bool = True, held: bool | None = None) -> list[Any]:
        """``claimed``: what the binding says. ``held`` (as ``claimed`` says): the ledger holds it, and says so."""
        pod.spec.capacity_claimed = claimed
        out = self.kubelet.pods_changed([Change("k", None, pod, partition)])
        if claimed if held is None else held:
            for asked in [each for each in out if isinstance(each, ClaimCapacity)]:
                out.remove(asked)
                out += self.kubelet.claim_answered(asked.uid, None)
        return out

    def vanish(self, pod: Pod, partition: str = "tp-1") -> list[Any]:
        return self.kubelet.pods_changed([Change("k", pod, None, partition)])

    def runtime(self, event_type: RuntimeEventType, uid: str, code: int = 0) -> list[Any]:
        return self.kubelet.runtime_event(RuntimeEvent(event_type, uid, code, "10.0.0.1"))

    def run(self, pod: Pod) -> None:
        """Bind, start, report; the partition shows what was reported."""
        self.see(pod)
        self.runtime(STARTED, pod.metadata.uid)
        self.echo(pod)

    def echo(self, pod: Pod) -> list[Any]:
        """The partition stores what the kubelet reports, and shows it."""
        message = self.kubelet.status_of(pod.metadata.uid)
        assert message is not None
        before = type(pod.status)()
        before.CopyFrom(pod.status)
        pod.status.CopyFrom(message.status)
        merge_conditions(pod.status, before)
        stored = Pod()
        stored.CopyFrom(pod)
        return [*self.kubelet.status_written(pod.metadata.uid, None), *self.see(stored)]

    def write(self, uid: str, error: StatusError | None = None) -> list[Any]:
        """The status is built, sent and answered."""
        assert self.kubelet.status_of(uid) is not None
        return self.kubelet.status_written(uid, error)

    def status(self, uid: str) -> Any:
        message = self.kubelet.status_of(uid)
        assert message is not None
        return message.status


def bound(name: str, **options: Any) -> Pod:
    pod = make_pod(name, node_name="n1", **options)
    pod.metadata.uid = f"uid-{name}"
    pod.status.conditions.add(type="PodScheduled", status="True")
    pod.status.qos_class = "BestEffort"
    return pod


def deleted(pod: Pod, grace_s: int = 30) -> Pod:
    result = Pod()
    result.CopyFrom(pod)
    result.metadata.deletion_timestamp.seconds = 1_700_000_100
    result.metadata.deletion_grace_period_seconds = grace_s
    return result


def kinds(instructions: Sequence[Any]) -> list[type]:
    return [type(instruction) for instruction in instructions]


def conditions(pod_status: Any) -> dict[str, str]:
    return {condition.type: condition.status for condition in pod_status.conditions}


def test_a_bound_pod_is_started_and_reported_running_once() -> None:
    world, pod = World(), bound("p")
    assert world.see(pod) == [StartPod(pod, adopt=False), SetTimer("uid-p", 0.5, Wake.REPORT_PENDING)]
    out = world.runtime(STARTED, "uid-p")
    assert kinds(out) == [Journal, Record, ReportStatus]
    assert out[0] == Journal(pod, "tp-1", restarted=False)
    reported = world.status("uid-p")
    assert (reported.phase, reported.pod_ip, reported.host_ip) == ("Running", "10.0.0.1", "172.16.0.1")
    assert conditions(reported) == {
        "Initialized": "True",
        "ContainersReady": "True",
        "Ready": "True",
    }
    [container] = reported.container_statuses
    assert container.ready
    assert container.state.running.started_at.seconds == 1_700_000_000
    assert reported.start_time.seconds == 1_700_000_000
    assert reported.qos_class == "BestEffort", "what others wrote stays"
    assert world.echo(pod) == [Acknowledged("uid-p")]
    assert world.echo(pod) == []


def test_a_slow_start_is_reported_pending_first() -> None:
    world, pod = World(), bound("p")
    world.see(pod)
    assert world.kubelet.timer("uid-p", Wake.REPORT_PENDING) == [ReportStatus("tp-1", "uid-p")]
    reported = world.status("uid-p")
    assert reported.phase == "Pending"
    assert reported.container_statuses[0].state.waiting.reason == "ContainerCreating"
    assert conditions(reported)["Ready"] == "False"
    world.runtime(STARTED, "uid-p")
    assert world.kubelet.timer("uid-p", Wake.REPORT_PENDING) == []


@pytest.mark.parametrize(
    ("allocatable", "cpu", "reason"),
    [({"cpu": 1000, "pods": 10}, "2", "OutOfcpu"), ({"cpu": 4000, "pods": 1}, "1", "OutOfpods")],
)
def test_a_pod_that_does_not_fit_fails_and_is_not_started(allocatable: dict[str, int], cpu: str, reason: str) -> None:
    world = World(**allocatable)
    world.run(bound("first", cpu="100m"))
    out = world.see(bound("p", cpu=cpu))
    assert kinds(out) == [Record, ReportStatus]
    reported = world.status("uid-p")
    assert (reported.phase, reported.reason) == ("Failed", reason)
    assert "Node didn't have enough resource" in reported.message


def test_host_ports_are_taken_once() -> None:
    world = World()
    for name, refused in (("a", False), ("b", True)):
        pod = bound(name)
        pod.spec.containers[0].ports.add(container_port=80, host_port=8080, protocol="TCP")
        out = world.see(pod)
        assert (Record in kinds(out)) is refused
    assert world.status("uid-b").reason == "NodePorts"


def test_a_pod_that_ended_frees_what_it_held() -> None:
    world = World(cpu=1000, pods=10)
    first = bound("first", cpu="1", restart_policy="Never")
    world.run(first)
    assert world.kubelet.used == {"cpu": 1000}
    world.runtime(EXITED, "uid-first")
    assert world.kubelet.used == {}
    assert StartPod in kinds(world.see(bound("second", cpu="1")))


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [("Never", 0, "Succeeded"), ("Never", 3, "Failed"), ("OnFailure", 0, "Succeeded")],
)
def test_containers_that_end_decide_the_phase(policy: str, code: int, phase: str) -> None:
    world, pod = World(), bound("p", restart_policy=policy)
    world.run(pod)
    assert kinds(world.runtime(EXITED, "uid-p", code)) == [ReportStatus]
    reported = world.status("uid-p")
    assert reported.phase == phase
    assert reported.container_statuses[0].state.terminated.exit_code == code
    assert conditions(reported)["Ready"] == "False"
    assert world.echo(pod) == []


@pytest.mark.parametrize(("policy", "code"), [("Always", 0), ("Always", 1), ("OnFailure", 1), ("", 0)])
def test_containers_are_restarted_at_once_and_then_with_growing_pauses(policy: str, code: int) -> None:
    world, pod = World(), bound("p", restart_policy=policy)
    world.run(pod)
    for restart, pause in enumerate((0.0, 10.0, 20.0, 40.0), 1):
        out = world.runtime(EXITED, "uid-p", code)
        assert SetTimer("uid-p", pause, Wake.RESTART) in out
        assert world.kubelet.timer("uid-p", Wake.RESTART) == [StartPod(pod, adopt=False)]
        started = world.runtime(STARTED, "uid-p")
        assert Journal(pod, "tp-1", restarted=True) in started
        reported = world.status("uid-p")
        assert reported.container_statuses[0].restart_count == restart
        assert reported.container_statuses[0].last_state.terminated.exit_code == code
        world.echo(pod)


def test_deletion_stops_writes_the_final_status_then_confirms() -> None:
    world, pod = World(), bound("p")
    world.run(pod)
    doomed = deleted(pod, grace_s=20)
    out = world.see(doomed)
    assert kinds(out) == [Record, StopPod, SetTimer]
    assert out[1] == StopPod("uid-p", 20.0)
    assert world.see(doomed) == [], "seeing it again stops nothing twice"
    assert world.runtime(STOPPED, "uid-p") == [ReportStatus("tp-1", "uid-p")]
    assert world.status("uid-p").phase == "Succeeded"
    assert world.kubelet.status_written("uid-p", None) == [ConfirmRemoval("tp-1", doomed)]
    assert world.see(doomed) == []
    assert world.vanish(doomed) == [Forget("uid-p")]


def test_a_repeated_deletion_can_shorten_the_grace() -> None:
    world, pod = World(), bound("p")
    world.run(pod)
    world.see(deleted(pod, grace_s=30))
    assert world.see(deleted(pod, grace_s=60)) == []
    assert StopPod("uid-p", 5.0) in world.see(deleted(pod, grace_s=5))


def test_a_runtime_that_does_not_stop_in_time_is_told_again() -> None:
    world, pod = World(), bound("p")
    world.run(pod)
    assert SetTimer("uid-p", 40.0, Wake.STOP_OVERDUE) in world.see(deleted(pod))
    world.clock._now += 40.0
    assert world.kubelet.timer("uid-p", Wake.STOP_OVERDUE)[0] == StopPod("uid-p", 0.0)


def test_a_final_status_that_is_refused_does_not_hold_the_confirmation() -> None:
    world, pod = World(), bound("p")
    world.run(pod)
    doomed = deleted(pod)
    world.see(doomed)
    world.runtime(STOPPED, "uid-p")
    refusal = status.invalid([status.Violation("status", "no")])
    assert world.write("uid-p", refusal) == [ConfirmRemoval("tp-1", doomed)]


def test_a_refused_confirmation_is_tried_again_later() -> None:
    world, pod = World(), bound("p")
    world.run(pod)
    doomed = deleted(pod)
    world.see(doomed)
    world.runtime(STOPPED, "uid-p")
    world.write("uid-p")
    assert world.kubelet.removal_answered("uid-p", status.not_found("pods", "p")) == []
    assert kinds(world.kubelet.removal_answered("uid-p", status.forbidden("no"))) == [SetTimer]
    assert world.kubelet.timer("uid-p", Wake.REMOVE) == [ConfirmRemoval("tp-1", doomed)]


def test_an_object_that_vanishes_ends_its_containers_silently() -> None:
    world, pod = World(), bound("p")
    world.run(pod)
    out = world.vanish(pod)
    assert kinds(out) == [Record, StopPod, SetTimer] or kinds(out) == [StopPod, SetTimer]
    assert not any(isinstance(instruction, Record | ReportStatus) for instruction in out)
    assert world.kubelet.status_of("uid-p") is None
    assert world.runtime(STOPPED, "uid-p") == [Forget("uid-p")]
    assert world.kubelet.workers == {}


def test_a_restarted_kubelet_adopts_and_tells_no_second_start() -> None:
    before, pod = World(), bound("p")
    before.run(pod)
    after = World(cpu=1, pods=0)
    assert after.see(pod) == [StartPod(pod, adopt=True)], "what runs is not admitted again"
    after.clock._now += 100
    assert after.runtime(STARTED, "uid-p") == []
    told = after.status("uid-p")
    merge_conditions(told, pod.status)
    assert told == pod.status


def test_a_restart_count_survives_the_kubelet() -> None:
    before, pod = World(), bound("p")
    before.run(pod)
    before.runtime(EXITED, "uid-p")
    before.kubelet.timer("uid-p", Wake.RESTART)
    before.runtime(STARTED, "uid-p")
    before.echo(pod)
    after = World()
    after.see(pod)
    after.runtime(STARTED, "uid-p")
    assert after.status("uid-p").container_statuses[0].restart_count == 1


def test_a_pod_deleted_while_no_kubelet_ran_is_confirmed() -> None:
    before, pod = World(), bound("p")
    before.run(pod)
    doomed = deleted(pod)
    after = World()
    assert StopPod("uid-p", 30.0) in after.see(doomed)
    after.runtime(STOPPED, "uid-p")
    assert after.write("uid-p") == [ConfirmRemoval("tp-1", doomed)]


def test_a_terminal_pod_is_left_alone_unless_it_is_being_deleted() -> None:
    world, pod = World(), bound("p")
    pod.status.phase = "Succeeded"
    assert world.see(pod) == []
    assert world.kubelet.workers == {}
    doomed = deleted(pod)
    assert world.see(doomed) == [ConfirmRemoval("tp-1", doomed)]


def test_what_a_controller_overwrote_is_reported_again() -> None:
    world, pod = World(), bound("p")
    world.run(pod)
    for condition in pod.status.conditions:
        if condition.type == "Ready":
            condition.status = "False"
    assert world.see(pod) == [ReportStatus("tp-1", "uid-p")]
    assert conditions(world.status("uid-p"))["Ready"] == "True"


def test_a_pod_belongs_to_the_partition_it_came_from() -> None:
    world, pod = World(), bound("p")
    world.run(pod)
    counted = metrics.UNKNOWN_PODS.labels("partition")._value.get()
    impostor = deleted(pod)
    assert world.see(impostor, "tp-2") == []
    assert world.vanish(pod, "tp-2") == []
    assert world.kubelet.workers["uid-p"].stage is Stage.RUNNING
    assert metrics.UNKNOWN_PODS.labels("partition")._value.get() == counted + 2


def test_an_answer_about_an_unknown_pod_is_counted_and_does_nothing() -> None:
    world = World()
    counted = metrics.UNKNOWN_PODS.labels("runtime")._value.get()
    assert world.runtime(STARTED, "nobody") == []
    assert metrics.UNKNOWN_PODS.labels("runtime")._value.get() == counted + 1


async def test_an_active_deadline_ends_the_pod() -> None:
    world, pod = World(), bound("p", active_deadline_seconds=60)
    assert SetTimer("uid-p", 60.0, Wake.DEADLINE) in world.see(pod)
    world.runtime(STARTED, "uid-p")
    await world.clock.advance(60)
    assert StopPod in kinds(world.kubelet.timer("uid-p", Wake.DEADLINE))
    world.runtime(STOPPED, "uid-p")
    reported = world.status("uid-p")
    assert (reported.phase, reported.reason) == ("Failed", "DeadlineExceeded")


async def test_a_deadline_that_is_given_or_brought_forward_while_the_pod_runs_counts() -> None:
    world, pod = World(), bound("p")
    world.run(pod)
    for deadline_s in (3600, 45):
        changed = Pod()
        changed.CopyFrom(pod)
        changed.spec.active_deadline_seconds = deadline_s
        out = world.see(changed)
        assert out == [SetTimer("uid-p", min(deadline_s, 600.0), Wake.DEADLINE)]
        assert world.see(changed) == [], "once is enough"
    await world.clock.advance(44)
    assert world.kubelet.timer("uid-p", Wake.DEADLINE) == [SetTimer("uid-p", 1.0, Wake.DEADLINE)], "not yet"
    await world.clock.advance(1)
    assert StopPod in kinds(world.kubelet.timer("uid-p", Wake.DEADLINE))


def test_readiness_gates_hold_back_ready() -> None:
    world, pod = World(), bound("p")
    pod.spec.readiness_gates.add(condition_type="example.com/warm")
    world.run(pod)
    assert conditions(pod.status) | {"Ready": "False", "ContainersReady": "True"} == conditions(pod.status)
    pod.status.conditions.add(type="example.com/warm", status="True")
    assert world.see(pod) == [ReportStatus("tp-1", "uid-p")]
    assert conditions(world.status("uid-p"))["Ready"] == "True"


def test_the_span_of_a_sampled_pod_ends_when_running_is_written() -> None:
    world, pod = World(), bound("p")
    pod.metadata.annotations["ursa.io/traceparent"] = TRACEPARENT
    world.see(pod)
    world.status("uid-p")
    world.runtime(STARTED, "uid-p")
    assert world.kubelet.status_written("uid-p", None) == [], "what was written is that it is pending"
    world.status("uid-p")
    acknowledged, trace = world.kubelet.status_written("uid-p", None)
    assert acknowledged == Acknowledged("uid-p")
    assert isinstance(trace, Trace)
    assert world.kubelet.status_written("uid-p", None) == []


def test_a_status_names_its_uid_and_no_resource_version() -> None:
    world, pod = World(), bound("p")
    pod.metadata.resource_version = 7
    world.run(pod)
    message = world.kubelet.status_of("uid-p")
    assert message is not None
    assert (message.metadata.uid, message.metadata.resource_version) == ("uid-p", 0)
    assert not message.HasField("spec")


def test_gone_codes_are_definite() -> None:
    world, pod = World(), bound("p")
    world.run(pod)
    doomed = deleted(pod)
    world.see(doomed)
    world.runtime(STOPPED, "uid-p")
    world.write("uid-p")
    conflict = status.conflict("pods", "p", "another UID")
    assert conflict.code is grpc.StatusCode.ABORTED
    assert world.kubelet.removal_answered("uid-p", conflict) == []


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_pod_that_somebody_else_declared_over_is_stopped(phase: str) -> None:
    """Its claim has ended with it, and its end is final: to report it Running again would be refused for ever."""
    world, pod = World(), bound("p", termination_grace_period_seconds=7)
    world.run(pod)
    over = Pod()
    over.CopyFrom(pod)
    over.status.phase, over.status.reason, over.status.message = phase, "Evicted", "the node was low on memory"
    out = world.see(over)
    assert [each for each in out if isinstance(each, StopPod)] == [StopPod("uid-p", 7.0)]
    assert not any(isinstance(each, ReportStatus) for each in out)
    assert world.see(over) == [], "it is told once"
    out = world.runtime(STOPPED, "uid-p", 143)
    assert [type(each) for each in out] == [ReportStatus]
    reported = world.status("uid-p")
    assert (reported.phase, reported.reason, reported.message) == (phase, "Evicted", "the node was low on memory")
    assert reported.container_statuses[0].state.terminated.exit_code == 143
    assert world.kubelet.used == {}
    assert world.echo(over) == []


def test_a_pod_that_was_declared_over_before_it_started_never_starts() -> None:
    world, pod = World(), bound("p")
    world.see(pod, claimed=False)
    over = Pod()
    over.CopyFrom(pod)
    over.status.phase = "Failed"
    world.kubelet.pods_changed([Change("k", pod, over, "tp-1")])
    assert world.kubelet.claim_answered("uid-p", None) == []
    world.runtime(STOPPED, "uid-p")
    assert world.status("uid-p").phase == "Failed"


# What the node life cycle says of pods while their node is lost.


def marked(pod: Pod) -> Pod:
    result = Pod()
    result.CopyFrom(pod)
    [ready] = [condition for condition in result.status.conditions if condition.type == "Ready"]
    ready.status, ready.reason, ready.message = "False", "NodeNotReady", "Node is not ready"
    return result


def readiness(pod_status: Any) -> tuple[str, str]:
    return next((each.status, each.reason) for each in pod_status.conditions if each.type == "Ready")


def lost_world(pod: Pod) -> World:
    """``pod`` runs, and the node's lease was stored 41 seconds ago."""
    world = World()
    world.contact.renewed(0.0)
    world.run(pod)
    world.clock._now += 41.0
    return world


def renew(world: World) -> list[Any]:
    return world.kubelet.in_contact() if world.contact.renewed(world.clock.monotonic()) else []


def test_a_mark_of_the_node_life_cycle_stays_while_the_lease_is_not_kept_and_goes_with_its_renewal() -> None:
    pod = bound("p")
    world = lost_world(pod)
    assert world.see(marked(pod)) == []
    assert readiness(world.status("uid-p")) == ("False", "NodeNotReady")
    assert renew(world) == [ReportStatus("tp-1", "uid-p")]
    assert readiness(world.status("uid-p")) == ("True", "")
    assert renew(world) == [], "it is told once"


def test_a_mark_is_contradicted_while_the_lease_is_kept() -> None:
    pod = bound("p")
    world = lost_world(pod)
    renew(world)
    assert world.see(marked(pod)) == [ReportStatus("tp-1", "uid-p")]
    assert readiness(world.status("uid-p")) == ("True", "")


def test_a_kubelet_that_does_not_reach_its_resource_partition_marks_nothing_by_itself() -> None:
    pod = bound("p")
    world = lost_world(pod)
    assert world.see(pod) == []
    assert readiness(world.status("uid-p")) == ("True", "")
    assert renew(world) == []


def test_what_else_happens_to_a_marked_pod_is_reported_and_its_end_takes_the_mark_away() -> None:
    pod = bound("p", restart_policy="OnFailure")
    world = lost_world(pod)
    pod.CopyFrom(marked(pod))
    world.see(pod)
    world.runtime(EXITED, "uid-p", 1)
    world.kubelet.timer("uid-p", Wake.RESTART)
    assert ReportStatus in kinds(world.runtime(STARTED, "uid-p"))
    reported = world.status("uid-p")
    assert reported.container_statuses[0].restart_count == 1
    assert readiness(reported) == ("False", "NodeNotReady"), "a restart is no reason to be ready on a lost node"
    world.runtime(EXITED, "uid-p", 0)
    reported = world.status("uid-p")
    assert (reported.phase, readiness(reported)) == ("Succeeded", ("False", "PodCompleted"))


def test_a_mark_that_was_left_in_a_report_goes_when_the_lease_is_renewed() -> None:
    pod = bound("p")
    world = lost_world(pod)
    pod.CopyFrom(marked(pod))
    world.see(pod)
    assert world.echo(pod) == []
    assert renew(world) == [ReportStatus("tp-1", "uid-p")]


def test_a_renewal_whose_answer_was_read_too_late_is_no_contact() -> None:
    pod = bound("p")
    world = lost_world(pod)
    world.see(marked(pod))
    assert world.contact.renewed(world.clock.monotonic() - 40.5)
    assert world.kubelet.in_contact() == []
    assert renew(world) == [ReportStatus("tp-1", "uid-p")]


def test_a_kubelet_that_was_started_anew_contradicts_no_mark_before_its_first_renewal() -> None:
    pod, before = bound("p"), World()
    before.run(pod)
    world = World()
    world.see(marked(pod))
    assert world.runtime(STARTED, "uid-p") == []
    assert renew(world) == [ReportStatus("tp-1", "uid-p")]


def test_nothing_is_remembered_of_a_marked_pod_that_is_gone() -> None:
    pod = bound("p")
    world = lost_world(pod)
    world.see(marked(pod))
    world.vanish(pod)
    world.runtime(STOPPED, "uid-p")
    assert renew(world) == []
