"""Waiting until a cache has reached a revision."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Iterator

from services.base.clock import Clock
from services.base.tasks import first_of


class Progress:
    """Waiters by revision. ``reached`` wakes those it satisfies."""

    def __init__(self) -> None:
        self.revision = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._given_up = 0
        self._counter = itertools.count()

    def reached(self, revision: int) -> None:
        self.revision = revision
        while self._waiting and self._waiting[0][0] <= revision:
            future = heapq.heappop(self._waiting)[2]
            if future.done():
                self._given_up -= 1
            else:
                future.set_result(None)

    @contextlib.contextmanager
    def waiting(self, revision: int) -> Iterator[asyncio.Future[None]]:
        """A future that is done when ``revision`` has been reached. Whoever leaves the block no longer waits."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.revision >= revision:
            future.set_result(None)
        else:
            heapq.heappush(self._waiting, (revision, next(self._counter), future))
        try:
            yield future
        finally:
            if future.cancel() or future.cancelled():
                self._give_up()

    async def at_least(self, revision: int) -> None:
        """Return when ``revision`` has been reached; wait for it under a deadline of your own."""
        with self.waiting(revision) as reached:
            await reached

    async def within(self, seconds: float, revision: int, clock: Clock) -> bool:
        """Wait at most ``seconds``; whether ``revision`` has been reached."""
        if self.revision < revision:
            await first_of(self.at_least(revision), clock.sleep(seconds))
        return self.revision >= revision

    def _give_up(self) -> None:
        # A revision that is far ahead may never come: its waiters are not left to be met with.
        self._given_up += 1
        if self._given_up * 2 > len(self._waiting):
            self._waiting = [entry for entry in self._waiting if not entry[2].done()]
            heapq.heapify(self._waiting)
            self._given_up = 0
