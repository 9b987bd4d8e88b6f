"""Each resource partition's batches: a few in flight at a time, the rest waiting for them alone.

How large a batch may be follows from how soon the ones before were answered (``BatchSize``). Too little in flight, and
a partition that answers at once waits for its scheduler; too much, and every other call of a partition that is busy
waits behind a queue of binds. No constant is right for both (docs/performance.md has what each costs). The same
reasoning as in congestion control by delay (TCP Vegas; RFC 6817, LEDBAT).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from services.base.clock import Clock
from services.scheduler.attempt import Attempt
from services.scheduler.carrier import Slot

Start = Callable[[str, Sequence[Attempt], Slot], None]
"""Carries a batch to nodes of one partition; the slot is given back when it is done, or as an answer is missing."""

# A batch grows to at most so many times the first one. It never has fewer: batches of 64 to 256 made API calls of an
# overloaded cluster a quarter faster, and cost a fifth of its binds.
_MOST = 4.0
# What one answer can change: a disk that stood still for a moment is no reason to begin anew.
_SHRINK = 0.7
_GROW = 1.25
# Nothing is answered sooner.
_SOONEST_S = 0.001


class BatchSize:
    """How many pods a batch may have: at least ``first``, and as many as are answered within ``within_s`` seconds."""

    def __init__(self, first: int, within_s: float) -> None:
        self._least = float(first)
        self._most = first * _MOST
        self._within_s = within_s
        self._size = float(first)

    @property
    def pods(self) -> int:
        return int(self._size)

    def answered(self, pods: int, after_s: float, *, full: bool) -> None:
        """A batch of ``pods`` was answered. ``full``: it had as many as it might.

        The estimate is of that batch and not of what may be sent now: batches that were under way together say the same
        thing, and it counts once. One that was not full says nothing of larger ones, unless it was slow itself.
        """
        if not full and after_s <= self._within_s:
            return
        fitting = pods * self._within_s / max(after_s, _SOONEST_S)
        # Half way there: batches under way beside that one are as large as their sizes then were.
        changed = min(max((self._size + fitting) / 2, self._size * _SHRINK), self._size * _GROW)
        self._size = min(max(changed, self._least), self._most)


class _Lane:
    def __init__(self, slots: int, size: BatchSize) -> None:
        self.free = slots
        self.size = size
        self.waiting: list[Attempt] = []


class Lanes:
    """``slots`` batches in flight per partition, of ``size`` attempts at first, and of more while they are
    answered within ``within_s``; 0: never of more.

    What waits for a slot is sent together as soon as there is one. ``free`` says when to plan again: pods gather in the
    queue, where a plan can still send them anywhere, while every partition is busy.
    """

    def __init__(self, start: Start, *, clock: Clock, slots: int, size: int, within_s: float) -> None:
        self._start = start
        self._clock = clock
        self._slots = slots
        self._size = size
        self._within_s = within_s
        self._lanes: dict[str, _Lane] = {}
        self._freed = asyncio.Event()

    def open(self, partition: str) -> None:
        """Pods may go there. Idempotent."""
        if partition not in self._lanes:
            self._lanes[partition] = self._lane()
            self._freed.set()

    def close(self, partition: str) -> Sequence[Attempt]:
        """None may go there any more; returns those that wait for a slot. What is in flight has slots of its own."""
        lane = self._lanes.pop(partition, None)
        # With one lane less all that are left may be busy, or none may be left: whoever plans looks again.
        self._freed.set()
        return lane.waiting if lane is not None else ()

    async def free(self) -> None:
        """Until some partition has a slot to spare, or there is none to wait for."""
        while self._lanes and not any(lane.free for lane in self._lanes.values()):
            self._freed.clear()
            await self._freed.wait()

    def send(self, partition: str, attempts: Sequence[Attempt]) -> None:
        """Now, or when a slot is free."""
        self.open(partition)
        lane = self._lanes[partition]
        lane.waiting.extend(attempts)
        self._pump(partition, lane)

    def sizes(self) -> dict[str, int]:
        """How many pods a batch to each partition may have now."""
        return {partition: lane.size.pods for partition, lane in self._lanes.items()}

    def _pump(self, partition: str, lane: _Lane) -> None:
        while lane.free and lane.waiting:
            size = lane.size.pods
            batch, lane.waiting = lane.waiting[:size], lane.waiting[size:]
            lane.free -= 1
            self._start(partition, batch, Slot(self._release(partition, lane, len(batch), full=len(batch) == size)))

    def _release(self, partition: str, lane: _Lane, pods: int, *, full: bool) -> Callable[[], None]:
        started = self._clock.monotonic()

        def release() -> None:
            lane.free += 1
            lane.size.answered(pods, self._clock.monotonic() - started, full=full)
            if self._lanes.get(partition) is lane:
                self._pump(partition, lane)
                if lane.free:
                    self._freed.set()

        return release

    def _lane(self) -> _Lane:
        return _Lane(self._slots, BatchSize(self._size, self._within_s))

    def clear(self) -> None:
        """Nothing is in flight any more, and nothing waits."""
        self._lanes = {partition: self._lane() for partition in self._lanes}
