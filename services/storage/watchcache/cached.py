"""``CachedStore``: a store in memory, kept up to date by one watch, before a store that keeps the truth.

A state machine of two states: *list* the collection at a revision, then *watch* from there; a watch whose history is
gone leads back to the list, and the replaced collection appears at once. Freshness is SEMANTICS.md's "Consistent
reads from the cache" (KEP-2340).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence

from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor, first_end, first_of
from services.storage.backing import Backing
from services.storage.errors import (
    Expired,
    HistoryReplaced,
    KeyNotFound,
    ResourceVersionTooLarge,
    StorageError,
    Unavailable,
)
from services.storage.interface import (
    AttributesOf,
    ListQuery,
    Page,
    Record,
    Watcher,
    WatchQuery,
    Write,
)
from services.storage.items import Item
from services.storage.queries import Freshness, plan_list, plan_watch, wants_state
from services.storage.watchcache import metrics
from services.storage.watchcache.audit import Audit, CacheDiffers
from services.storage.watchcache.bookmarks import PERIOD_S, Bookmarks
from services.storage.watchcache.progress import Progress
from services.storage.watchcache.readiness import Readiness
from services.storage.watchcache.ring import WindowBounds
from services.storage.watchcache.scans import Scans, Turns
from services.storage.watchcache.sharing import NextCall
from services.storage.watchcache.view import View

_log = logging.getLogger(__name__)

WAIT_S_MAX = 3.0
_PATIENCE_S = 0.005  # what changed in this collection arrives by itself within a few ms
_ASK_AGAIN_S = 0.1
_PAGE_RECORDS = 2_000


class CachedStore:
    """A ``ResourceStore``. Run it (``running()``, or ``run()`` under a supervisor) to have it follow ``backing``.

    ``index``: the selectable field whose ``=`` selections (list, watch) are looked up instead of scanned for.
    ``turns``: shared by all stores of the process, whose long scans go on one slice at a time.
    """

    def __init__(
        self,
        backing: Backing,
        *,
        prefix: str,
        attributes_of: AttributesOf,
        clock: Clock,
        rand: Rand,
        index: str | None = None,
        window: WindowBounds | None = None,
        bookmark_period_s: float = PERIOD_S,
        turns: Turns | None = None,
    ) -> None:
        self._backing = backing
        self._prefix = prefix
        self._clock = clock
        self._rand = rand
        self.view = View(prefix, attributes_of, index, window or WindowBounds(), clock)
        self._scans = Scans(self.view, turns or Turns(clock))
        self._progress = Progress()
        self._readiness = Readiness(clock)
        self._bookmarks = Bookmarks(clock, rand, bookmark_period_s)
        self.audit = Audit(self.view, backing, clock, rand, self._catch_up)
        self._quorum: NextCall[int] = NextCall(backing.current_revision)
        self._fallen = asyncio.Event()
        self._fallen_to = 0
        self._resource = prefix.strip("/").rpartition("/")[2]

    # -- life

    @property
    def ready(self) -> bool:
        return self._readiness.ready

    async def wait_ready(self) -> None:
        await self._readiness.wait()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[CachedStore]:
        """Follow the backing store inside the block; ``ready`` turns true when the first list is in."""
        async with Supervisor() as tasks:
            tasks.start(self.run(), name=f"watch-cache-{self._resource}")
            yield self

    async def run(self) -> None:
        """Follow the backing store for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._bookmarks.run(), name=f"bookmarks-{self._resource}")
            tasks.create_task(self._follow(), name=f"follow-{self._resource}")

    async def _follow(self) -> None:
        backoff = Backoff(self._rand, initial_s=0.05, maximum_s=5.0)
        voided: type[Expired] | None = None
        while True:
            try:
                await self._load(voided)
                voided = None
                backoff.reset()
                await self._watch_backing()
            except HistoryReplaced as gone:
                voided = HistoryReplaced
                _log.error("%s: listing again, every watch ends: %s", self._prefix, gone)
            except Expired as gone:
                _log.warning("%s: the watched history is gone, listing again: %s", self._prefix, gone)
            except CacheDiffers as failure:
                voided = Expired
                _log.error("%s: listing again, every watch ends: %s", self._prefix, failure)
            except StorageError as failure:
                _log.warning("%s: the cache cannot be filled: %s", self._prefix, failure)
            await self._clock.sleep(backoff.next())

    async def _load(self, voided: type[Expired] | None) -> None:
        records, revision = await self._read_all()
        if revision < self.view.revision:
            voided = HistoryReplaced
        self.view.replace(records, revision, voided=voided)
        self._fallen.clear()
        self._progress.reached(revision)
        self._readiness.set_ready()
        metrics.INITIALIZATIONS.labels(self._resource).inc()
        _log.info("%s: %d records at revision %d", self._prefix, len(records), revision)

    async def _read_all(self) -> tuple[list[Item], int]:
        items: list[Item] = []
        revision = 0
        async with contextlib.aclosing(self._backing.pages(_PAGE_RECORDS)) as pages:
            async for page in pages:
                items.extend(map(self.view.item, page.records))
                revision = page.revision
        return items, revision

    async def _watch_backing(self) -> None:
        """Take in changes until the history is gone or replaced, or the audit finds a difference (all raise)."""
        await first_end(self._take_in(), self.audit.run(), self._end_with_history())

    async def _end_with_history(self) -> None:
        """A reader may learn of a replaced history before the feed does, which waits for its next connection."""
        await self._fallen.wait()
        raise HistoryReplaced(self.view.revision, self._fallen_to)

    async def _take_in(self) -> None:
        async with contextlib.aclosing(self._backing.feed(self.view.revision, self.audit.agrees)) as feed:
            async for batch in feed:
                self.view.apply(batch.revision, batch.entries)
                self._progress.reached(self.view.revision)
                self._count(len(batch.entries))

    def _count(self, entries: int) -> None:
        metrics.EVENTS_RECEIVED.labels(self._resource).inc(entries)
        metrics.REVISION.labels(self._resource).set(self.view.revision)
        metrics.CAPACITY.labels(self._resource).set(self.view.stream.ring.capacity)

    # -- freshness

    async def _fresh(self) -> bool:
        """The cache holds everything that was written before this call. Raises ``Unavailable``."""
        reached = await self._catch_up()
        metrics.CONSISTENT_READS.labels(self._resource, str(reached).lower()).inc()
        return reached

    async def _catch_up(self) -> bool:
        """Reach what the store has now. Raises ``Unavailable``."""
        seen = self.view.revision
        current = await self._quorum()
        # What was seen before the read began is in any history that goes on. The cache itself may go on meanwhile, or
        # have listed a replaced history already.
        if current < seen <= self.view.revision:
            self._fallen_to = current
            self._fallen.set()
            return False
        return await self._reach(current)

    async def _reach(self, revision: int) -> bool:
        """Wait at most ``WAIT_S_MAX`` for ``revision``, asking the backing store for progress."""
        if self.view.revision >= revision:
            return True
        # One waiter for the whole wait, however often progress is asked for.
        with self._progress.waiting(revision) as reached:
            await first_of(asyncio.shield(reached), self._clock.sleep(_PATIENCE_S))
            deadline_s = self._clock.monotonic() + WAIT_S_MAX
            while not reached.done() and self._clock.monotonic() < deadline_s:
                with contextlib.suppress(StorageError):
                    await self._backing.request_progress(revision)
                await first_of(asyncio.shield(reached), self._clock.sleep(_ASK_AGAIN_S))
            return reached.done()

    async def _must_reach(self, revision: int) -> None:
        if not await self._reach(revision):
            raise ResourceVersionTooLarge(revision, self.view.revision)

    # -- reads

    async def get(self, key: str, revision: int | None = None) -> Record:
        if revision is None or not self.ready:
            return await self._backing.get(key, revision)
        if revision:
            await self._must_reach(revision)
        record = self.peek(key)
        if record is None:
            raise KeyNotFound(key)
        return record

    def peek(self, key: str) -> Record | None:
        return self.view.state.items.get(key)

    async def list(self, query: ListQuery) -> Page:
        plan = plan_list(query)
        if not self.ready:
            return await self._backing.list(query)
        if plan.freshness is Freshness.EXACT:
            return await self._list_exactly(query, plan.revision)
        if plan.freshness is Freshness.AT_LEAST:
            await self._must_reach(plan.revision)
        elif plan.freshness is Freshness.RECENT and not await self._fresh():
            return await self._backing.list(query)
        return await self._scans.page(query)

    async def _list_exactly(self, query: ListQuery, revision: int) -> Page:
        if not await self._reach(revision) and await self._quorum() < revision:
            raise ResourceVersionTooLarge(revision, self.view.revision)
        if self.view.floor <= revision <= self.view.revision:
            with contextlib.suppress(Expired):  # it may fall out of the window while the scan waits for its turn
                return await self._scans.page_at(query, revision)
        return await self._backing.list(query)

    def count(self, prefix: str) -> int:
        return self.view.state.count(prefix)

    async def watch(self, query: WatchQuery) -> Watcher:
        plan = plan_watch(query)
        if not self.ready:
            raise Unavailable(f"the watch cache of {self._resource} is initialising", self._readiness.retry_after_s)
        if plan.freshness is Freshness.AT_LEAST:
            await self._must_reach(plan.revision)
        elif plan.freshness is Freshness.RECENT and not await self._fresh() and wants_state(query):
            raise Unavailable(f"the watch cache of {self._resource} lags behind its store")
        watcher = await self._scans.watch(query)
        if query.bookmarks:
            self._bookmarks.add(watcher)
        return watcher

    # -- writes

    async def write(self, write: Write) -> Record | None:
        return await self._backing.write(write)

    async def write_batch(self, writes: Sequence[Write]) -> Sequence[Record | Exception | None]:
        return await self._backing.write_batch(writes)
