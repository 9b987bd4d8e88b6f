"""Gathering with a leading edge: at once when nothing was done lately, else one turn per period at most."""

from __future__ import annotations

import math

from services.base.clock import Clock


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
