"""The memory backend: the same promises as etcd, kept in one process, for tests and for kinds that need not survive."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from services.api.selectors import EVERYTHING
from services.base.clock import Clock, SystemClock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.storage.backing import FeedBatch, FeedEntry
from services.storage.checks import (
    VALUE_BYTES_MAX,
    check_distinct,
    check_transaction,
    check_write,
    transaction_failure,
)
from services.storage.digests import Digest
from services.storage.errors import (
    Expired,
    KeyExists,
    KeyNotFound,
    PreconditionFailed,
    ResourceVersionTooLarge,
    SlowWatcher,
    StorageError,
    Unavailable,
)
from services.storage.interface import (
    AttributesOf,
    EventType,
    ListQuery,
    Page,
    Record,
    Watcher,
    WatchQuery,
    Write,
)
from services.storage.queries import Freshness, plan_list, plan_watch
from services.storage.watchcache.bookmarks import PERIOD_S, Bookmarks
from services.storage.watchcache.progress import Progress
from services.storage.watchcache.ring import WindowBounds
from services.storage.watchcache.scans import Scans, Turns
from services.storage.watchcache.view import View
from services.storage.watchcache.watcher import CacheWatcher

WAIT_S_MAX = 3.0
TRANSACTION_WRITES_MAX = 4096
TRANSACTION_BYTES_MAX = VALUE_BYTES_MAX + (64 << 10)


class MemoryBackend:
    """One revision counter for all its stores, as one etcd has. Works without being entered, save for bookmarks.

    ``available`` False makes every operation fail with ``Unavailable``: an outage, for tests.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        rand: Rand | None = None,
        window: WindowBounds | None = None,
        bookmark_period_s: float = PERIOD_S,
    ) -> None:
        self.clock = clock or SystemClock()
        self.available = True
        self.progress = Progress()
        self.progress.reached(1)
        self.bookmarks = Bookmarks(self.clock, rand or Rand(), bookmark_period_s)
        self.turns = Turns(self.clock)
        self._window = window or WindowBounds()
        self._stores: dict[str, MemoryStore] = {}
        self._leases = itertools.count(1)
        self._tasks = Supervisor()

    @property
    def revision(self) -> int:
        return self.progress.revision

    @property
    def ready(self) -> bool:
        return self.available

    def store(self, prefix: str, attributes_of: AttributesOf) -> MemoryStore:
        """The store of one resource; the same one for the same prefix."""
        if prefix not in self._stores:
            view = View(prefix, attributes_of, None, self._window, self.clock)
            view.replace((), self.revision)
            self._stores[prefix] = MemoryStore(self, view)
        return self._stores[prefix]

    async def read(self, keys: Sequence[str]) -> Sequence[Record | None]:
        self._check_available()
        return [self._store_of(key).peek(key) for key in keys]

    @property
    def transaction_writes_max(self) -> int:
        return TRANSACTION_WRITES_MAX

    async def transact(self, writes: Sequence[Write]) -> Sequence[Record | None]:
        self._check_available()
        fault = check_transaction(
            writes, self._stores, writes_max=TRANSACTION_WRITES_MAX, bytes_max=TRANSACTION_BYTES_MAX
        )
        if fault is not None:
            raise fault
        stores = [self._store_of(write.key) for write in writes]
        pairs = list(zip(writes, stores, strict=True))
        failure = transaction_failure(writes, [store.peek(write.key) for write, store in pairs])
        if failure is not None:
            raise failure
        revision = self.revision + 1
        for store in dict.fromkeys(stores):
            store.apply(revision, [write for write, its in pairs if its is store])
        self.progress.reached(revision)
        return [store.peek(write.key) for write, store in pairs]

    async def transact_batch(
        self, transactions: Sequence[Sequence[Write]]
    ) -> Sequence[Sequence[Record | None] | Exception]:
        self._check_available()
        outcomes: list[Sequence[Record | None] | Exception] = []
        for writes in transactions:
            try:
                outcomes.append(await self.transact(writes))
            except StorageError as failure:
                outcomes.append(failure)
        return outcomes

    def _store_of(self, key: str) -> MemoryStore:
        return next(store for prefix, store in self._stores.items() if key.startswith(prefix))

    def _check_available(self) -> None:
        if not self.available:
            raise Unavailable("the memory backend was made unavailable")

    async def new_lease(self, ttl_s: int) -> int:
        """A lease id. Keys do not expire here: nothing outlives the process anyway."""
        del ttl_s
        return next(self._leases)

    async def compact(self, revision: int) -> None:
        """Forget history before ``revision``. Raises ``Expired`` if it is gone already, ``ResourceVersionTooLarge``."""
        if revision > self.revision:
            raise ResourceVersionTooLarge(revision, self.revision)
        for store in self._stores.values():
            store.compact(revision)

    async def __aenter__(self) -> MemoryBackend:
        await self._tasks.__aenter__()
        self._tasks.start(self.bookmarks.run(), name="memory-bookmarks")
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._tasks.__aexit__(*failure)


