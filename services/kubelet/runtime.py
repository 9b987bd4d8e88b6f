"""What a kubelet asks of a container runtime, and what the runtime tells it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple, Protocol

from services.api.pb.ursa.core.v1.pod_pb2 import Pod


class RuntimeEventType(enum.Enum):
    """``STARTED``: all containers run. ``EXITED``: they ended by themselves. ``STOPPED``: they ended as asked."""

    STARTED = "started"
    EXITED = "exited"
    STOPPED = "stopped"


class RuntimeEvent(NamedTuple):
    """``exit_code`` of the containers that ended; ``pod_ip`` of those that started."""

    type: RuntimeEventType
    uid: str
    exit_code: int = 0
    pod_ip: str = ""


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
