"""What a kubelet asks of a container runtime, and what the runtime tells it.

There are two sorts. A ``Runtime`` treats the containers of a pod as one: hollow ones begin and end together, and cost
next to nothing; there is no machine under them, so their nodes are well. A ``ContainerRuntime`` runs each by itself, as
real ones do.
"""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, runtime_checkable

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.kubelet.health import Health


class RuntimeEventType(enum.Enum):
    """``STARTED``: all containers run, or the one that is named. ``EXITED``: ended by themselves. ``STOPPED``: all have
    ended as asked. Of a ``ContainerRuntime`` only: ``FAILED``: the container could not be made, so that there is
    nothing that ran. ``KNOWN``: all that was known of the pod has been told."""

    STARTED = "started"
    EXITED = "exited"
    STOPPED = "stopped"
    FAILED = "failed"
    KNOWN = "known"


class RuntimeEvent(NamedTuple):
    """``exit_code`` of the containers that ended; ``pod_ip`` of those that started.

    The rest is told of one container: its name, which start of it this is (0: the first), times in seconds since the
    Unix epoch, the signal that ended it, and words for its status (``reason``) and for people (``message``).
    """

    type: RuntimeEventType
    uid: str
    exit_code: int = 0
    pod_ip: str = ""
    container: str = ""
    restart: int = 0
    started_s: float = 0.0
    finished_s: float = 0.0
    signal: int = 0
    reason: str = ""
    message: str = ""


Listener = Callable[[RuntimeEvent], None]


class Runtime(Protocol):
    """Runs the containers of pods, which it knows by UID. No method blocks, and none calls the listener itself: answers
    come later, through the listener that the runtime was made with."""

    @property
    def name(self) -> str:
        """As in container ids: ``<name>://<id>``."""
        ...

    @property
    def version(self) -> str: ...

    def start(self, pod: Pod) -> None:
        """Create and start the containers. Answers STARTED, or EXITED if they could not run."""
        ...

    def adopt(self, pod: Pod) -> None:
        """The containers were started by an earlier process of this kubelet. Answers STARTED if they run, else EXITED.

        A runtime that keeps no containers of its own across restarts creates them anew and still answers STARTED.
        """
        ...

    def stop(self, uid: str, grace_s: float) -> None:
        """End the containers, by force after ``grace_s`` seconds; repeatable with a shorter one. Answers STOPPED, at
        once for a UID that it does not run."""
        ...


class Leftover(NamedTuple):
    """A pod that a ``ContainerRuntime`` has something of: processes, or files of those that ended."""

    uid: str
    tenant: str
    namespace: str
    name: str
    partition: str
    node: str


@runtime_checkable
class ContainerRuntime(Protocol):
    """Runs each container by itself, and keeps them while kubelets come and go. As for ``Runtime``, no method blocks or
    calls the listener itself."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def take_up(self, pod: Pod, partition: str) -> None:
        """Tell of each container that this or an earlier process has started the last start of it: STARTED if it runs,
        else EXITED; and then KNOWN. ``partition``: the tenant partition that the pod came from."""
        ...

    def start_container(self, pod: Pod, container: str, restart: int) -> None:
        """Start a container of a pod that was taken up, for the ``restart``-th time after its first. Answers STARTED,
        EXITED if its command could not be run, or FAILED; of a start that was made before, how that one is."""
        ...

    def stop(self, uid: str, grace_s: float) -> None:
        """End all containers of the pod, by force after ``grace_s`` seconds; repeatable with a shorter one. Answers
        EXITED for each that ran, then STOPPED; at once for a UID that it does not run."""
        ...

    def forget(self, uid: str) -> None:
        """The pod is gone for good: remove what is left of it."""
        ...

    def leftovers(self) -> Iterable[Leftover]:
        """Every pod that there is something of."""
        ...

    async def health(self, now_s: float) -> Health:
        """How the machine is now (``now_s``, monotonic). What cannot be measured is said in it."""
        ...

    def log_file(self, uid: str, container: str, *, previous: bool) -> pathlib.Path | None:
        """The log of the container's last start, or of the one before; None: there is none."""
        ...

    def is_running(self, uid: str, container: str) -> bool:
        """Whether more may come into the log of the container's last start."""
        ...
