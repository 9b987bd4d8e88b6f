"""The life of one reflected collection as an explicit state machine: ``step(state, input) -> (state, outputs)``.

Pure: no clock, no I/O; the shell (``informer.py``) opens watches, sets timers and applies what comes out.

    IDLE ── Start ──▶ LISTING ── initial-events-end ──▶ WATCHING
                        ▲  ▲                             │    │
         Due, no version│  └───────── WAITING ◀── Ended ─┘    │ batch: Apply
                        └── Due with a version ▶ WATCHING ◀───┘

While LISTING, events gather in a buffer that replaces the old contents at once when the list is complete; until then
readers see the old contents. A list that breaks off begins anew. ``Expired`` forgets the version, so that the next
opening lists; every other ending keeps it and resumes: at once if the watch's time was over. (After kube-rs
``kube-runtime/src/watcher.rs`` and KEP-3157.)
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import grpc

from services.rpc.status import WATCH_ENDED, StatusError

# Decoded events: (ursa.watch.v1.EventType, object).
Events: TypeAlias = Sequence[tuple[int, Any]]

_RESUMABLE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.ABORTED,
    }
)


class Phase(enum.Enum):
    IDLE = "idle"
    LISTING = "listing"
    WATCHING = "watching"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class State:
    """``resource_version``: where to resume, None: list first. ``failures``: endings since anything last arrived."""

    phase: Phase = Phase.IDLE
    resource_version: int | None = None
    failures: int = 0
    buffer: tuple[Events, ...] = ()


INITIAL = State()


@dataclass(frozen=True, slots=True)
class Start:
    """Begin, or begin again on another connection."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The server has accepted the watch."""


@dataclass(frozen=True, slots=True)
class Received:
    """A batch of the watch, decoded."""

    events: Events
    resource_version: int
    initial_events_end: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The watch is over."""

    error: StatusError


@dataclass(frozen=True, slots=True)
class Due:
    """The pause asked for by ``Retry`` is over."""


Input: TypeAlias = Start | Opened | Received | Ended | Due


@dataclass(frozen=True, slots=True)
class Open:
    """Open a watch: from ``resource_version`` on, or (None) the state first and then its changes."""

    resource_version: int | None


@dataclass(frozen=True, slots=True)
class Apply:
    """Apply these events, in order."""

    events: Events


@dataclass(frozen=True, slots=True)
class Replace:
    """These events build the whole collection: what they do not hold is gone."""

    batches: tuple[Events, ...]


@dataclass(frozen=True, slots=True)
class Fresh:
    """The watch is live again: what is known is current."""


@dataclass(frozen=True, slots=True)
class Stale:
    """The watch is lost: what is known stays, but may be out of date."""

    error: StatusError


@dataclass(frozen=True, slots=True)
class Retry:
    """Come back with ``Due`` after a jittered pause: the ``failures``-th in a row, not before ``at_least_s``."""

    failures: int
    at_least_s: float


Output: TypeAlias = Open | Apply | Replace | Fresh | Stale | Retry


def step(state: State, happened: Input) -> tuple[State, tuple[Output, ...]]:
    """The next state and what to do, in order."""
    match happened:
        case Received():
            return _received(state, happened)
        case Opened():
            # A resumed watch is current once accepted; a listing one only when its list is complete.
            return state, (Fresh(),) if state.phase is Phase.WATCHING else ()
        case Ended(error):
            return _ended(state, error)
        case Start() | Due():
            phase = Phase.LISTING if state.resource_version is None else Phase.WATCHING
            return replace(state, phase=phase, buffer=()), (Open(state.resource_version),)


def _received(state: State, batch: Received) -> tuple[State, tuple[Output, ...]]:
    if state.phase is Phase.WATCHING:
        outputs = (Apply(batch.events),) if batch.events else ()
        return State(Phase.WATCHING, batch.resource_version), outputs
    if state.phase is not Phase.LISTING:
        return state, ()
    buffer = (*state.buffer, batch.events) if batch.events else state.buffer
    if batch.initial_events_end:
        return State(Phase.WATCHING, batch.resource_version), (Replace(buffer), Fresh())
    return replace(state, buffer=buffer, failures=0), ()


def _ended(state: State, error: StatusError) -> tuple[State, tuple[Output, ...]]:
    resumable = error.code in _RESUMABLE and state.phase is Phase.WATCHING
    if resumable and error.reason == WATCH_ENDED and not state.failures:
        # Its time was over, and all up to here is known. Not twice with nothing in between: that would never pause.
        return replace(state, failures=1), (Open(state.resource_version),)
    waiting = State(
        Phase.WAITING,
        state.resource_version if resumable else None,
        state.failures + 1,
    )
    return waiting, (Stale(error), Retry(waiting.failures, error.retry_after_s or 0.0))
