"""What a kubelet remembers of one pod."""

from __future__ import annotations

import enum

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.placement import pods
from services.placement.resources import Amounts


class Stage(enum.Enum):
    """CLAIMING ─▶ STARTING ─▶ RUNNING ⇄ BACKOFF (waits to be restarted) ─▶ ENDED (for good; resources are free).

    CLAIMING: bound; the node's ledger is asked for its claim, and nothing is the pod's yet. STOPPING can follow
    any of the first four: containers are being ended. ENDED is also where a refused pod is.
    """

    CLAIMING = "claiming"
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    ENDED = "ended"


LIVE = frozenset({Stage.STARTING, Stage.RUNNING, Stage.BACKOFF})
HOLDING = LIVE | {Stage.STOPPING}


_AT_REST = frozenset({Stage.RUNNING, Stage.BACKOFF, Stage.ENDED})

# Most pods ask for what others ask for.
_AMOUNTS: dict[tuple[tuple[str, int], ...], Amounts] = {}
_AMOUNTS_MAX = 4096


def _shared(amounts: Amounts) -> Amounts:
    if len(_AMOUNTS) >= _AMOUNTS_MAX:
        _AMOUNTS.clear()
    return _AMOUNTS.setdefault(tuple(amounts.items()), amounts)


class PodWorker:
    """Times are seconds since the Unix epoch; 0: not yet.

    ``phase``: the terminal phase once it is decided. ``written_phase``: that of the last status that was to be written.
    ``final_asked``: that status was built when the pod had ended. ``final_written``: such a write has been answered, or
    none is needed; only then may the deletion be confirmed. ``gone``: the pod's object no longer exists; ``returned``:
    but it has come back since, before its containers had ended. ``journaled``: its start has been told once, here or by
    an earlier process. ``deadline_s``: so long after ``start_s`` it is ended, 0: never. ``written``: digest of the last
    status that was to be written, 0: none. ``stop_grace_s``: of the last stop that was asked for; ``overdue_s``: when
    the runtime is told again, in seconds of the monotonic clock.
    """

    __slots__ = (
        "_data",
        "_pod",
        "adopted",
        "backoff_s",
        "container_started_s",
        "deadline_s",
        "exit_code",
        "final_asked",
        "final_written",
        "finished_s",
        "gone",
        "journaled",
        "last_exit_code",
        "last_finished_s",
        "last_started_s",
        "message",
        "overdue_s",
        "partition",
        "phase",
        "pod_ip",
        "reason",
        "removing",
        "requests",
        "restart_count",
        "returned",
        "seen_s",
        "stage",
        "start_s",
        "stop_grace_s",
        "traced",
        "uid",
        "written",
        "written_phase",
    )

    def __init__(self, pod: Pod, partition: str, seen_s: float) -> None:
        self._pod: Pod | None = pod
        self._data = b""
        self.uid: str = pod.metadata.uid
        self.partition = partition
        self.stage = Stage.STARTING
        self.seen_s = seen_s
        self.start_s = float(pod.status.start_time.seconds) or seen_s
        self.container_started_s = 0.0
        self.finished_s = 0.0
        self.deadline_s = 0
        self.exit_code = 0
        self.restart_count = 0
        self.backoff_s = 0.0
        self.last_started_s = 0.0
        self.last_finished_s = 0.0
        self.last_exit_code = 0
        self.phase = ""
        self.reason = ""
        self.message = ""
        self.pod_ip = ""
        self.requests = _shared(pods.requests(pod))
        self.stop_grace_s: float | None = None
        self.overdue_s = 0.0
        self.adopted = False
        self.journaled = False
        self.gone = False
        self.returned = False
        self.final_asked = False
        self.final_written = False
        self.removing = False
        self.traced = False
        self.written_phase = ""
        self.written = 0

    @property
    def pod(self) -> Pod:
        """The newest state seen in its partition."""
        return self._pod if self._pod is not None else Pod.FromString(self._data)

    @pod.setter
    def pod(self, pod: Pod) -> None:
        self._pod, self._data = pod, b""

    def keep(self, data: bytes) -> None:
        """``data`` is ``pod`` in wire form, which somebody keeps anyway."""
        self._data = data
        self.rest()

    def rest(self) -> None:
        """What runs or has ended is looked at seldom: of its pod only the bytes are kept."""
        if self._data and self.stage in _AT_REST:
            self._pod = None

    @property
    def holds(self) -> bool:
        """It takes its requests and ports of the node."""
        return self.stage in HOLDING

    @property
    def deleting(self) -> bool:
        """Its deletion has been asked for."""
        return self.pod.metadata.HasField("deletion_timestamp")
