"""Many timers on one task."""

from __future__ import annotations

from services.base.clock import FakeClock
from services.base.tasks import Supervisor
from services.client.timers import Timers


async def test_timers_fire_in_order_and_cancelled_ones_do_not() -> None:
    clock = FakeClock()
    timers = Timers(clock)
    fired: list[str] = []
    async with Supervisor() as tasks:
        tasks.start(timers.run(), name="timers")
        await clock.advance(0)
        timers.after(5, lambda: fired.append("five"))
        timers.after(2, lambda: fired.append("two"))
        timers.after(3, lambda: fired.append("three")).cancel()
        await clock.advance(1.9)
        assert fired == []
        await clock.advance(0.2)
        assert fired == ["two"]
        timers.after(0.5, lambda: fired.append("sooner"))
        await clock.advance(10)
    assert fired == ["two", "sooner", "five"]
    assert len(timers) == 0
