"""The kubelet of one node: events in, instructions out; synchronous, no I/O.

What happens to a pod (stages in ``worker.py``):

- a pod that is bound here is claimed for, whatever its binding says: it waits until the ledger holds its capacity (as
  it does for a pod that its scheduler claimed for), or fails if the ledger refuses it;
- then it is admitted (or fails), started, and reported Running when its containers run;
- one that is Running already when it is first seen was started by an earlier process: it is adopted, not admitted;
- containers that end are restarted as the restart policy says, with a growing pause, or decide the pod's phase;
- ``deletionTimestamp``: containers are stopped within the grace, the final status is written, and then the object is
  deleted with grace 0 and the UID as precondition: that is the confirmation. A pod deleted while no kubelet ran takes
  the same way when one comes back;
- a pod whose object vanishes is stopped and not written about any more. Should its object be back before that is done
  (its partition was removed and added again), it is begun anew as one that is first seen.

Every pod is answered on the partition it was first seen in; anything about a UID that came from elsewhere is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import grpc

from services.api.pb.ursa.core.v1.pod_pb2 import Pod, PodStatus
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim
from services.base.clock import Clock
from services.base.telemetry import TRACEPARENT_ANNOTATION, is_sampled
from services.client.informer import Change
from services.kubelet import metrics, podstatus
from services.kubelet.admission import Rejection, admit
from services.kubelet.claiming import claim_for, refused
from services.kubelet.contact import Contact
from services.kubelet.instructions import (
    Acknowledged,
    ClaimCapacity,
    ConfirmRemoval,
    Forget,
    Instruction,
    Journal,
    Record,
    ReportStatus,
    SetTimer,
    StartPod,
    StopPod,
    Trace,
    Wake,
)
from services.kubelet.podstatus import NodeFacts
from services.kubelet.runtime import RuntimeEvent, RuntimeEventType
from services.kubelet.worker import LIVE, PodWorker, Stage
from services.placement import pods
from services.placement.pods import is_terminal
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

# A start that is quicker than this is reported once, as Running; a slower one is reported Pending first.
REPORT_PENDING_AFTER_S = 0.5
# CrashLoopBackOff (pkg/kubelet/kubelet.go): the first restart is at once.
RESTART_BACKOFF_S, RESTART_BACKOFF_MAX_S, RESTART_BACKOFF_RESET_S = 10.0, 300.0, 600.0
# A runtime that has not stopped a pod this long after its grace is told again.
STOP_OVERDUE_S = 10.0
REMOVE_RETRY_S = 30.0
DEFAULT_GRACE_S = 30.0
# A deadline that is further away is looked at again.
DEADLINE_LOOK_S = 600.0

_GONE_CODES = frozenset({grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ABORTED})


class Kubelet:
    """Each method takes what happened and returns what to do. ``allocatable`` is in canonical units; ``contact``: the
    node's with its resource partition; ``labels``: gives the node's."""

    __slots__ = ("_clock", "_out", "allocatable", "contact", "facts", "labels", "workers")

    def __init__(
        self,
        facts: NodeFacts,
        allocatable: Mapping[str, int],
        contact: Contact,
        clock: Clock,
        labels: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self.facts = facts
        self.allocatable = allocatable
        self.contact = contact
        self.labels = labels
        self.workers: dict[str, PodWorker] = {}
        self._clock = clock
        self._out: list[Instruction] = []

    # What happens.

    def pods_changed(self, changes: Sequence[Change[Pod]]) -> list[Instruction]:
        """Pods bound to this node, as their partitions tell."""
        for change in changes:
            if change.new is None:
                if change.old is not None:
                    self._vanished(change.old.metadata.uid, change.partition)
            else:
                self._seen(change.new, change.partition)
        return self._take()

    def claim_answered(self, uid: str, refusal: StatusError | None) -> list[Instruction]:
        """The pod's capacity is held, or the ledger has refused it for good."""
        worker = self.workers.get(uid)
        if worker is None or worker.stage is not Stage.CLAIMING:
            if worker is not None and refusal is not None:
                _log.warning("a running pod has no claim", extra={**self._fields(worker), "cause": refusal.message})
            return []
        if refusal is None:
            self._admit_and_start(worker)
        else:
            self._reject(worker, refused(refusal, worker.pod, self.allocatable))
        return self._take()

    def claim_of(self, uid: str) -> CapacityClaim | None:
        """The claim to make for a pod that still needs one."""
        worker = self.workers.get(uid)
        if worker is None or worker.gone or worker.stage in (Stage.STOPPING, Stage.ENDED):
            return None
        return claim_for(worker.pod, worker.partition, worker.requests)

    def runtime_event(self, event: RuntimeEvent) -> list[Instruction]:
        worker = self.workers.get(event.uid)
        if worker is None:
            self._unknown(event.uid, "runtime")
        elif event.type is RuntimeEventType.STARTED:
            self._started(worker, event)
        elif event.type is RuntimeEventType.EXITED:
            self._exited(worker, event.exit_code)
        else:
            self._stopped(worker, event.exit_code)
        return self._take()

    def status_written(self, uid: str, error: StatusError | None) -> list[Instruction]:
        """A status write came to a definite end (``error``: a refusal that no retry changes)."""
        worker = self.workers.get(uid)
        if worker is None:
            return []  # It vanished while the write was under way.
        if error is None and not worker.traced and worker.written_phase == "Running":
            worker.traced = True
            if not worker.adopted:
                self._out.append(Acknowledged(uid))
            if is_sampled(worker.pod.metadata.annotations.get(TRACEPARENT_ANNOTATION, "")) and not worker.adopted:
                self._out.append(Trace(worker.pod, worker.seen_s, self._clock.time()))
        # Writes of one pod follow one another, so this answers the last that was built; only one built when the pod had
        # ended tells its end. Whatever became of that one, the confirmation must not hang on it.
        worker.final_written = worker.final_written or worker.final_asked
        self._confirm(worker)
        return self._take()

    def removal_answered(self, uid: str, error: StatusError | None) -> list[Instruction]:
        """The confirmation of a deletion came to a definite end."""
        worker = self.workers.get(uid)
        if worker is not None and error is not None and error.code not in _GONE_CODES:
            worker.removing = False
            _log.warning("pod removal refused", extra={**self._fields(worker), "cause": error.message})
            self._out.append(SetTimer(uid, REMOVE_RETRY_S, Wake.REMOVE))
        return self._take()

    def timer(self, uid: str, wake: Wake) -> list[Instruction]:
        """A timer of ``SetTimer`` went off; it may no longer matter."""
        worker = self.workers.get(uid)
        if worker is None:
            return []
        match wake:
            case Wake.REPORT_PENDING:
                if worker.stage is Stage.STARTING and not worker.container_started_s:
                    self._report(worker)
            case Wake.RESTART:
                if worker.stage is Stage.BACKOFF:
                    worker.stage = Stage.STARTING
                    self._out.append(StartPod(worker.pod, adopt=False))
            case Wake.DEADLINE:
                if worker.stage in LIVE and worker.deadline_s:
                    self._look_at_deadline(worker)
            case Wake.STOP_OVERDUE:
                # The timer of a stop before the pod came back must not cut this one short.
                if worker.stage is Stage.STOPPING and self._clock.monotonic() >= worker.overdue_s:
                    self._out.append(StopPod(uid, 0.0))
                    self._out.append(SetTimer(uid, STOP_OVERDUE_S, Wake.STOP_OVERDUE))
            case Wake.REMOVE:
                self._confirm(worker)
        return self._take()

    def in_contact(self) -> list[Instruction]:
        """The node's lease has been stored: pods that were left marked speak for themselves again."""
        if not self.contact.lost(self._clock.monotonic()):
            for uid in self.contact.take_left():
                if (worker := self.workers.get(uid)) is not None:
                    self._report(worker)
        return self._take()

    def status_of(self, uid: str) -> Pod | None:
        """The message of a status write: name, UID as precondition, status. None if there is nothing to write about."""
        worker = self.workers.get(uid)
        if worker is None or worker.gone:
            return None
        metadata = worker.pod.metadata
        message = Pod(status=self._status(worker))
        worker.final_asked = worker.stage is Stage.ENDED
        worker.written_phase = message.status.phase
        worker.written = _digest(message.status)
        podstatus.keep_own(message.status)
        message.metadata.name, message.metadata.namespace = metadata.name, metadata.namespace
        message.metadata.tenant, message.metadata.uid = metadata.tenant, metadata.uid
        return message

    @property
    def used(self) -> dict[str, int]:
        """What the pods that hold resources take, in canonical units."""
        total: dict[str, int] = {}
        for worker in self.workers.values():
            if worker.holds:
                for resource, amount in worker.requests.items():
                    total[resource] = total.get(resource, 0) + amount
        return total

    # Pods as their partitions tell.

    def _seen(self, pod: Pod, partition: str) -> None:
        worker = self.workers.get(pod.metadata.uid)
        if worker is None:
            self._first_seen(pod, partition)
            return
        if worker.partition != partition:
            self._unknown(pod.metadata.uid, "partition")
            return
        worker.pod = pod
        worker.returned = worker.gone
        if worker.deleting:
            self._delete(worker)
        elif is_terminal(pod) and worker.stage is not Stage.ENDED:
            self._declared_over(worker)
        else:
            if pod.spec.active_deadline_seconds != worker.deadline_s and worker.stage in LIVE:
                self._set_deadline(worker)
            if self._differs(worker):
                self._report(worker)

    def _first_seen(self, pod: Pod, partition: str) -> None:
        terminal = is_terminal(pod)
        deleting = pod.metadata.HasField("deletion_timestamp")
        if terminal and not deleting:
            return  # It ended under an earlier process and takes nothing of the node.
        worker = self._new_worker(pod, partition)
        self.workers[worker.uid] = worker
        _restore(worker)
        if terminal:
            worker.stage, worker.phase, worker.final_written = Stage.ENDED, pod.status.phase, True
            self._confirm(worker)
        elif deleting:
            self._delete(worker)
        elif _was_running(pod):
            # It runs, whatever the ledger says; a claim that it lacks is made good all the same.
            self._start(worker)
            if not pod.spec.capacity_claimed:
                self._out.append(ClaimCapacity(worker.partition, worker.uid))
        else:
            # Whoever may bind may say that the capacity is claimed; only the ledger knows.
            worker.stage = Stage.CLAIMING
            self._out.append(ClaimCapacity(worker.partition, worker.uid))

    def _new_worker(self, pod: Pod, partition: str) -> PodWorker:
        return PodWorker(pod, partition, self._clock.time())

    def _admit_and_start(self, worker: PodWorker) -> None:
        worker.stage = Stage.CLAIMING  # It holds nothing yet: admission must not count it as one that does.
        rejection = self._admit(worker)
        if rejection is not None:
            self._reject(worker, rejection)
        else:
            worker.stage = Stage.STARTING
            self._start(worker)

    def _start(self, worker: PodWorker) -> None:
        worker.adopted = worker.journaled
        self._out.append(StartPod(worker.pod, adopt=worker.adopted))
        if not worker.adopted:
            self._out.append(SetTimer(worker.uid, REPORT_PENDING_AFTER_S, Wake.REPORT_PENDING))
        self._set_deadline(worker)

    def _admit(self, worker: PodWorker) -> Rejection | None:
        holding = [other for other in self.workers.values() if other.holds]
        ports = pods.host_ports(worker.pod)
        return admit(
            worker.pod,
            requests=worker.requests,
            allocatable=self.allocatable,
            used=self.used,
            pods_used=len(holding),
            ports_used=[port for other in holding for port in pods.host_ports(other.pod)] if ports else (),
            node=self.facts.name,
            labels=self.labels,
        )

    def _reject(self, worker: PodWorker, rejection: Rejection) -> None:
        worker.stage, worker.phase = Stage.ENDED, "Failed"
        worker.reason, worker.message = rejection
        metrics.REJECTED_PODS.labels(rejection.reason).inc()
        self._record(worker, "Warning", rejection.reason, rejection.message)
        self._report(worker)

    def _set_deadline(self, worker: PodWorker) -> None:
        # It may be given, or brought forward, while the pod runs; 0 is no deadline.
        worker.deadline_s = worker.pod.spec.active_deadline_seconds
        if worker.deadline_s:
            self._wait_for_deadline(worker)

    def _wait_for_deadline(self, worker: PodWorker) -> None:
        # Timers outlive their pods: of many short pods with long deadlines none may stay for hours.
        left_s = worker.start_s + worker.deadline_s - self._clock.time()
        self._out.append(SetTimer(worker.uid, min(max(0.0, left_s), DEADLINE_LOOK_S), Wake.DEADLINE))

    def _look_at_deadline(self, worker: PodWorker) -> None:
        if worker.start_s + worker.deadline_s > self._clock.time():
            self._wait_for_deadline(worker)
        else:
            self._deadline_exceeded(worker)

    def _differs(self, worker: PodWorker) -> bool:
        """Somebody else changed what is ours (a node controller marks pods not ready on a node that it lost)."""
        if worker.stage in (Stage.CLAIMING, Stage.STARTING):
            return False
        if worker.written and _digest(worker.pod.status) == worker.written:
            return False  # The echo of what was written; what has changed since is to be reported anyway.
        return self._status(worker) != worker.pod.status

    def _status(self, worker: PodWorker) -> PodStatus:
        """As it is to be reported now. While the node's lease is not kept, a mark is not contradicted: the node is
        not ready, whatever its pods are."""
        lost = self.contact.lost(self._clock.monotonic())
        status = podstatus.build(worker, self.facts, self._clock.time(), lost=lost)
        if lost and podstatus.is_marked(status):
            self.contact.leave(worker.uid)
        return status

    def _vanished(self, uid: str, partition: str) -> None:
        worker = self.workers.get(uid)
        if worker is None:
            self._out.append(Forget(uid))  # It ended under an earlier process, which may have left something of it.
            return
        if worker.partition != partition:
            self._unknown(uid, "partition")
            return
        worker.gone, worker.returned = True, False
        if worker.stage is Stage.ENDED:
            self._forget(worker)
        elif worker.stage is not Stage.STOPPING:
            self._stop(worker, grace_s(worker.pod))

    # Deletion.

    def _delete(self, worker: PodWorker) -> None:
        if worker.stage is Stage.ENDED:
            self._confirm(worker)
            return
        allowed_s = grace_s(worker.pod)
        if worker.stage is Stage.STOPPING and worker.stop_grace_s is not None and allowed_s >= worker.stop_grace_s:
            return
        self._stop(worker, allowed_s)

    def _stop(self, worker: PodWorker, allowed_s: float) -> None:
        if worker.stage is not Stage.STOPPING:
            self._leave_running(worker)
            worker.stage = Stage.STOPPING
            if worker.container_started_s:
                self._record(worker, "Normal", "Killing", "Stopping containers")
        worker.stop_grace_s = allowed_s
        overdue_in_s = allowed_s + STOP_OVERDUE_S
        worker.overdue_s = self._clock.monotonic() + overdue_in_s
        self._out.append(StopPod(worker.uid, allowed_s))
        self._out.append(SetTimer(worker.uid, overdue_in_s, Wake.STOP_OVERDUE))

    def _confirm(self, worker: PodWorker) -> None:
        """If it is due: statuses and confirmations are queued apart, and the confirmation may overtake."""
        if worker.stage is Stage.ENDED and worker.final_written and worker.deleting and not worker.removing:
            worker.removing = True
            self._out.append(ConfirmRemoval(worker.partition, worker.pod))

    def _declared_over(self, worker: PodWorker) -> None:
        """Somebody else has written that it has ended (a pod that is evicted, or collected). That is final, and its
        claim ends with it: what runs of it takes room that others are given (pkg/kubelet/pod_workers.go, UpdatePod)."""
        if worker.stage is Stage.STOPPING:
            return
        status = worker.pod.status
        worker.phase, worker.reason, worker.message = status.phase, status.reason, status.message
        self._stop(worker, grace_s(worker.pod))

    def _deadline_exceeded(self, worker: PodWorker) -> None:
        worker.phase, worker.reason = "Failed", "DeadlineExceeded"
        worker.message = "Pod was active on the node longer than the specified deadline"
        self._record(worker, "Normal", worker.reason, worker.message)
        self._stop(worker, grace_s(worker.pod))

    # Containers, as the runtime tells.

    def _started(self, worker: PodWorker, event: RuntimeEvent) -> None:
        if worker.stage is not Stage.STARTING:
            return  # Asked to stop meanwhile: STOPPED follows.
        worker.pod_ip = event.pod_ip
        worker.stage = Stage.RUNNING
        metrics.RUNNING_PODS.inc()
        if worker.adopted and worker.container_started_s:
            if self._differs(worker):
                self._report(worker)
            return
        worker.container_started_s = self._clock.time()
        self._out.append(Journal(worker.pod, worker.partition, restarted=worker.journaled))
        if not worker.journaled:
            worker.journaled = True
            metrics.STARTED_PODS.inc()
            metrics.START_SECONDS.observe(worker.container_started_s - worker.seen_s)
        else:
            metrics.RESTARTED_CONTAINERS.inc()
        self._record(worker, "Normal", "Started", "Started containers")
        self._report(worker)

    def _exited(self, worker: PodWorker, exit_code: int) -> None:
        if worker.stage not in (Stage.STARTING, Stage.RUNNING):
            return
        now = self._clock.time()
        # Containers that never started have not run for 56 years.
        ran_s = now - worker.container_started_s if worker.container_started_s else 0.0
        self._leave_running(worker)
        worker.exit_code, worker.finished_s = exit_code, now
        policy = worker.pod.spec.restart_policy or "Always"
        if policy == "Always" or (policy == "OnFailure" and exit_code):
            self._restart(worker, ran_s)
            return
        worker.stage = Stage.ENDED
        worker.phase = "Failed" if exit_code else "Succeeded"
        self._report(worker)

    def _restart(self, worker: PodWorker, ran_s: float) -> None:
        if ran_s >= RESTART_BACKOFF_RESET_S:
            worker.backoff_s = 0.0
        pause_s = worker.backoff_s
        worker.backoff_s = min(RESTART_BACKOFF_MAX_S, pause_s * 2 or RESTART_BACKOFF_S)
        worker.last_started_s, worker.last_finished_s = worker.container_started_s, worker.finished_s
        worker.last_exit_code = worker.exit_code
        worker.restart_count += 1
        worker.stage = Stage.BACKOFF
        worker.adopted = False
        if pause_s:
            self._record(worker, "Warning", "BackOff", f"Back-off {pause_s:.0f}s restarting failed containers")
            self._report(worker)
        self._out.append(SetTimer(worker.uid, pause_s, Wake.RESTART))

    def _stopped(self, worker: PodWorker, exit_code: int) -> None:
        if worker.stage is not Stage.STOPPING:
            return
        worker.exit_code, worker.finished_s = exit_code, self._clock.time()
        worker.stage = Stage.ENDED
        if worker.gone and not worker.returned:
            self._forget(worker)
            return
        if worker.gone and not worker.deleting:
            # Its files and its origin are those of the pod that is back: it is not forgotten.
            del self.workers[worker.uid]
            self._first_seen(worker.pod, worker.partition)
            return
        worker.gone = False  # If it came back to be deleted, it has been stopped for that.
        # A pod that never ran has failed to; one that ended as asked with code 0 has succeeded (KEP-3329).
        if not worker.phase:
            worker.phase = "Succeeded" if worker.container_started_s and not exit_code else "Failed"
        self._report(worker)

    def _leave_running(self, worker: PodWorker) -> None:
        if worker.stage is Stage.RUNNING:
            metrics.RUNNING_PODS.dec()

    # Out.

    def _report(self, worker: PodWorker) -> None:
        if not worker.gone:
            self._out.append(ReportStatus(worker.partition, worker.uid))

    def _record(self, worker: PodWorker, event_type: str, reason: str, message: str) -> None:
        if not worker.gone:
            self._out.append(Record(worker.partition, worker.pod, event_type, reason, message))

    def _forget(self, worker: PodWorker) -> None:
        self.workers.pop(worker.uid, None)
        self.contact.forget(worker.uid)
        self._out.append(Forget(worker.uid))

    def _unknown(self, uid: str, source: str) -> None:
        metrics.UNKNOWN_PODS.labels(source).inc()
        _log.error("event for a pod that is not this kubelet's", extra={"uid": uid, "node": self.facts.name})

    def _fields(self, worker: PodWorker) -> dict[str, str]:
        metadata = worker.pod.metadata
        return {
            "uid": metadata.uid,
            "tenant": metadata.tenant,
            "pod": f"{metadata.namespace}/{metadata.name}",
            "node": self.facts.name,
            "partition": worker.partition,
        }

    def _take(self) -> list[Instruction]:
        taken, self._out = self._out, []
        return taken


