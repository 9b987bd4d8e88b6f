"""What a kubelet's core asks its shell to do."""

from __future__ import annotations

import enum
from typing import NamedTuple, TypeAlias

from services.api.pb.ursa.core.v1.pod_pb2 import Pod


class Wake(enum.Enum):
    """Why a timer was set."""

    REPORT_PENDING = "report-pending"
    RESTART = "restart"
    DEADLINE = "deadline"
    STOP_OVERDUE = "stop-overdue"
    REMOVE = "remove"


class StartPod(NamedTuple):
    """``adopt``: its containers were started by an earlier process."""

    pod: Pod
    adopt: bool


class StartContainer(NamedTuple):
    """Start one container of a pod whose containers are run each by itself."""

    pod: Pod
    container: str
    restart: int


class ClaimCapacity(NamedTuple):
    """Claim the node's capacity for the pod, or make sure that it is claimed."""

    partition: str
    uid: str


class StopPod(NamedTuple):
    uid: str
    grace_s: float


class ReportStatus(NamedTuple):
    """Write the pod's status, as it is when the write begins, to the partition the pod came from."""

    partition: str
    uid: str


class ConfirmRemoval(NamedTuple):
    """Delete the pod's object with grace 0, if it still has this UID."""

    partition: str
    pod: Pod


class SetTimer(NamedTuple):
    uid: str
    seconds: float
    wake: Wake


class Record(NamedTuple):
    """An Event about the pod, on the partition the pod came from. ``type``: Normal or Warning."""

    partition: str
    pod: Pod
    type: str
    reason: str
    message: str


class Journal(NamedTuple):
    """The pod's containers run: tell it in the start journal. ``restarted``: not for the first time."""

    pod: Pod
    partition: str
    restarted: bool


class Trace(NamedTuple):
    """The pod was first seen and is now reported Running: its span is complete. Seconds since the Unix epoch."""

    pod: Pod
    start_s: float
    end_s: float


class Acknowledged(NamedTuple):
    """The pod's status Running is stored, for the first time."""

    uid: str


class Forget(NamedTuple):
    """The kubelet has nothing more to do with this pod."""

    uid: str


Instruction: TypeAlias = (
    StartPod
    | StartContainer
    | ClaimCapacity
    | StopPod
    | ReportStatus
    | ConfirmRemoval
    | SetTimer
    | Record
    | Journal
    | Trace
    | Acknowledged
    | Forget
)