class MemoryStore:
    """A ``Backing``: ``MemoryBackend.store`` makes it."""

    def __init__(self, backend: MemoryBackend, view: View) -> None:
        self._backend = backend
        self._view = view
        self._scans = Scans(view, backend.turns)
        self._feeds: set[CacheWatcher] = set()

    @property
    def ready(self) -> bool:
        return self._backend.ready

    # -- reads

    async def get(self, key: str, revision: int | None = None) -> Record:
        self._check_available()
        if revision:
            await self._at_least(revision)
        record = self.peek(key)
        if record is None:
            raise KeyNotFound(key)
        return record

    def peek(self, key: str) -> Record | None:
        return self._view.state.items.get(key)

    async def list(self, query: ListQuery) -> Page:
        plan = plan_list(query)
        self._check_available()
        if plan.freshness in (Freshness.AT_LEAST, Freshness.EXACT):
            await self._at_least(plan.revision)
        self._settle()
        if plan.freshness is not Freshness.EXACT:
            return await self._scans.page(query)
        try:
            return await self._scans.page_at(query, plan.revision)
        except Expired as gone:
            raise Expired(gone.revision, gone.oldest, query.start_key) from None

    def count(self, prefix: str) -> int:
        return self._view.state.count(prefix)

    async def watch(self, query: WatchQuery) -> Watcher:
        plan = plan_watch(query)
        self._check_available()
        if plan.freshness is Freshness.AT_LEAST:
            await self._at_least(plan.revision)
        self._settle()
        watcher = await self._scans.watch(query)
        if query.bookmarks:
            self._backend.bookmarks.add(watcher)
        return watcher

    async def _at_least(self, revision: int) -> None:
        if not await self._backend.progress.within(WAIT_S_MAX, revision, self._backend.clock):
            raise ResourceVersionTooLarge(revision, self._backend.revision)

    def _settle(self) -> None:
        self._view.apply(self._backend.revision, ())

    def _check_available(self) -> None:
        self._backend._check_available()

    # -- writes

    async def write(self, write: Write) -> Record | None:
        outcome = (await self.write_batch((write,)))[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def write_batch(self, writes: Sequence[Write]) -> Sequence[Record | Exception | None]:
        """All writes of a batch share one revision."""
        check_distinct(writes)
        self._check_available()
        revision = self._backend.revision + 1
        failures = [self._refusal(write) for write in writes]
        entries = [
            FeedEntry(write.key, write.value, revision)
            for write, failure in zip(writes, failures, strict=True)
            if failure is None
        ]
        if entries:
            self._view.apply(revision, entries)
            self._backend.progress.reached(revision)
        return [failure or self.peek(write.key) for write, failure in zip(writes, failures, strict=True)]

    def apply(self, revision: int, writes: Sequence[Write]) -> None:
        """The part of ``MemoryBackend.transact`` that is in this collection."""
        self._view.apply(revision, [FeedEntry(write.key, write.value, revision) for write in writes])

    def _refusal(self, write: Write) -> StorageError | None:
        fault = check_write(write, self._view.prefix, VALUE_BYTES_MAX)
        if fault is not None:
            return fault
        current = self._view.state.items.get(write.key)
        if write.value is None and current is None:
            return KeyNotFound(write.key)
        if write.expected_revision is None:
            return None
        if current is not None and write.expected_revision == 0:
            return KeyExists(write.key, current)
        if (current.revision if current is not None else 0) != write.expected_revision:
            return PreconditionFailed(write.key, current)
        return None

    # -- what a cache in front needs

    async def current_revision(self) -> int:
        self._check_available()
        return self._backend.revision

    async def pages(self, records_max: int) -> AsyncGenerator[Page, None]:
        page = await self.list(ListQuery(self._view.prefix, EVERYTHING))
        for start in range(0, max(1, len(page.records)), records_max):
            yield Page(page.records[start : start + records_max], page.revision, False, None)

    async def request_progress(self, revision: int) -> None:
        del revision
        self._settle()
        for watcher in self._feeds:
            watcher.request_bookmark()

    async def feed(
        self, revision: int, prove: Callable[[], Awaitable[bool]] | None = None
    ) -> AsyncGenerator[FeedBatch, None]:
        del prove  # this feed never breaks
        self._settle()
        watcher = self._view.watch(WatchQuery(self._view.prefix, EVERYTHING, revision, initial_events=False))
        self._feeds.add(watcher)
        try:
            while True:
                batch = watcher.take()
                if batch is None:
                    await watcher.wait()
                    continue
                entries = [
                    FeedEntry(
                        event.record.key,
                        None if event.type is EventType.DELETED else event.record.value,
                        event.record.revision,
                    )
                    for event in batch.events
                ]
                yield FeedBatch(batch.revision, entries)
        except SlowWatcher as slow:
            raise Expired(slow.resume_revision, self._view.floor) from slow
        finally:
            self._feeds.discard(watcher)
            watcher.close()

    async def digest(self, revision: int) -> str:
        page = await self.list(ListQuery(self._view.prefix, EVERYTHING, revision))
        digest = Digest()
        digest.add((record.key, record.revision) for record in page.records)
        return digest.text()

    def compact(self, revision: int) -> None:
        """``MemoryBackend.compact`` for this store."""
        self._settle()
        self._view.compact(revision)


__all__ = ["MemoryBackend", "MemoryStore"]
