"""Ticks as Go's: evenly spaced; one waits for a slow receiver, the others are lost."""

from __future__ import annotations

import asyncio

from services.base.clock import FakeClock
from services.bench.ticker import ticks


async def test_ticks_are_a_period_apart_and_a_slow_receiver_loses_some() -> None:
    clock = FakeClock()
    seen: list[float] = []

    async def receive() -> None:
        async for _ in ticks(clock, 1.0):
            seen.append(clock.monotonic())
            if len(seen) == 2:
                await clock.sleep(3.5)
            if len(seen) == 5:
                return

    async with asyncio.TaskGroup() as group:
        group.create_task(receive())
        await clock.advance(10.0)

    # Busy from 2 to 5.5: the tick of 5 was waiting, those of 3 and 4 were lost; then in step again.
    assert seen == [1.0, 2.0, 5.5, 6.0, 7.0]
