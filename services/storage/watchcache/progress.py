"""Waiting until a cache has reached a revision."""

from __future__ import annotations

import asyncio
import heapq
import itertools

from services.base.clock import Clock
from services.base.tasks import first_of


class Progress:
    """Waiters by revision. ``reached`` wakes those it satisfies."""

    def __init__(self) -> None:
        self.revision = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._counter = itertools.count()

    def reached(self, revision: int) -> None:
        self.revision = revision
        while self._waiting and self._waiting[0][0] <= revision:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)

    async def at_least(self, revision: int) -> None:
        """Return when ``revision`` has been reached; wait for it under a deadline of your own."""
        if self.revision >= revision:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (revision, next(self._counter), future))
        await future

    async def within(self, seconds: float, revision: int, clock: Clock) -> bool:
        """Wait at most ``seconds``; whether ``revision`` has been reached."""
        if self.revision < revision:
            await first_of(self.at_least(revision), clock.sleep(seconds))
        return self.revision >= revision
