"""Group commit: writes that queue while a transaction is in flight go together in the next one.

A batch is whatever has queued up; only when transactions take long do writes gather for a moment before the next
(``commit_gather_s``), as each also costs the feed and every watch a message. Each item (a write, or a transaction of
several) is a nested transaction with its own comparisons, so outcomes are independent, while raft entry, fsync and
revision are shared. A batch that etcd refuses is cut in halves until the guilty item stands alone; one that etcd does
not answer is looked into (``session``).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Sequence
from typing import Any, cast

import grpc
from aetcd import rpc

from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.pace import Yielding
from services.base.rand import Rand
from services.base.tasks import first_of
from services.storage.checks import spares_space, transaction_failure
from services.storage.errors import (
    InvalidQuery,
    LeaseNotFound,
    OutcomeUnknown,
    StorageError,
    StorageFull,
    TooLarge,
    TooManyWrites,
    Unavailable,
)
from services.storage.etcd import metrics, requests
from services.storage.etcd.calls import Calls
from services.storage.etcd.config import EtcdConfig
from services.storage.etcd.failures import Refusal, refusal_of
from services.storage.etcd.lanes import Joint, Lanes, Outcomes, Pending, PendingTransaction
from services.storage.etcd.outcomes import TryAgain, joint_failure, operation, outcome, record_of, stored
from services.storage.etcd.session import Fate, Session
from services.storage.interface import Lane, Record, Write

_log = logging.getLogger(__name__)

# Of a transaction's operations, one is the session's own and one level is for what is inside the nested ones.
_OWN_OPERATIONS = 2
_BUSY_PAUSE_S = 0.05
_OVERDUE_S = 0.25
# A transaction takes 1-1.5 ms on an idle machine, 3-14 ms where 15 processes share two cores.
_FREE_S = 0.002
_STRETCH = 8.0


class Committer:
    """Shared by all stores of a backend. ``run`` it; writes submitted before wait for it."""

    def __init__(self, calls: Calls, config: EtcdConfig, clock: Clock, rand: Rand) -> None:
        self._calls = calls
        self._config = config
        self._clock = clock
        self._rand = rand
        self._lanes = Lanes(config.queue_items_max)
        self._yielding = Yielding(clock, free_s=_FREE_S, stretch=_STRETCH, longest_s=config.commit_gather_s)
        self._items_max = max(1, config.max_txn_ops - _OWN_OPERATIONS)
        self._sent: list[Sequence[Pending]] = []
        self._down_since_s: float | None = None

    async def submit(self, writes: Sequence[Write]) -> Sequence[Record | Exception | None]:
        """Outcomes in order. The writes have been checked. Raises ``QueueFull``, ``Unavailable``."""
        self._check_up()
        self._lanes.check_room(writes)
        outcomes = Outcomes(len(writes))
        deadline_s = self._clock.monotonic() + self._config.request_timeout_s
        for index, write in enumerate(writes):
            self._lanes.push(Pending(write, outcomes, index, deadline_s))
        await outcomes.done
        return cast(list[Record | Exception | None], outcomes.results)

    @property
    def transaction_writes_max(self) -> int:
        return self._items_max

    async def submit_transactions(self, transactions: Sequence[Sequence[Write]]) -> Sequence[Joint | Exception]:
        """As ``submit``, for checked transactions."""
        self._check_up()
        self._lanes.check_room([write for writes in transactions for write in writes])
        outcomes = Outcomes(len(transactions))
        deadline_s = self._clock.monotonic() + self._config.request_timeout_s
        for index, writes in enumerate(transactions):
            self._lanes.push(PendingTransaction(writes, outcomes, index, deadline_s))
        await outcomes.done
        return cast(list[Joint | Exception], outcomes.results)

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(self._config.transactions_in_flight_max):
                    tasks.create_task(self._line(), name=f"group-commit-{number}")
                tasks.create_task(self._ripen(), name="group-commit-heartbeats")
                tasks.create_task(self._answer_overdue(), name="group-commit-overdue")
        finally:
            for pending in self._lanes.drain():
                pending.settle(Unavailable("the server is stopping"))

    async def _ripen(self) -> None:
        while True:
            await self._lanes.gathering.wait()
            await self._clock.sleep(self._config.lease_gather_s)
            self._lanes.ripen()

    async def _answer_overdue(self) -> None:
        """Nobody waits for longer than was promised, whatever etcd's calls wait for."""
        sent_for_s = self._config.outcome_timeout_s - self._config.request_timeout_s
        while True:
            await self._lanes.occupied.wait()
            await self._clock.sleep(_OVERDUE_S)
            self._expire()
            now_s = self._clock.monotonic()
            for pending in [pending for batch in self._sent for pending in batch]:
                if pending.deadline_s + sent_for_s <= now_s:
                    pending.settle(OutcomeUnknown(pending.write.key, "etcd has not answered"))

    # -- one line of transactions

    async def _line(self) -> None:
        session = Session(self._calls, self._clock, self._rand)
        backoff = Backoff(self._rand, initial_s=0.05, maximum_s=0.5)
        while True:
            if self._down_since_s is None:
                await self._lanes.filled.wait()
            if not await self._open(session):
                await self._pause(backoff)
                continue
            await self._gather()
            batch = self._lanes.take(self._items_max, self._config.batch_bytes_max)
            if batch:
                backoff.reset()
                began_s = self._clock.monotonic()
                await self._commit_all(session, batch)
                self._yielding.took(self._clock.monotonic() - began_s)
                metrics.QUEUED_ITEMS.set(self._lanes.count)

    async def _gather(self) -> None:
        """Let writes gather while etcd is slow to answer: the machine, or etcd, has too much to do as it is."""
        pause_s = self._yielding.pause_s()
        if pause_s and not self._lanes.plenty.is_set():
            await first_of(self._clock.sleep(pause_s), self._lanes.plenty.wait())

    async def _open(self, session: Session) -> bool:
        try:
            if not session.is_open:
                await session.open()
            elif self._down_since_s is not None:
                await session.ping()
            await session.renew()
        except grpc.aio.AioRpcError as failure:
            self._note_down(failure)
            return False
        self._down_since_s = None
        return session.is_open

    async def _commit_all(self, session: Session, batch: Sequence[Pending]) -> None:
        self._sent.append(batch)
        try:
            await self._commit(session, batch)
        except asyncio.CancelledError:
            for pending in batch:
                pending.settle(OutcomeUnknown(pending.write.key, "the server is stopping"))
            raise
        finally:
            self._sent.remove(batch)

    async def _commit(self, session: Session, batch: Sequence[Pending], *, sparing: bool = False) -> None:
        """``sparing``: deletions only, in a form that etcd takes even without space."""
        metrics.BATCH_ITEMS.observe(len(batch))
        try:
            response = await session.apply(map(operation, batch), sparing=sparing)
        except grpc.aio.AioRpcError as failure:
            refusal = refusal_of(failure)
            if refusal is None:
                await self._find_out(session, batch, failure)
            elif refusal is Refusal.NO_SPACE and not sparing:
                await self._without_space(session, batch, failure)
            else:
                await self._refused(session, batch, refusal, failure)
            return
        if response is None:
            session.close()
            self._retry(batch)
            return
        self._down_since_s = None
        revision = response.header.revision
        answers = iter(response.responses)
        next(answers)  # the session's own
        refused: list[Pending] = []
        for pending, answer in zip(batch, answers, strict=True):
            nested = answer.response_txn
            if isinstance(pending, PendingTransaction):
                if nested.succeeded:
                    self._settle(pending, stored(pending, revision))
                else:
                    refused.append(pending)
                continue
            value = pending.write.value
            if nested.succeeded and value is not None:
                self._settle(pending, Record(pending.write.key, value, revision))
            elif value is not None and pending.write.lane is Lane.HEARTBEAT:
                refused.append(pending)
            else:
                self._conclude(pending, nested.succeeded, next(iter(_held(nested)), None), revision)
        if refused:
            await self._say_why(refused, revision)

    async def _say_why(self, refused: Sequence[Pending], revision: int) -> None:
        """Items whose comparisons failed at ``revision``, when their keys held what they hold after it."""
        try:
            held = iter(await self._read_keys(refused, revision))
        except grpc.aio.AioRpcError as failure:
            _log.info("refused items go again: %s: %s", failure.code().name, failure.details())
            self._retry(refused)
            return
        for pending in refused:
            if not isinstance(pending, PendingTransaction):
                self._conclude(pending, False, next(held), revision)
                continue
            records = list(itertools.islice(held, len(pending.keys)))
            self._settle(pending, joint_failure(pending.writes, records))

    # -- refused: nothing was applied

    async def _refused(
        self, session: Session, batch: Sequence[Pending], refusal: Refusal, failure: grpc.aio.AioRpcError
    ) -> None:
        if refusal is Refusal.TOO_MANY_OPERATIONS:
            self._learn_limit(batch)
        leased = any(write.lease_id for pending in batch for write in pending.writes)
        if refusal is Refusal.LEASE_NOT_FOUND and not leased:
            session.close()  # it is the session's own lease that is gone
            self._retry(batch)
        elif refusal is Refusal.BUSY:
            self._retry(batch)
            await self._clock.sleep(_BUSY_PAUSE_S)
        elif len(batch) == 1 or refusal is Refusal.NO_SPACE:
            for pending in batch:
                self._settle(pending, self._refusal_error(pending, refusal, failure))
        else:
            await self._halve(session, batch)

    async def _without_space(self, session: Session, batch: Sequence[Pending], failure: grpc.aio.AioRpcError) -> None:
        """Puts are refused; deletions go once more by themselves: they are what makes space."""
        deletions = []
        for pending in batch:
            if spares_space(pending.writes):
                deletions.append(pending)
            else:
                self._settle(pending, self._refusal_error(pending, Refusal.NO_SPACE, failure))
        if deletions:
            await self._commit(session, deletions, sparing=True)

    def _learn_limit(self, batch: Sequence[Pending]) -> None:
        operations = len(batch) + max(len(pending.keys) for pending in batch) - 1
        half = (operations + 1) // 2
        if half < self._items_max:
            _log.warning("etcd takes fewer than %d writes in a transaction, trying %d", operations, half)
            self._items_max = half

    async def _halve(self, session: Session, batch: Sequence[Pending]) -> None:
        middle = (len(batch) + 1) // 2
        for half in (batch[:middle], batch[middle:]):
            if session.is_open:
                await self._commit(session, half)
            else:
                self._retry(half)

    # -- unanswered

    async def _find_out(self, session: Session, batch: Sequence[Pending], cause: grpc.aio.AioRpcError) -> None:
        """The batch may have been applied, may yet be, or may not: ask until etcd tells.

        Who waits for too long is answered meanwhile (``_answer_overdue``); the keys stay taken until it is known.
        """
        self._note_down(cause)
        backoff = Backoff(self._rand, initial_s=0.05, maximum_s=0.5)
        applied_at: int | None = None
        while True:
            try:
                if applied_at is None:
                    fate, revision = await session.find_out()
                    metrics.OUTCOMES_FOUND.labels(fate.name.lower()).inc()
                    self._down_since_s = None
                    if fate is Fate.NOT_APPLIED:
                        self._retry(batch)
                        return
                    if fate is Fate.LOST:
                        break
                    applied_at = revision
                await self._read_outcomes(batch, applied_at)
                return
            except grpc.aio.AioRpcError as failure:
                if failure.code() is grpc.StatusCode.OUT_OF_RANGE or refusal_of(failure) is Refusal.INVALID:
                    break  # compacted meanwhile, or not to be asked at all
                self._note_down(failure)
            await self._pause(backoff)
        session.close()
        for pending in batch:
            self._settle(pending, OutcomeUnknown(pending.write.key, f"etcd: {cause.code().name}"))

    async def _read_outcomes(self, batch: Sequence[Pending], revision: int) -> None:
        """The batch was transaction ``revision``: it compared with what each key held one revision before."""
        found_before = iter(await self._read_keys(batch, revision - 1))
        for pending in batch:
            if isinstance(pending, PendingTransaction):
                held = list(itertools.islice(found_before, len(pending.keys)))
                failure = transaction_failure(pending.writes, held)
                self._settle(pending, stored(pending, revision) if failure is None else failure)
                continue
            record = next(found_before)
            succeeded = (record.revision if record is not None else 0) == pending.expected
            self._conclude(pending, succeeded, record, revision)

    async def _read_keys(self, batch: Sequence[Pending], revision: int) -> Sequence[Record | None]:
        """What the keys of ``batch`` held at ``revision``, in order. Raises ``AioRpcError``."""
        held: list[Record | None] = []
        keys = [key for pending in batch for key in pending.keys]
        for start in range(0, len(keys), self._items_max):
            reads = [requests.read(key, revision) for key in keys[start : start + self._items_max]]
            response = await self._calls.transaction(rpc.TxnRequest(success=reads))
            found = (answer.response_range.kvs for answer in response.responses)
            held.extend(record_of(kvs[0]) if kvs else None for kvs in found)
        return held

    # -- outcomes

    def _conclude(self, pending: Pending, succeeded: bool, current: Record | None, revision: int) -> None:
        try:
            self._settle(pending, outcome(pending, succeeded, current, revision))
        except TryAgain as again:
            pending.expected = again.revision
            self._lanes.retry(pending)

    def _settle(self, pending: Pending, result: Record | Exception | Joint | None) -> None:
        pending.settle(result)
        self._lanes.release(pending)

    def _refusal_error(self, pending: Pending, refusal: Refusal, failure: grpc.aio.AioRpcError) -> StorageError:
        text = failure.details() or failure.code().name
        write = pending.write
        match refusal:
            case Refusal.TOO_LARGE:
                size_bytes = sum(len(write.value or b"") for write in pending.writes)
                return TooLarge(write.key, size_bytes, self._config.value_bytes_max)
            case Refusal.TOO_MANY_OPERATIONS if len(pending.keys) > 1:
                return TooManyWrites(len(pending.keys), self._items_max)
            case Refusal.LEASE_NOT_FOUND:
                leased = next((write for write in pending.writes if write.lease_id), write)
                return LeaseNotFound(leased.key, leased.lease_id)
            case Refusal.NO_SPACE:
                return StorageFull(text)
            case _:
                return InvalidQuery("key", f"etcd refuses the write: {text}")

    def _retry(self, batch: Sequence[Pending]) -> None:
        """Nothing of the batch was applied: send it again if its time is not over."""
        for pending in reversed(batch):
            if pending.settled:
                self._lanes.release(pending)  # it was answered as unknown, and has come to nothing
            else:
                self._lanes.retry(pending)
        self._expire()

    def _expire(self) -> None:
        self._lanes.expire(self._clock.monotonic(), Unavailable("etcd did not take the write in time"))

    async def _pause(self, backoff: Backoff) -> None:
        self._expire()
        await self._clock.sleep(backoff.next())

    def _note_down(self, failure: grpc.aio.AioRpcError) -> None:
        if self._down_since_s is None:
            self._down_since_s = self._clock.monotonic()
            _log.warning("etcd does not answer: %s: %s", failure.code().name, failure.details())

    def _check_up(self) -> None:
        """Once etcd has been away for longer than a write may wait, writes are refused at once."""
        since_s = self._down_since_s
        if since_s is not None and self._clock.monotonic() - since_s > self._config.request_timeout_s:
            raise Unavailable("etcd cannot be reached")


def _held(nested: Any) -> Sequence[Record | None]:
    """What the keys of a refused nested transaction hold."""
    if nested.succeeded:
        return ()
    found = (response.response_range.kvs for response in nested.responses)
    return [record_of(kvs[0]) if kvs else None for kvs in found]
