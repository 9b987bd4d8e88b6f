"""Go's ``time.Ticker``: a tick per period, at most one of them waiting; whoever is slow loses ticks."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

from services.base.clock import Clock


async def ticks(clock: Clock, period_s: float) -> AsyncIterator[None]:
    """The first tick comes after one period."""
    began = clock.monotonic()
    number = 1
    while True:
        await clock.sleep(max(0.0, began + number * period_s - clock.monotonic()))
        yield
        # The tick that became due meanwhile is waiting; those after it were lost.
        number = max(number + 1, math.floor((clock.monotonic() - began) / period_s))
