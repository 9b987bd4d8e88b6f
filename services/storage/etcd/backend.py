"""``EtcdBackend``: one etcd cluster, its stores, and the tasks they share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import grpc

from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.storage.checks import check_transaction
from services.storage.errors import Expired, ResourceVersionTooLarge, StorageError
from services.storage.etcd import frames
from services.storage.etcd.advance import Advance
from services.storage.etcd.calls import Calls
from services.storage.etcd.channel import make_channel
from services.storage.etcd.commit import Committer
from services.storage.etcd.compaction import Compaction
from services.storage.etcd.config import EtcdConfig
from services.storage.etcd.failures import Refusal, read_failure, refusal_of, unavailable
from services.storage.etcd.health import Health
from services.storage.etcd.status import EtcdStatus
from services.storage.etcd.store import EtcdStore
from services.storage.interface import AttributesOf, Record, Write
from services.storage.watchcache.bookmarks import PERIOD_S, Bookmarks

# Keys of one read-only transaction.
_READS_MAX = 64


class EtcdBackend:
    """Use it inside ``async with``. An etcd that is down, at the start or later, is waited for; ``ready`` tells.

    Make it inside the event loop that it is used in.
    """

    def __init__(self, config: EtcdConfig, *, clock: Clock, rand: Rand, bookmark_period_s: float = PERIOD_S) -> None:
        self.config = config
        self.clock = clock
        self.rand = rand
        self._channel = make_channel(config.endpoints, config)
        several = len(config.endpoints) > 1
        self.calls = Calls(self._channel, clock, config.request_timeout_s, require_leader=several)
        self.bookmarks = Bookmarks(clock, rand, bookmark_period_s)
        self._health = Health(self.calls, config, clock)
        self._committer = Committer(self.calls, config, clock, rand)
        self._compaction = Compaction(self.calls, config.compaction_interval_s, clock, rand)
        self._stores: dict[str, EtcdStore] = {}
        # Twice in what history is kept at least, and before each bookmark.
        period_s = min(bookmark_period_s, config.compaction_interval_s or bookmark_period_s) / 2
        self._advance = Advance(self._stores, self.calls, period_s, clock, rand, lambda: self.progress_trusted)
        self._tasks = Supervisor()

    @property
    def ready(self) -> bool:
        """etcd answered, and had a leader, when it was last asked (every few seconds)."""
        return self._health.up

    @property
    def progress_trusted(self) -> bool:
        """etcd's progress responses can be relied on: see ``versions``."""
        return self._health.progress_trusted

    def store(self, prefix: str, attributes_of: AttributesOf) -> EtcdStore:
        """The store of one resource; the same one for the same prefix."""
        if prefix not in self._stores:
            self._stores[prefix] = EtcdStore(self, prefix, attributes_of)
        return self._stores[prefix]

    async def wait_ready(self) -> None:
        """Return when etcd has answered for the first time."""
        await self._health.first_up.wait()

    async def commit(self, writes: Sequence[Write]) -> Sequence[Record | Exception | None]:
        """Group commit of writes that have been checked. Raises ``QueueFull``, ``Unavailable``."""
        return await self._committer.submit(writes)

    async def read(self, keys: Sequence[str]) -> Sequence[Record | None]:
        """``services.storage.interface.Transactor``: a read-only transaction, which costs little more than one read.

        etcd serves it as a linearizable read, without its log, since its ranges are none that may be stale
        (etcd ``server/etcdserver/v3_server.go``, ``Txn``).
        """
        found: list[Record | None] = []
        for start in range(0, len(keys), _READS_MAX):
            found += await self._read(keys[start : start + _READS_MAX])
        return found

    async def _read(self, keys: Sequence[str]) -> list[Record | None]:
        operations = (frames.success(frames.read(key.encode())) for key in keys)
        try:
            response = await self.calls.send_transaction(frames.transaction(b"", operations))
        except grpc.aio.AioRpcError as failure:
            if refusal_of(failure) is Refusal.TOO_MANY_OPERATIONS and len(keys) > 1:
                half = len(keys) // 2
                return [*await self._read(keys[:half]), *await self._read(keys[half:])]
            raise unavailable(failure) from failure
        held = (next(iter(each.response_range.kvs), None) for each in response.responses)
        return [
            None if kv is None else Record(key, kv.value, kv.mod_revision) for key, kv in zip(keys, held, strict=True)
        ]

    @property
    def transaction_writes_max(self) -> int:
        """Of ``max_txn_ops``; fewer once etcd has refused that."""
        return self._committer.transaction_writes_max

    async def transact(self, writes: Sequence[Write]) -> Sequence[Record | None]:
        """``services.storage.interface.Transactor``."""
        outcome = (await self.transact_batch((writes,)))[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def transact_batch(
        self, transactions: Sequence[Sequence[Write]]
    ) -> Sequence[Sequence[Record | None] | Exception]:
        """``services.storage.interface.Transactor``."""
        faults = [self._fault(writes) for writes in transactions]
        sound = [writes for writes, fault in zip(transactions, faults, strict=True) if fault is None]
        outcomes = iter(await self._committer.submit_transactions(sound) if sound else ())
        return [fault if fault is not None else next(outcomes) for fault in faults]

    def _fault(self, writes: Sequence[Write]) -> StorageError | None:
        return check_transaction(
            writes,
            self._stores,
            writes_max=self.transaction_writes_max,
            bytes_max=self.config.batch_bytes_max,
            value_bytes_max=self.config.value_bytes_max,
        )

    async def new_lease(self, ttl_s: int) -> int:
        """An etcd lease; its keys go when it ends. Share one among many keys. Raises ``Unavailable``."""
        try:
            return await self.calls.grant(ttl_s)
        except grpc.aio.AioRpcError as failure:
            raise unavailable(failure) from failure

    async def compact(self, revision: int) -> None:
        """Forget history before ``revision``. Raises ``Expired`` (gone already), ``ResourceVersionTooLarge``."""
        try:
            await self.calls.compact(revision)
        except grpc.aio.AioRpcError as failure:
            raise _compaction_error(failure, revision) from failure

    async def status(self) -> EtcdStatus:
        """Asks every member. Raises ``Unavailable``."""
        try:
            return await self._health.status()
        except grpc.aio.AioRpcError as failure:
            raise unavailable(failure) from failure

    def start(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run a task that ends with the backend at the latest."""
        return self._tasks.start(work, name=name)

    async def __aenter__(self) -> EtcdBackend:
        await self._tasks.__aenter__()
        self.start(self._health.run(), name="etcd-health")
        self.start(self._committer.run(), name="etcd-commit")
        self.start(self._compaction.run(), name="etcd-compaction")
        self.start(self.bookmarks.run(), name="etcd-bookmarks")
        self.start(self._advance.run(), name="etcd-advance")
        return self

    async def __aexit__(self, *failure: object) -> None:
        try:
            await self._tasks.__aexit__(*failure)
        finally:
            await self._channel.close()


def _compaction_error(failure: grpc.aio.AioRpcError, revision: int) -> StorageError:
    error = read_failure(failure, revision)
    return error if isinstance(error, Expired | ResourceVersionTooLarge) else unavailable(failure)
