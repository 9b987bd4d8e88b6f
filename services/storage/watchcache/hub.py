"""Paced rounds: watches are woken together, and events gather while a round is worked off.

A round makes what has happened so far readable and wakes every watch it concerns. The next one begins after a pause
as long as the round took (at least ``PAUSE_S_MIN``, at most ``PAUSE_S_MAX``, more where many were woken), or at once if
it took under ``QUICK_S``: an idle system delivers immediately, a storm is cut into few large batches. A round is over
when each woken watch was offered its batch; one with an unfinished write is parked by its reader and nobody waits for
it.

The pause is what everybody else has of the event loop: a turn that resumes a thousand streams takes about 80 ms, and
the transport takes in about one new call per turn, so a pause that is short beside such a turn starves writers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from services.base.clock import Clock

PAUSE_S_MIN = 0.003
PAUSE_S_MAX = 0.020
PAUSE_S_MAX_PER_WATCH = 0.0001
PAUSE_S_LONGEST = 0.100
QUICK_S = 0.001

# Woken readers are tasks: one turn of the loop to be resumed, one for those that hand over to a sender task.
_TURNS = 3


class Sleeper(Protocol):
    def awaken(self) -> None:
        """The round has begun."""
        ...


class Hub:
    """Needs no task of its own: a round is a few callbacks of the running loop."""

    def __init__(self, clock: Clock, begin: Callable[[], None]) -> None:
        self._clock = clock
        self._begin = begin
        self._ready: dict[Sleeper, None] = {}
        self._scheduled = False
        self.rounds = 0

    def add(self, sleeper: Sleeper) -> None:
        """Wake ``sleeper`` in the next round."""
        self._ready[sleeper] = None
        self._schedule()

    def discard(self, sleeper: Sleeper) -> None:
        self._ready.pop(sleeper, None)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._round)

    def _round(self) -> None:
        started = self._clock.monotonic()
        self.rounds += 1
        self._begin()
        woken, self._ready = self._ready, {}
        for sleeper in woken:
            sleeper.awaken()
        self._turn(started, _TURNS, len(woken))

    def _turn(self, started: float, left: int, woken: int) -> None:
        loop = asyncio.get_running_loop()
        if left:
            loop.call_soon(self._turn, started, left - 1, woken)
            return
        took = self._clock.monotonic() - started
        if took < QUICK_S:
            self._next()
        else:
            longest = max(PAUSE_S_MAX, min(woken * PAUSE_S_MAX_PER_WATCH, PAUSE_S_LONGEST))
            loop.call_later(min(max(took, PAUSE_S_MIN), longest), self._next)

    def _next(self) -> None:
        self._scheduled = False
        if self._ready:
            self._schedule()
