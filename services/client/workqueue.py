"""A queue of keys for controllers: each key is in it at most once, and is never worked on twice at a time.

A key added while it is being worked on comes again after ``done``. Failures wait longer each time (client-go
``util/workqueue``).
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import first_of

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Any number of workers: ``key = await queue.get()``, work, then ``forget`` or ``retry``, always ``done``."""

    def __init__(
        self, clock: Clock, rand: Rand, *, retry_initial_s: float = 0.05, retry_max_s: float = 60.0, jitter: float = 0.5
    ) -> None:
        self._clock = clock
        self._rand = rand
        self._retry_initial_s = retry_initial_s
        self._retry_max_s = retry_max_s
        self._jitter = jitter
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}
        self._delayed: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._sequence = 0
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """Keys that are ready."""
        return len(self._ready)

    @property
    def delayed(self) -> int:
        """Keys that wait for their time."""
        return len(self._due)

    def add(self, key: K) -> None:
        """Work on ``key`` soon; once, however often it is added before that."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._working:
            self._ready.append(key)
            self._wake.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Add ``key`` in ``seconds``; of several delays the shortest counts."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + seconds
        if self._due.get(key, due + 1.0) <= due:
            return
        self._due[key] = due
        self._sequence += 1
        heapq.heappush(self._delayed, (due, self._sequence, key))
        self._wake.set()

    def retry(self, key: K) -> float:
        """It failed: add it again after a pause that grows with each failure in a row; returns the pause in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        pause = min(self._retry_max_s, self._retry_initial_s * 2.0 ** min(failures, 30))
        pause = min(self._retry_max_s, self._rand.jitter(pause, self._jitter))
        self.add_after(key, pause)
        return pause

    def forget(self, key: K) -> None:
        """It succeeded: its next failure counts as the first."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """Failures in a row."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key, which is now being worked on."""
        while True:
            self._move_due()
            if self._ready:
                key = self._ready.popleft()
                self._dirty.discard(key)
                self._working.add(key)
                if self._ready:
                    self._wake.set()  # Another worker may be waiting.
                return key
            self._wake.clear()
            if self._delayed:
                pause = max(0.0, self._delayed[0][0] - self._clock.monotonic())
                await first_of(self._clock.sleep(pause), self._wake.wait())
            else:
                await self._wake.wait()

    def done(self, key: K) -> None:
        """The work on ``key`` is over, well or not."""
        self._working.discard(key)
        if key in self._dirty:
            self._ready.append(key)
            self._wake.set()

    def _move_due(self) -> None:
        now = self._clock.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            due, _, key = heapq.heappop(self._delayed)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
