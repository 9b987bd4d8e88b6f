"""What the supervisor knows about its components, as written to ``run/supervisor.json`` and sent over its socket."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, field
from typing import Literal

import msgspec

Phase = Literal["starting", "running", "backoff", "stopping", "stopped"]


@dataclass(frozen=True)
class ComponentState:
    """One component now. ``pid`` 0: no process; ``started`` is its start in clock ticks since boot (see ``processes``);
    ``since`` is when ``phase`` began, seconds since the epoch."""

    name: str
    kind: str
    partition: str
    phase: Phase = "stopped"
    ready: bool = False
    pid: int = 0
    started: int = 0
    restarts: int = 0
    since: float = 0.0
    last_exit: str = ""
    detail: str = ""
    ports: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SupervisorState:
    """The supervisor and all its components."""

    pid: int
    started: int
    components: tuple[ComponentState, ...]
    stopping: bool = False

    @property
    def ready(self) -> bool:
        return all(component.ready for component in self.components)


def dump(state: SupervisorState) -> bytes:
    return msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n"


def load(path: pathlib.Path) -> SupervisorState | None:
    """The last written state; None when there is none (or none that can be read)."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=SupervisorState)
    except (OSError, msgspec.DecodeError):
        return None