def grace_s(pod: Pod) -> float:
    """Seconds that the pod's containers are given to end."""
    metadata, spec = pod.metadata, pod.spec
    if metadata.HasField("deletion_grace_period_seconds"):
        return float(metadata.deletion_grace_period_seconds)
    if spec.HasField("termination_grace_period_seconds"):
        return float(spec.termination_grace_period_seconds)
    return DEFAULT_GRACE_S


def _digest(status: PodStatus) -> int:
    """Equal for equal statuses; a sixteenth of the cost of building one to compare with."""
    return hash(status.SerializeToString(deterministic=True))


def _was_running(pod: Pod) -> bool:
    return pod.status.phase == "Running"


def _restore(worker: PodWorker) -> None:
    """Take over what an earlier process reported."""
    status = worker.pod.status
    if not _was_running(worker.pod):
        return
    worker.journaled = True
    worker.pod_ip = status.pod_ip
    for container in status.container_statuses:
        worker.restart_count = max(worker.restart_count, container.restart_count)
        if container.state.HasField("running"):
            worker.container_started_s = float(container.state.running.started_at.seconds)
        elif container.state.HasField("terminated"):
            worker.container_started_s = float(container.state.terminated.started_at.seconds)
        last = container.last_state.terminated
        if container.last_state.HasField("terminated"):
            worker.last_started_s = float(last.started_at.seconds)
            worker.last_finished_s = float(last.finished_at.seconds)
            worker.last_exit_code = last.exit_code
    worker.container_started_s = worker.container_started_s or worker.start_s
