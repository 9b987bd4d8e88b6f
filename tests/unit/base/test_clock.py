"""FakeClock moves only by hand and wakes sleepers in the order of their deadlines."""

from __future__ import annotations

import asyncio

from services.base.clock import FakeClock


async def test_sleepers_wake_in_deadline_order_and_not_before() -> None:
    clock = FakeClock(start=100.0)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.time()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("late", 3))
        group.create_task(sleeper("early", 1))
        await clock.advance(0.9)
        assert woken == []
        await clock.advance(5)
    assert woken == [("early", 101.0), ("late", 103.0)]


async def test_a_sleeper_that_sleeps_again_wakes_within_one_advance() -> None:
    clock = FakeClock()
    ticks: list[float] = []

    async def ticker() -> None:
        for _ in range(3):
            await clock.sleep(1)
            ticks.append(clock.monotonic())

    async with asyncio.TaskGroup() as group:
        group.create_task(ticker())
        await clock.advance(3)
    assert ticks == [1.0, 2.0, 3.0]
