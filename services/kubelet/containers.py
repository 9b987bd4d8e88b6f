"""What a kubelet remembers of containers that are run each by itself, and which of them to start. Pure.

The rules are those of ``pkg/kubelet/kuberuntime/kuberuntime_manager.go`` (``computePodActions``): init containers run
one after the other, each until it has succeeded; one whose restart policy is Always is a sidecar, which only has to
begin before the next may; then all others run at once. Each is restarted as its policy says, with pauses of its own.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence

from services.api.pb.ursa.core.v1.pod_pb2 import Container, ContainerStatus, Pod
from services.kubelet.runtime import RuntimeEvent
from services.kubelet.worker import PodWorker
from services.placement.pods import is_sidecar

# CrashLoopBackOff (pkg/kubelet/kubelet.go): the first restart is at once.
RESTART_BACKOFF_S, RESTART_BACKOFF_MAX_S, RESTART_BACKOFF_RESET_S = 10.0, 300.0, 600.0
# What is reported of a container that nobody knows anything of any more.
UNKNOWN_CODE, UNKNOWN_REASON = 137, "ContainerStatusUnknown"


class Step(enum.Enum):
    """WAITING ─▶ STARTING ─▶ RUNNING ─▶ ENDED (for good), or ─▶ BACKOFF ─▶ STARTING.

    REFUSED: it could not be made, and is tried again as from BACKOFF.
    """

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    REFUSED = "refused"
    ENDED = "ended"


class Ended:
    """How a start of a container ended. Times are seconds since the Unix epoch."""

    __slots__ = ("exit_code", "finished_s", "message", "reason", "restart", "signal", "started_s")

    def __init__(
        self,
        exit_code: int,
        started_s: float,
        finished_s: float,
        *,
        restart: int = 0,
        signal: int = 0,
        reason: str = "",
        message: str = "",
    ) -> None:
        self.exit_code = exit_code
        self.started_s = started_s
        self.finished_s = finished_s
        self.restart = restart
        self.signal = signal
        self.reason = reason or ("Completed" if exit_code == 0 else "Error")
        self.message = message


class ContainerRun:
    """One container: where it is, its present start, how that ended (``ended``), and how the one before did (``last``).

    ``reason`` and ``message``: why it is REFUSED. ``due_s``: when BACKOFF or REFUSED may start again.
    """

    __slots__ = (
        "backoff_s",
        "due_s",
        "ended",
        "init",
        "last",
        "message",
        "name",
        "policy",
        "reason",
        "restart_count",
        "started_s",
        "step",
    )

    def __init__(self, name: str, policy: str, *, init: bool) -> None:
        self.name = name
        self.policy = policy
        self.init = init
        self.step = Step.WAITING
        self.restart_count = 0
        self.started_s = 0.0
        self.ended: Ended | None = None
        self.last: Ended | None = None
        self.reason = ""
        self.message = ""
        self.due_s = 0.0
        self.backoff_s = 0.0

    @property
    def sidecar(self) -> bool:
        return self.init and self.policy == "Always"

    @property
    def begun(self) -> bool:
        """It has run at least once."""
        return self.started_s > 0 or self.last is not None or self.ended is not None

    @property
    def succeeded(self) -> bool:
        return self.step is Step.ENDED and self.ended is not None and self.ended.exit_code == 0

    def started(self, event: RuntimeEvent, now_s: float) -> None:
        self.step = Step.RUNNING
        self.restart_count = event.restart
        self.started_s = event.started_s or now_s
        self.ended = None
        self.reason = self.message = ""

    def exited(self, event: RuntimeEvent, now_s: float) -> float | None:
        """Note the end. Seconds until it is to be started again; None: it has ended for good."""
        self.restart_count = event.restart
        self.ended = Ended(
            event.exit_code,
            event.started_s or self.started_s or now_s,
            event.finished_s or now_s,
            restart=event.restart,
            signal=event.signal,
            reason=event.reason,
            message=event.message,
        )
        self.started_s = self.ended.started_s
        if self.policy == "Always" or (self.policy == "OnFailure" and event.exit_code):
            self.step = Step.BACKOFF
            if self.ended.finished_s - self.ended.started_s >= RESTART_BACKOFF_RESET_S:
                self.backoff_s = 0.0
            return self._pause(now_s, self.backoff_s)
        self.step = Step.ENDED
        return None

    def refused(self, event: RuntimeEvent, now_s: float) -> float:
        """It could not be made. Seconds until the next try."""
        self.step = Step.REFUSED
        self.reason, self.message = event.reason, event.message
        return self._pause(now_s, max(self.backoff_s, RESTART_BACKOFF_S))

    def starts(self) -> int:
        """It is started now: which start of it that is."""
        if self.ended is not None:
            self.last, self.ended = self.ended, None
            self.restart_count += 1
        self.step = Step.STARTING
        return self.restart_count

    def _pause(self, now_s: float, pause_s: float) -> float:
        self.backoff_s = min(RESTART_BACKOFF_MAX_S, pause_s * 2 or RESTART_BACKOFF_S)
        self.due_s = now_s + pause_s
        return pause_s

    def restore(self, status: ContainerStatus) -> None:
        """Take over what an earlier kubelet reported; what the runtime knows overrules it."""
        self.restart_count = status.restart_count
        self.last = _ended(status.last_state, max(0, status.restart_count - 1))
        ended = _ended(status.state, status.restart_count)
        if status.state.HasField("running"):
            self.started_s = float(status.state.running.started_at.seconds)
            self.step = Step.RUNNING
        elif ended is not None:
            self.ended, self.started_s = ended, ended.started_s
            self.step = Step.ENDED if self.policy == "Never" or not ended.exit_code else Step.BACKOFF
            if self.policy == "Always":
                self.step = Step.BACKOFF
        elif self.last is not None:
            self.ended, self.last = self.last, None
            self.step = Step.BACKOFF


class ContainerPod(PodWorker):
    """A pod whose containers are run each by itself. ``containers``: by name, init containers first, in their order.

    ``known``: the runtime has told what it knows of them.
    """

    __slots__ = ("containers", "known", "mentioned")

    def __init__(self, pod: Pod, partition: str, seen_s: float) -> None:
        super().__init__(pod, partition, seen_s)
        policy = pod.spec.restart_policy or "Always"
        runs = [ContainerRun(spec.name, _init_policy(spec, policy), init=True) for spec in pod.spec.init_containers]
        runs += [ContainerRun(spec.name, policy, init=False) for spec in pod.spec.containers]
        self.containers = {run.name: run for run in runs}
        self.known = False
        self.mentioned: set[str] = set()

    @property
    def main(self) -> Sequence[ContainerRun]:
        return [run for run in self.containers.values() if not run.init]

    @property
    def initialized(self) -> bool:
        """Every init container has succeeded, or begun if it is a sidecar."""
        return all(run.begun if run.sidecar else run.succeeded for run in self._inits())

    def unready(self) -> list[str]:
        """Names of the containers that should run and do not."""
        return [run.name for run in self.containers.values() if _counts(run) and run.step is not Step.RUNNING]

    def startable(self, now_s: float) -> Iterator[ContainerRun]:
        """What to start now."""
        for run in self._inits():
            if run.succeeded:
                continue
            if _due(run, now_s):
                yield run
            if not (run.sidecar and run.begun):
                return  # The next waits for it.
        yield from (run for run in self.main if _due(run, now_s))

    def phase_of_end(self) -> str:
        """The phase that the pod has ended in; empty while it has not."""
        if any(run.step is Step.ENDED and not run.succeeded for run in self._inits()):
            return "Failed"
        if all(run.step is Step.ENDED for run in self.main):
            return "Succeeded" if all(run.succeeded for run in self.main) else "Failed"
        return ""

    def _inits(self) -> Iterable[ContainerRun]:
        return [run for run in self.containers.values() if run.init]


def _due(run: ContainerRun, now_s: float) -> bool:
    return run.step is Step.WAITING or (run.step in (Step.BACKOFF, Step.REFUSED) and run.due_s <= now_s)


def _counts(run: ContainerRun) -> bool:
    return not run.init or run.sidecar


def _init_policy(spec: Container, policy: str) -> str:
    if is_sidecar(spec):
        return "Always"
    return "Never" if policy == "Never" else "OnFailure"


def _ended(state: object, restart: int) -> Ended | None:
    from_status = getattr(state, "terminated", None)
    if from_status is None or not state.HasField("terminated"):  # type: ignore[attr-defined]
        return None
    return Ended(
        from_status.exit_code,
        float(from_status.started_at.seconds),
        float(from_status.finished_at.seconds),
        restart=restart,
        signal=from_status.signal,
        reason=from_status.reason,
        message=from_status.message,
    )
