"""The queue before group commit: two lanes, bounded, at most one write per key under way. Pure: no I/O, no clock."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from services.storage.errors import QueueFull, StorageError
from services.storage.interface import Lane, Record, Write

_OVERHEAD_BYTES = 64  # of one nested transaction besides its key (twice or three times) and value


class Outcomes:
    """The outcomes of one batch of writes, in order; ``done`` resolves when all are known."""

    def __init__(self, count: int) -> None:
        self.results: list[Record | Exception | None] = [None] * count
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = count

    def settle(self, index: int, outcome: Record | Exception | None) -> None:
        self.results[index] = outcome
        self._left -= 1
        if not self._left and not self.done.done():
            self.done.set_result(None)

    @property
    def abandoned(self) -> bool:
        """Nobody waits for them any more."""
        return self.done.cancelled()


class Pending:
    """One write on its way. ``expected`` is what the next attempt compares with; ``write`` says what was asked."""

    __slots__ = ("deadline_s", "expected", "index", "key", "outcomes", "settled", "size_bytes", "write")

    def __init__(self, write: Write, outcomes: Outcomes, index: int, deadline_s: float) -> None:
        self.write = write
        self.key = write.key.encode()
        # An unconditional write begins by supposing that the key is absent; the refusal brings what it holds.
        self.expected = write.expected_revision or 0
        self.outcomes = outcomes
        self.index = index
        self.deadline_s = deadline_s
        self.settled = False
        self.size_bytes = 3 * len(self.key) + len(write.value or b"") + _OVERHEAD_BYTES

    def settle(self, outcome: Record | Exception | None) -> None:
        """Only the first outcome counts."""
        if not self.settled:
            self.settled = True
            self.outcomes.settle(self.index, outcome)


class Lanes:
    """SYSTEM before WORKLOAD, each first come, first served.

    A write whose key is queued or in flight waits behind that one, so that writes of a key take effect in order and
    never meet in one transaction (etcd refuses a key that occurs twice).
    """

    def __init__(self, items_max: int) -> None:
        self._items_max = items_max
        self._lanes: dict[Lane, deque[Pending]] = {lane: deque() for lane in Lane}
        self._behind: dict[bytes, deque[Pending]] = {}
        self.count = 0
        self.filled = asyncio.Event()

    def check_room(self, count: int) -> None:
        """Raises ``QueueFull``."""
        if self.count + count > self._items_max:
            raise QueueFull("the commit queue")

    def push(self, pending: Pending) -> None:
        self.count += 1
        behind = self._behind.get(pending.key)
        if behind is not None:
            behind.append(pending)
            return
        self._behind[pending.key] = deque()
        self._lanes[pending.write.lane].append(pending)
        self.filled.set()

    def take(self, items_max: int, bytes_max: int) -> list[Pending]:
        """The next batch: whatever has queued up, within the limits (but at least one)."""
        batch: list[Pending] = []
        size = 0
        for lane in Lane:
            queue = self._lanes[lane]
            while queue and len(batch) < items_max:
                size += queue[0].size_bytes
                if batch and size > bytes_max:
                    return batch
                pending = queue.popleft()
                if pending.outcomes.abandoned:
                    size -= pending.size_bytes
                    self.release(pending)
                    continue
                batch.append(pending)
        self._note_empty()
        return batch

    def retry(self, pending: Pending) -> None:
        """Put back what was taken, before everything else in its lane."""
        self._lanes[pending.write.lane].appendleft(pending)
        self.filled.set()

    def release(self, pending: Pending) -> None:
        """``pending`` is done with: the next write of its key may go."""
        self.count -= 1
        behind = self._behind[pending.key]
        if not behind:
            del self._behind[pending.key]
            return
        self._lanes[behind[0].write.lane].appendleft(behind.popleft())
        self.filled.set()

    def expire(self, now_s: float, failure: StorageError) -> None:
        """Answer writes that were never sent and whose time is over."""
        for queue in self._lanes.values():
            while queue and queue[0].deadline_s <= now_s:
                pending = queue.popleft()
                pending.settle(failure)
                self.release(pending)
        self._note_empty()

    def drain(self) -> Sequence[Pending]:
        """Everything that waits; the queue is empty afterwards."""
        found = [pending for queue in self._lanes.values() for pending in queue]
        found += [pending for behind in self._behind.values() for pending in behind]
        for queue in self._lanes.values():
            queue.clear()
        self._behind.clear()
        self.count = 0
        self._note_empty()
        return found

    def _note_empty(self) -> None:
        if not any(self._lanes.values()):
            self.filled.clear()
