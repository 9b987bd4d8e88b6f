"""Many timers, one task: a heap of deadlines on a ``Clock``, fired in order."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from services.base.clock import Clock
from services.base.tasks import first_of

# Deadlines this close together fire in one wake-up: at most 200 wake-ups a second, however many timers there are.
TICK_S = 0.005


class Timer:
    """A call that is due at ``when`` (seconds of the clock's ``monotonic``); ``cancel`` it and nothing happens."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Timers:
    """Fires callbacks at their time while ``run`` runs. A callback that raises ends ``run``: that is a bug."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._heap: list[tuple[float, int, Timer]] = []
        self._sequence = 0
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._heap)

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` once, ``seconds`` from now or as soon after as the loop allows."""
        timer = Timer(self.clock.monotonic() + max(0.0, seconds), callback)
        self._sequence += 1
        heapq.heappush(self._heap, (timer.when, self._sequence, timer))
        if self._heap[0][2] is timer:
            self._wake.set()
        return timer

    def fire(self) -> int:
        """Call everything that is due now; returns how many."""
        now, fired = self.clock.monotonic(), 0
        while self._heap and self._heap[0][0] <= now:
            callback = heapq.heappop(self._heap)[2].callback
            if callback is not None:
                callback()
                fired += 1
        return fired

    async def run(self) -> None:
        """Fire timers as they fall due, until cancelled."""
        while True:
            self.fire()
            self._wake.clear()
            if not self._heap:
                await self._wake.wait()
                continue
            pause = max(TICK_S, self._heap[0][0] - self.clock.monotonic())
            if pause <= TICK_S:
                await self.clock.sleep(pause)
            else:
                await first_of(self.clock.sleep(pause), self._wake.wait())
