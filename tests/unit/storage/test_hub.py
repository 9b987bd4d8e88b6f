"""Rounds: an idle system delivers at once, a busy one in batches."""

from __future__ import annotations

import asyncio
from typing import Any

from services.base.clock import FakeClock
from services.storage.watchcache.hub import PAUSE_S_MAX, PAUSE_S_MAX_PER_WATCH, Hub


class Sleeper:
    def __init__(self, clock: FakeClock, work_s: float = 0.0) -> None:
        self.woken = 0
        self.event = asyncio.Event()
        self._clock = clock
        self._work_s = work_s

    def awaken(self) -> None:
        self.woken += 1
        self.event.set()
        self._clock._now += self._work_s  # the time that offering the batch takes


async def _turns(count: int = 8) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_quick_round_is_followed_at_once_by_the_next() -> None:
    clock = FakeClock()
    hub = Hub(clock, lambda: None)
    sleeper = Sleeper(clock)
    hub.add(sleeper)
    await asyncio.sleep(0)
    assert sleeper.woken == 1
    hub.add(sleeper)
    await _turns()
    assert sleeper.woken == 2


async def test_after_a_long_round_events_gather_during_a_pause() -> None:
    clock = FakeClock()
    begun = 0

    def begin() -> None:
        nonlocal begun
        begun += 1

    hub = Hub(clock, begin)
    slow = Sleeper(clock, work_s=0.5)
    hub.add(slow)
    await asyncio.sleep(0)
    for _ in range(5):
        hub.add(slow)
        await _turns()
    assert (begun, slow.woken) == (1, 1)
    async with asyncio.timeout(5):
        while slow.woken < 2:
            slow.event.clear()
            await slow.event.wait()
    assert begun == 2


async def test_who_is_discarded_is_not_woken() -> None:
    clock = FakeClock()
    hub = Hub(clock, lambda: None)
    gone, stays = Sleeper(clock), Sleeper(clock)
    hub.add(gone)
    hub.add(stays)
    hub.discard(gone)
    await _turns()
    assert (gone.woken, stays.woken) == (0, 1)


async def test_the_more_are_woken_the_longer_a_pause_may_be() -> None:
    few, many = await _pause_after(woken=2), await _pause_after(woken=600)
    assert few == PAUSE_S_MAX
    assert many == 600 * PAUSE_S_MAX_PER_WATCH


async def _pause_after(woken: int) -> float:
    """Seconds between the end of a round that took half a second and the next round."""
    clock = FakeClock()
    hub = Hub(clock, lambda: None)
    slow = Sleeper(clock, work_s=0.5)
    for sleeper in [slow, *(Sleeper(clock) for _ in range(woken - 1))]:
        hub.add(sleeper)
    loop = asyncio.get_running_loop()
    pauses: list[float] = []
    call_later = loop.call_later

    def recorded(delay: float, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
        pauses.append(delay)
        return call_later(delay, *arguments, **options)

    loop.call_later = recorded  # type: ignore[method-assign]
    try:
        await _turns()
    finally:
        loop.call_later = call_later  # type: ignore[method-assign]
    (pause,) = pauses
    return pause
