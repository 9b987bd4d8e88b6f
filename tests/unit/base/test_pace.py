"""Turns with a leading edge: at once when idle, else one per period at most."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from services.base.clock import FakeClock
from services.base.pace import Pace, Yielding
from services.base.tasks import stop_task

PERIOD_S = 0.03


class Worker:
    """Takes what was put, a turn after the other, as the links do."""

    def __init__(self, pace: Pace, clock: FakeClock, *, full: int = 1000) -> None:
        self._pace, self._clock, self._full = pace, clock, full
        self._wake = asyncio.Event()
        self._waiting = 0
        self.batches: list[tuple[float, int]] = []

    def put(self, count: int = 1) -> None:
        self._waiting += count
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            await self._pace.turn(full=self._waiting >= self._full)
            self._wake.clear()
            self.batches.append((round(self._clock.monotonic(), 6), self._waiting))
            self._waiting = 0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def test_what_comes_alone_does_not_wait(clock: FakeClock) -> None:
    worker = Worker(Pace(clock, PERIOD_S), clock)
    task = asyncio.create_task(worker.run())
    for _ in range(3):
        worker.put()
        await clock.advance(1.0)
    await stop_task(task)
    assert worker.batches == [(0.0, 1), (1.0, 1), (2.0, 1)]


async def test_a_trickle_is_taken_up_once_a_period(clock: FakeClock) -> None:
    worker = Worker(Pace(clock, PERIOD_S), clock)
    task = asyncio.create_task(worker.run())
    for _ in range(12):
        worker.put()
        await clock.advance(0.0099)
    await clock.advance(PERIOD_S)
    await stop_task(task)
    assert [size for _, size in worker.batches] == [1, 3, 3, 3, 2]
    begins = [begun for begun, _ in worker.batches]
    assert all(later - earlier == pytest.approx(PERIOD_S) for earlier, later in itertools.pairwise(begins))


async def test_the_last_of_a_burst_waits_one_period_at_most(clock: FakeClock) -> None:
    worker = Worker(Pace(clock, PERIOD_S), clock)
    task = asyncio.create_task(worker.run())
    worker.put()
    await clock.advance(0.001)
    worker.put(5)
    await clock.advance(PERIOD_S - 0.002)
    assert worker.batches == [(0.0, 1)]
    await clock.advance(0.001)
    await stop_task(task)
    assert worker.batches == [(0.0, 1), (PERIOD_S, 5)]


async def test_enough_for_a_turn_does_not_wait_for_more(clock: FakeClock) -> None:
    worker = Worker(Pace(clock, PERIOD_S), clock, full=64)
    task = asyncio.create_task(worker.run())
    for _ in range(3):
        worker.put(64)
        await clock.advance(0.001)
    worker.put(63)
    await clock.advance(0.02)
    await stop_task(task)
    assert worker.batches == [(0.0, 64), (0.001, 64), (0.002, 64)]


async def test_a_wait_that_is_cancelled_has_begun_no_turn(clock: FakeClock) -> None:
    pace = Pace(clock, PERIOD_S)
    await pace.turn()
    await clock.advance(0.01)
    waiting = asyncio.create_task(pace.turn())
    await clock.advance(0.01)
    await stop_task(waiting)
    assert waiting.cancelled()
    again = asyncio.create_task(pace.turn())
    await clock.advance(0.009)
    assert not again.done()
    await clock.advance(0.001)
    assert again.done(), "the period counts from the turn before, not from the wait that was given up"


async def test_without_a_period_turns_follow_one_another(clock: FakeClock) -> None:
    pace = Pace(clock, 0.0)
    for _ in range(3):
        await asyncio.wait_for(pace.turn(), 1)
    assert clock.monotonic() == 0.0


def yielding(clock: FakeClock, *, longest_s: float = 0.03) -> Yielding:
    return Yielding(clock, free_s=0.003, stretch=3.0, longest_s=longest_s)


def after_turns_of(seconds: float, clock: FakeClock, *, longest_s: float = 0.03) -> Yielding:
    made = yielding(clock, longest_s=longest_s)
    for _ in range(100):
        made.took(seconds)
    return made


async def test_quick_turns_follow_one_another(clock: FakeClock) -> None:
    assert yielding(clock).pause_s() == 0.0
    assert after_turns_of(0.002, clock).pause_s() == 0.0


async def test_slow_turns_leave_time_to_gather(clock: FakeClock) -> None:
    made = after_turns_of(0.008, clock)
    assert made.pause_s() == pytest.approx(3.0 * (0.008 - 0.003), rel=0.01)
    await clock.advance(0.010)
    assert made.pause_s() == pytest.approx(0.005, rel=0.01)
    await clock.advance(0.010)
    assert made.pause_s() == 0.0, "the time to gather is over, and nobody came"


async def test_one_slow_turn_is_not_yet_a_busy_machine(clock: FakeClock) -> None:
    made = after_turns_of(0.002, clock)
    made.took(0.012)
    assert made.pause_s() == 0.0


async def test_nobody_gathers_for_longer_than_was_allowed(clock: FakeClock) -> None:
    assert after_turns_of(2.0, clock).pause_s() == pytest.approx(0.03)
    assert after_turns_of(2.0, clock, longest_s=0.0).pause_s() == 0.0


async def test_turns_that_are_quick_again_end_the_pauses(clock: FakeClock) -> None:
    made = after_turns_of(2.0, clock)
    for _ in range(100):
        made.took(0.001)
    assert made.pause_s() == 0.0
