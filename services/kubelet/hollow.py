"""A runtime without containers: starting one takes a chosen time, stopping one takes none.

Annotations steer it: ``ursa.io/hollow-run-seconds`` ends the containers that many seconds after they started, with the
code of ``ursa.io/hollow-exit-code`` (default 0). It keeps nothing across a restart of its process: pods that ran before
are created again silently, so that their restart counts and the start journal stay as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.timers import Timer, Timers
from services.kubelet.runtime import Listener, RuntimeEvent, RuntimeEventType

RUN_SECONDS_ANNOTATION = "ursa.io/hollow-run-seconds"
EXIT_CODE_ANNOTATION = "ursa.io/hollow-exit-code"


@dataclass(frozen=True)
class StartDelay:
    """How long containers take to start, in seconds: uniform between the two, or fixed if they are equal."""

    least_s: float = 0.0
    most_s: float = 0.0

    def draw(self, rand: Rand) -> float:
        return self.least_s if self.least_s == self.most_s else rand.uniform(self.least_s, self.most_s)


class HollowRuntime:
    """A ``Runtime``. One may serve any number of kubelets; each pod costs a dictionary entry and at most one timer."""

    name = "hollow"
    version = "1.0.0"

    def __init__(self, timers: Timers, clock: Clock, rand: Rand, listener: Listener, delay: StartDelay) -> None:
        self._timers = timers
        self._clock = clock
        self._rand = rand
        self._listener = listener
        self._delay = delay
        self._pods: dict[str, Timer | None] = {}
        self._stopping: set[str] = set()

    def __len__(self) -> int:
        """Pods that run or start."""
        return len(self._pods)

    def start(self, pod: Pod) -> None:
        self._begin(pod, self._delay.draw(self._rand), _run_seconds(pod))

    def adopt(self, pod: Pod) -> None:
        run_s = _run_seconds(pod)
        if run_s is not None:
            ran_s = self._clock.time() - _running_since(pod)
            run_s = max(0.0, run_s - ran_s)
        self._begin(pod, 0.0, run_s)

    def stop(self, uid: str, grace_s: float) -> None:
        timer = self._pods.pop(uid, None)
        if timer is not None:
            timer.cancel()
        if uid not in self._stopping:
            self._stopping.add(uid)
            self._timers.after(0.0, partial(self._stopped, uid))

    def _begin(self, pod: Pod, delay_s: float, run_s: float | None) -> None:
        uid = pod.metadata.uid
        previous = self._pods.get(uid)
        if previous is not None:
            previous.cancel()
        exit_code = _exit_code(pod.metadata.annotations)
        self._pods[uid] = self._timers.after(delay_s, partial(self._started, uid, run_s, exit_code))

    def _started(self, uid: str, run_s: float | None, exit_code: int) -> None:
        self._pods[uid] = None
        if run_s is not None:
            self._pods[uid] = self._timers.after(run_s, partial(self._exited, uid, exit_code))
        self._listener(RuntimeEvent(RuntimeEventType.STARTED, uid, pod_ip=pod_ip(uid)))

    def _stopped(self, uid: str) -> None:
        self._stopping.discard(uid)
        self._listener(RuntimeEvent(RuntimeEventType.STOPPED, uid))

    def _exited(self, uid: str, exit_code: int) -> None:
        self._pods.pop(uid, None)
        self._listener(RuntimeEvent(RuntimeEventType.EXITED, uid, exit_code))


def pod_ip(uid: str) -> str:
    """An address of 10.0.0.0/8 that depends on the UID alone: the same after a restart, and never .0 or .255."""
    first, second, third = blake2b(uid.encode(), digest_size=3).digest()
    return f"10.{first}.{second}.{1 + third % 254}"


def _run_seconds(pod: Pod) -> float | None:
    try:
        return max(0.0, float(pod.metadata.annotations[RUN_SECONDS_ANNOTATION]))
    except (KeyError, ValueError):
        return None  # Not set, or no number: it runs until it is stopped.


def _exit_code(annotations: Mapping[str, str]) -> int:
    text = annotations.get(EXIT_CODE_ANNOTATION, "0")
    return int(text) if text.isdecimal() else 0


def _running_since(pod: Pod) -> float:
    for container in pod.status.container_statuses:
        if container.state.HasField("running"):
            return float(container.state.running.started_at.seconds)
    return float(pod.status.start_time.seconds)
