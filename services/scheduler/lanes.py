"""Each resource partition's batches: a few in flight at a time, the rest waiting for them alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from services.scheduler.attempt import Attempt
from services.scheduler.carrier import Slot

Start = Callable[[str, Sequence[Attempt], Slot], None]
"""Carries a batch to nodes of one partition; the slot is given back when it is done, or as an answer is missing."""


class _Lane:
    def __init__(self, slots: int) -> None:
        self.free = slots
        self.waiting: list[Attempt] = []


class Lanes:
    """``slots`` batches of at most ``size`` attempts in flight per partition.

    What waits for a slot is sent together as soon as there is one. ``free`` says when to plan again: pods gather in the
    queue, where a plan can still send them anywhere, while every partition is busy.
    """

    def __init__(self, start: Start, *, slots: int, size: int) -> None:
        self._start = start
        self._slots = slots
        self._size = size
        self._lanes: dict[str, _Lane] = {}
        self._freed = asyncio.Event()

    def open(self, partition: str) -> None:
        """Pods may go there. Idempotent."""
        if partition not in self._lanes:
            self._lanes[partition] = _Lane(self._slots)
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

    def _pump(self, partition: str, lane: _Lane) -> None:
        while lane.free and lane.waiting:
            batch, lane.waiting = lane.waiting[: self._size], lane.waiting[self._size :]
            lane.free -= 1
            self._start(partition, batch, Slot(lambda: self._release(partition, lane)))

    def _release(self, partition: str, lane: _Lane) -> None:
        lane.free += 1
        if self._lanes.get(partition) is lane:
            self._pump(partition, lane)
            if lane.free:
                self._freed.set()

    def clear(self) -> None:
        """Nothing is in flight any more, and nothing waits."""
        self._lanes = {partition: _Lane(self._slots) for partition in self._lanes}
