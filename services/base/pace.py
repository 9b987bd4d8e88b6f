"""Gathering with a leading edge: at once when nothing was done lately, else one turn per period at most."""

from __future__ import annotations

import math

from services.base.clock import Clock

_WEIGHT = 0.1  # of the newest turn in the average: some ten turns are remembered


class Pace:
    """Turns of one task. What a message costs is paid per turn, so a trickle is taken up by the handful; what comes
    alone does not wait, and what comes in a trickle waits half a period on average, a whole one at most.

    ``period_s``: from the begin of one turn to that of the next; 0: turns follow one another at once.
    """

    def __init__(self, clock: Clock, period_s: float) -> None:
        self._clock = clock
        self._period_s = period_s
        self._next_s = -math.inf

    async def turn(self, *, full: bool = False) -> None:
        """Return when a turn may begin; it has begun then. ``full``: there is enough for one already, so now.

        A wait that is cancelled has begun no turn.
        """
        wait_s = self._next_s - self._clock.monotonic()
        if wait_s > 0 and not full:
            await self._clock.sleep(wait_s)
        self._next_s = self._clock.monotonic() + self._period_s


class Yielding:
    """How long to gather for the next turn, by what turns have taken: while a turn is quick the next may follow at
    once; when turns take long, somebody waits for a busy machine, and more turns make it busier.

    ``free_s``: a mean turn that takes no longer than this costs nobody a pause. The pause is ``stretch`` times what
    the mean is above it, ``longest_s`` at most (0: never any), from the end of the last turn.
    """

    def __init__(self, clock: Clock, *, free_s: float, stretch: float, longest_s: float) -> None:
        self._clock = clock
        self._free_s = free_s
        self._stretch = stretch
        self._longest_s = longest_s
        self._mean_s = 0.0
        self._next_s = -math.inf

    def pause_s(self) -> float:
        """Seconds until the next turn should begin; 0.0: now."""
        return max(0.0, self._next_s - self._clock.monotonic())

    def took(self, seconds: float) -> None:
        """A turn has ended just now that took so long."""
        self._mean_s += _WEIGHT * (seconds - self._mean_s)
        pause_s = min(self._longest_s, self._stretch * (self._mean_s - self._free_s))
        self._next_s = self._clock.monotonic() + pause_s
