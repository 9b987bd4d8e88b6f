"""The queue before group commit: three lanes, bounded, at most one write per key under way. Pure: no I/O, no clock.

What waits is a single write, or a transaction of several: an item either way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from services.storage.errors import QueueFull, StorageError
from services.storage.interface import Lane, Record, Write

_OVERHEAD_BYTES = 64  # of one nested transaction besides its key (twice or three times) and value
_HEARTBEATS_MAX = 512  # in one transaction
# Items from which on a transaction's own cost matters little beside theirs. To wait for more makes writers who wait
# for their answers go in lock-step: the server has nothing to do while etcd writes, and etcd nothing while it answers.
# Less costs more rounds of events: with 8 the creates beside 1,000 watchers were fewer by a third at times.
_PLENTY = 16
_REMEMBERED = 8  # batches


Joint = tuple[Record | None, ...]
"""What the keys of a transaction hold after it."""


class Outcomes:
    """The outcomes of one batch of items, in order; ``done`` resolves when all are known."""

    def __init__(self, count: int) -> None:
        self.results: list[Record | Exception | Joint | None] = [None] * count
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = count

    def settle(self, index: int, outcome: Record | Exception | Joint | None) -> None:
        self.results[index] = outcome
        self._left -= 1
        if not self._left and not self.done.done():
            self.done.set_result(None)

    @property
    def abandoned(self) -> bool:
        """Nobody waits for them any more."""
        return self.done.done()


class Pending:
    """One write on its way. ``expected`` is what the next attempt compares with; ``write`` says what was asked."""

    __slots__ = (
        "blocked",
        "deadline_s",
        "expected",
        "index",
        "key",
        "keys",
        "outcomes",
        "settled",
        "size_bytes",
        "write",
    )

    def __init__(self, write: Write, outcomes: Outcomes, index: int, deadline_s: float) -> None:
        self.write = write
        self.key = write.key.encode()
        self.keys: tuple[bytes, ...] = (self.key,)
        self.blocked = 0  # keys that others have before it
        # An unconditional write begins by supposing that the key is absent; the refusal brings what it holds.
        self.expected = write.expected_revision or 0
        self.outcomes = outcomes
        self.index = index
        self.deadline_s = deadline_s
        self.settled = False
        self.size_bytes = 3 * len(self.key) + _value_bytes(write) + _OVERHEAD_BYTES

    @property
    def writes(self) -> Sequence[Write]:
        return (self.write,)

    def settle(self, outcome: Record | Exception | Joint | None) -> None:
        """Only the first outcome counts."""
        if not self.settled:
            self.settled = True
            self.outcomes.settle(self.index, outcome)


class PendingTransaction(Pending):
    """Several writes that happen together; ``write`` is the first of them, and says the lane."""

    __slots__ = ("_writes",)

    def __init__(self, writes: Sequence[Write], outcomes: Outcomes, index: int, deadline_s: float) -> None:
        self.write = writes[0]
        self._writes = writes
        self.keys = tuple([write.key.encode() for write in writes])
        self.key = self.keys[0]
        self.blocked = 0
        self.expected = 0
        self.outcomes = outcomes
        self.index = index
        self.deadline_s = deadline_s
        self.settled = False
        size_bytes = _OVERHEAD_BYTES * len(writes)
        for key, write in zip(self.keys, writes, strict=True):
            size_bytes += 3 * len(key) + _value_bytes(write)
        self.size_bytes = size_bytes

    @property
    def writes(self) -> Sequence[Write]:
        return self._writes


def _value_bytes(write: Write) -> int:
    """Of what etcd is sent or of what watches are, whichever is more.

    A deletion is nothing to etcd, but a watch is told the whole old value, and in one message all that has one
    revision. So is a watch whose selection the new value is no longer in.
    """
    new_bytes = len(write.value) if write.value is not None else 0
    return new_bytes if new_bytes > write.replaced_bytes else write.replaced_bytes


class Lanes:
    """SYSTEM before HEARTBEAT before WORKLOAD, each first come, first served.

    A write whose key is queued or in flight waits behind that one, so that writes of a key take effect in order and
    never meet in one transaction (etcd refuses a key that occurs twice). Heartbeats gather until ``ripen``.
    """

    def __init__(self, items_max: int) -> None:
        self._items_max = items_max
        self._system: deque[Pending] = deque()
        self._heartbeats: deque[Pending] = deque()
        self._workload: deque[Pending] = deque()
        self._gathered: deque[Pending] = deque()
        self._queues = {Lane.SYSTEM: self._system, Lane.WORKLOAD: self._workload, Lane.HEARTBEAT: self._gathered}
        # Keys queued or in flight; None as long as nobody waits behind.
        self._behind: dict[bytes, deque[Pending] | None] = {}
        self._counts = dict.fromkeys(Lane, 0)
        self.filled = asyncio.Event()  # something may be taken
        # Enough may be taken that waiting for more gains nothing: a lot, or as much as the largest batch lately (those
        # who waited for their answers are all back then); or a transaction, which compares with several keys as they
        # were read: the longer it waits, the surer another server has changed one of them.
        self.plenty = asyncio.Event()
        self._hurried = False
        self._sizes: deque[int] = deque(maxlen=_REMEMBERED)
        self.gathering = asyncio.Event()  # heartbeats wait for ``ripen``
        self.occupied = asyncio.Event()  # something is queued or in flight

    @property
    def count(self) -> int:
        """Writes that are queued or in flight."""
        return sum(self._counts.values())

    def check_room(self, writes: Sequence[Write]) -> None:
        """Each lane has room of its own: a storm of creates leaves place for binds. Raises ``QueueFull``."""
        if len(writes) + max(self._counts.values()) <= self._items_max:
            return
        for lane, count in self._counts.items():
            wanted = sum(write.lane is lane for write in writes)
            if wanted and count + wanted > self._items_max:
                raise QueueFull("the commit queue")

    def push(self, pending: Pending) -> None:
        lane = pending.write.lane
        self._counts[lane] += len(pending.keys)
        self.occupied.set()
        # All keys in one moment: whoever waits, waits for who came before, so that nobody waits for ever.
        for key in pending.keys:
            if key not in self._behind:
                self._behind[key] = None
                continue
            behind = self._behind[key]
            if behind is None:
                behind = self._behind[key] = deque()
            behind.append(pending)
            pending.blocked += 1
        if not pending.blocked:
            self._queues[lane].append(pending)
            self._note_filled(pending)

    def ripen(self) -> None:
        """The heartbeats that have gathered may go."""
        self._heartbeats.extend(self._gathered)
        self._gathered.clear()
        self.gathering.clear()
        if self._heartbeats:
            self.filled.set()
            self._note_plenty()

    def take(self, items_max: int, bytes_max: int) -> list[Pending]:
        """The next batch: whatever has queued up, within the limits (but at least one).

        ``items_max``: of single writes; a batch with a transaction of n writes in it has n - 1 items fewer, as etcd
        counts the operations of the outer transaction and of the largest inner one.
        """
        batch: list[Pending] = []
        self._hurried = False
        size = self._take(self._system, batch, 0, items_max, bytes_max)
        # Few enough that a bind which comes next does not wait for a whole data centre's heartbeats.
        size = self._take(self._heartbeats, batch, size, min(items_max, len(batch) + _HEARTBEATS_MAX), bytes_max)
        self._take(self._workload, batch, size, items_max, bytes_max)
        if not (self._system or self._heartbeats or self._workload):
            self.filled.clear()
        if batch:
            self._sizes.append(len(batch))
        self._note_plenty()
        return batch

    def _take(self, queue: deque[Pending], batch: list[Pending], size: int, items_max: int, bytes_max: int) -> int:
        widest = max([len(pending.keys) for pending in batch], default=1)
        while queue and len(batch) + widest <= items_max:
            pending = queue[0]
            if pending.settled or pending.outcomes.abandoned:
                self.release(queue.popleft())
                continue
            widest = max(widest, len(pending.keys))
            if batch and (size + pending.size_bytes > bytes_max or len(batch) + widest > items_max):
                break
            size += pending.size_bytes
            batch.append(queue.popleft())
        return size

    def retry(self, pending: Pending) -> None:
        """Put back what was taken, before everything else in its lane."""
        lane = pending.write.lane
        (self._heartbeats if lane is Lane.HEARTBEAT else self._queues[lane]).appendleft(pending)
        self.filled.set()
        self._note_plenty()

    def release(self, pending: Pending) -> None:
        """``pending`` is done with: the next write of each of its keys may go."""
        self._counts[pending.write.lane] -= len(pending.keys)
        for key in pending.keys:
            behind = self._behind[key]
            if not behind:
                del self._behind[key]
                continue
            following = behind.popleft()
            following.blocked -= 1
            if not following.blocked:
                self._queues[following.write.lane].appendleft(following)
                self._note_filled(following)
        if not self._behind:
            self.occupied.clear()

    def expire(self, now_s: float, failure: StorageError) -> None:
        """Answer writes that were never sent and whose time is over."""
        for queue in (self._system, self._heartbeats, self._workload, self._gathered):
            while queue and queue[0].deadline_s <= now_s:
                pending = queue.popleft()
                pending.settle(failure)
                self.release(pending)
        for behind in filter(None, self._behind.values()):
            for pending in behind:
                if pending.deadline_s <= now_s:
                    pending.settle(failure)  # it leaves the queue when it would be taken
        if not (self._system or self._heartbeats or self._workload):
            self.filled.clear()
        self._note_plenty()

    def drain(self) -> Sequence[Pending]:
        """Everything that waits; the queue is empty afterwards."""
        queues = (self._system, self._heartbeats, self._workload, self._gathered, *filter(None, self._behind.values()))
        found = [pending for queue in queues for pending in queue]
        for queue in queues:
            queue.clear()
        self._behind.clear()
        self._counts = dict.fromkeys(Lane, 0)
        for event in (self.filled, self.plenty, self.gathering, self.occupied):
            event.clear()
        return found

    def _note_filled(self, pending: Pending) -> None:
        if pending.write.lane is Lane.HEARTBEAT:
            self.gathering.set()
            return
        self._hurried |= len(pending.keys) > 1
        self.filled.set()
        self._note_plenty()

    def _note_plenty(self) -> None:
        waiting = len(self._system) + len(self._heartbeats) + len(self._workload)
        if self._hurried or waiting >= min(_PLENTY, max(self._sizes, default=_PLENTY)):
            self.plenty.set()
        else:
            self.plenty.clear()
