"""A runtime without containers: starting and stopping one takes a time drawn from a distribution.

Annotations steer it: ``ursa.io/hollow-run-seconds`` ends the containers that many seconds after they started, with the
code of ``ursa.io/hollow-exit-code`` (default 0). It keeps nothing across a restart of its process: pods that ran before
are created again silently, so that their restart counts and the start journal stay as they were. Where the kubelet or
the machine of a node was started anew within the process it does know what runs there, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.timers import Timer, Timers
from services.kubelet.distribution import AT_ONCE, Distribution
from services.kubelet.runtime import Listener, RuntimeEvent, RuntimeEventType

RUN_SECONDS_ANNOTATION = "ursa.io/hollow-run-seconds"
EXIT_CODE_ANNOTATION = "ursa.io/hollow-exit-code"
# Of containers that did not end by themselves: killed, or gone with their machine (128 + SIGKILL).
KILLED = 137
EXIT_CODE_MAX = 255
_EXIT_CODE = re.compile(r"[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """``start``, ``stop``: seconds that containers take to start and, asked to end, to end; ``failure_rate``: the part
    of the starts after which they end at once with code 1."""

    start: Distribution = AT_ONCE
    stop: Distribution = AT_ONCE
    failure_rate: float = 0.0


class HollowRuntime:
    """A ``Runtime``. One may serve any number of kubelets; each pod costs a dictionary entry and at most one timer."""

    name = "hollow"
    version = "1.0.0"

    def __init__(self, timers: Timers, clock: Clock, rand: Rand, listener: Listener, behaviour: Behaviour) -> None:
        self._timers = timers
        self._clock = clock
        self._rand = rand
        self._listener = listener
        self._behaviour = behaviour
        # Until they have started there is a timer; None: they run.
        self._pods: dict[str, Timer | None] = {}
        self._ends: dict[str, Timer] = {}
        self._stopping: dict[str, Timer] = {}
        self._known_nodes: set[str] = set()

    def __len__(self) -> int:
        """Pods that run or start."""
        return len(self._pods)

    def start(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        if self._runs(uid):
            # An earlier life of this kubelet has started it.
            self._soon(uid, RuntimeEvent(RuntimeEventType.STARTED, uid, pod_ip=pod_ip(uid)))
        elif uid not in self._pods:
            self._begin(pod, self._behaviour.start.draw(self._rand), _run_seconds(pod))

    def adopt(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        runs = self._runs(uid)
        if runs or (uid not in self._pods and pod.spec.node_name in self._known_nodes):
            kind = RuntimeEventType.STARTED if runs else RuntimeEventType.EXITED
            self._soon(uid, RuntimeEvent(kind, uid, 0 if runs else KILLED, pod_ip(uid) if runs else ""))
            return
        run_s = _run_seconds(pod)
        if run_s is not None:
            ran_s = self._clock.time() - _running_since(pod)
            run_s = max(0.0, run_s - ran_s)
        self._begin(pod, 0.0, run_s, sound=True)

    def stop(self, uid: str, grace_s: float) -> None:
        ran = uid in self._pods
        self._drop(uid)
        pending = self._stopping.get(uid)
        now_s = self._clock.monotonic()
        if pending is not None:
            if pending.when <= now_s + grace_s:
                return
            pending.cancel()
            takes_s = pending.when - now_s
        else:
            takes_s = self._behaviour.stop.draw(self._rand) if ran else 0.0
        code = KILLED if takes_s > grace_s else 0
        self._stopping[uid] = self._timers.after(min(takes_s, grace_s), partial(self._stopped, uid, code))

    # The machine and the kubelet, as disturbances have it.

    def remember(self, node: str) -> None:
        """From now on, what this runtime does not run on ``node`` does not run there."""
        self._known_nodes.add(node)

    def kill(self, uids: Iterable[str]) -> None:
        """The machine is gone: these pods have ended, and nobody is told."""
        for uid in uids:
            self._drop(uid)
            if (stopping := self._stopping.pop(uid, None)) is not None:
                stopping.cancel()

    def _runs(self, uid: str) -> bool:
        return uid in self._pods and self._pods[uid] is None

    def _drop(self, uid: str) -> None:
        for timer in (self._pods.pop(uid, None), self._ends.pop(uid, None)):
            if timer is not None:
                timer.cancel()

    def _soon(self, uid: str, event: RuntimeEvent) -> None:
        self._timers.after(0.0, partial(self._listener, event))

    def _begin(self, pod: Pod, delay_s: float, run_s: float | None, *, sound: bool = False) -> None:
        """``sound``: it does not fail, as it ran before."""
        self._drop(pod.metadata.uid)
        uid, rate = pod.metadata.uid, self._behaviour.failure_rate
        if rate and not sound and self._rand.uniform(0.0, 1.0) < rate:
            self._pods[uid] = self._timers.after(delay_s, partial(self._exited, uid, 1))
            return
        exit_code = _exit_code(pod.metadata.annotations)
        self._pods[uid] = self._timers.after(delay_s, partial(self._started, uid, run_s, exit_code))

    def _started(self, uid: str, run_s: float | None, exit_code: int) -> None:
        self._pods[uid] = None
        if run_s is not None:
            self._ends[uid] = self._timers.after(run_s, partial(self._exited, uid, exit_code))
        self._listener(RuntimeEvent(RuntimeEventType.STARTED, uid, pod_ip=pod_ip(uid)))

    def _stopped(self, uid: str, exit_code: int) -> None:
        del self._stopping[uid]
        self._listener(RuntimeEvent(RuntimeEventType.STOPPED, uid, exit_code))

    def _exited(self, uid: str, exit_code: int) -> None:
        self._pods.pop(uid, None)
        self._ends.pop(uid, None)
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
    """What is no exit code of a process counts as 0."""
    text = annotations.get(EXIT_CODE_ANNOTATION, "0")
    return int(text) if _EXIT_CODE.fullmatch(text) and int(text) <= EXIT_CODE_MAX else 0


def _running_since(pod: Pod) -> float:
    for container in pod.status.container_statuses:
        if container.state.HasField("running"):
            return float(container.state.running.started_at.seconds)
    return float(pod.status.start_time.seconds)
