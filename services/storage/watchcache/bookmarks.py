"""Bookmarks: about once a minute a quiet watch is told how far it is, so that it can resume from there."""

from __future__ import annotations

import heapq
import itertools

from services.base.clock import Clock
from services.base.rand import Rand
from services.storage.watchcache.watcher import CacheWatcher

PERIOD_S = 60.0
_TICK_S = 1.0


class Bookmarks:
    """Watches that opted in, by the time of their next bookmark. The first comes at any time within a period: what many
    watches that open together are told is an even flow, not a wave that comes back every minute."""

    def __init__(self, clock: Clock, rand: Rand, period_s: float = PERIOD_S) -> None:
        self._clock = clock
        self._rand = rand
        self._period_s = period_s
        self._due: list[tuple[float, int, CacheWatcher]] = []
        self._counter = itertools.count()

    def add(self, watcher: CacheWatcher) -> None:
        """From now on until it is closed."""
        self._put(watcher, self._rand.uniform(0.0, 1.0))

    def _put(self, watcher: CacheWatcher, periods: float) -> None:
        due = self._clock.monotonic() + periods * self._period_s
        heapq.heappush(self._due, (due, next(self._counter), watcher))

    def tick(self) -> None:
        """Ask for the bookmarks that are due."""
        now = self._clock.monotonic()
        while self._due and self._due[0][0] <= now:
            watcher = heapq.heappop(self._due)[2]
            if not watcher.closed:
                watcher.request_bookmark()
                self._put(watcher, self._rand.uniform(0.75, 1.0))

    async def run(self) -> None:
        while True:
            await self._clock.sleep(_TICK_S)
            self.tick()
