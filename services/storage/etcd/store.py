"""One resource in etcd: the truth itself, without a cache. A ``Backing`` for one."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from services.storage.backing import FeedBatch
from services.storage.checks import check_distinct, check_write
from services.storage.digests import Digest
from services.storage.errors import Expired, KeyNotFound, ResourceVersionTooLarge, StorageError
from services.storage.etcd import requests
from services.storage.etcd.direct import DirectWatcher
from services.storage.etcd.failures import read_failure
from services.storage.etcd.feed import Feed
from services.storage.etcd.markers import write_markers
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
from services.storage.queries import Freshness, Plan, plan_list, plan_watch, range_end, wants_state
from services.storage.watchcache.sharing import NextCall

if TYPE_CHECKING:
    from services.storage.etcd.backend import EtcdBackend

WAIT_S_MAX = 3.0
_ASK_AGAIN_S = 0.1
_PAGE_KEYS_MIN, _PAGE_KEYS_MAX = 500, 10_000
_PAGE_KEYS_SMALLEST = 16
_PAGE_BYTES = 6 << 20


class EtcdStore:
    """``EtcdBackend.store`` makes it. ``prefix``: ``/ursa/<resource>/``.

    Every watch here is an etcd watch of its own: meant for kinds that are not cached because few people watch them.
    """

    def __init__(self, backend: EtcdBackend, prefix: str, attributes_of: AttributesOf) -> None:
        self._backend = backend
        self._calls = backend.calls
        self._clock = backend.clock
        self._prefix = prefix
        self._attributes_of = attributes_of
        # The marker lies inside what is watched and outside what is listed: [/ursa/pods., /ursa/pods0).
        self.marker_key = f"{prefix[:-1]}.sync".encode()
        self.feeds: set[Feed] = set()
        self._marked = 0
        self._mark: NextCall[int] = NextCall(self._write_marker)
        self._counts: dict[str, int] = {}

    @property
    def ready(self) -> bool:
        return self._backend.ready

    # -- reads

    async def get(self, key: str, revision: int | None = None) -> Record:
        request = requests.range_of(key.encode(), b"", serializable=revision == 0)
        response = await self._range(request)
        if revision and response.header.revision < revision:
            await self._wait_for(revision)
            response = await self._range(request)
        if not response.kvs:
            raise KeyNotFound(key)
        return self._item(response.kvs[0])

    def peek(self, key: str) -> Record | None:
        del key
        return None

    def count(self, prefix: str) -> int:
        """As of the last list of ``prefix``."""
        return self._counts.get(prefix, 0)

    async def list(self, query: ListQuery) -> Page:
        plan = plan_list(query)
        if plan.freshness in (Freshness.AT_LEAST, Freshness.EXACT):
            await self._wait_for(plan.revision)
        try:
            return await self._list(query, plan)
        except Expired as gone:
            raise Expired(gone.revision, gone.oldest, query.start_key) from gone

    async def _list(self, query: ListQuery, plan: Plan) -> Page:
        """Pages of growing size, all at the first one's revision, until the wanted records are found."""
        start = query.start_key + "\0" if query.start_key else query.prefix
        end = range_end(query.prefix).encode()
        revision = plan.revision if plan.freshness is Freshness.EXACT else 0
        # One more than asked for: whether a token is worth giving depends on a next record that matches.
        wanted = query.limit + 1 if query.limit else 0
        size = _first_page(query)
        records: list[Item] = []
        total = -1
        while True:
            request = requests.range_of(
                start.encode(), end, revision=revision, limit=size, serializable=plan.freshness is Freshness.ANY
            )
            response = await self._range(request, revision)
            revision = revision or response.header.revision
            total = response.count if total < 0 else total
            records.extend(_select(map(self._item, response.kvs), query, wanted - len(records) if wanted else None))
            if not response.more or (wanted and len(records) >= wanted):
                break
            start = response.kvs[-1].key.decode() + "\0"
            size = min(_PAGE_KEYS_MAX, size * 2)
        if not query.start_key:
            self._counts[query.prefix] = total
        return _page(query, records, revision, total)

    async def pages(self, records_max: int) -> AsyncGenerator[Page, None]:
        """Few large reads, since etcd counts the whole rest of the range in each; handed on in small parts."""
        end = range_end(self._prefix).encode()
        keys = _PAGE_KEYS_MIN
        response = await self._range(requests.range_of(self._prefix.encode(), end, limit=keys))
        revision = int(response.header.revision)
        while response.more:
            keys = _next_page(keys, response)
            request = requests.range_of(response.kvs[-1].key + b"\0", end, revision=revision, limit=keys)
            # etcd reads the next page while this one is worked on.
            following = self._calls.begin_range(request)
            try:
                async for page in self._parts(response, revision, records_max):
                    yield page
                response = await following
            except grpc.aio.AioRpcError as failure:
                raise read_failure(failure, revision) from failure
            finally:
                following.cancel()
        async for page in self._parts(response, revision, records_max):
            yield page

    async def _parts(self, response: Any, revision: int, records_max: int) -> AsyncGenerator[Page, None]:
        kvs = list(response.kvs)
        for start in range(0, max(1, len(kvs)), records_max):
            yield Page([self._item(kv) for kv in kvs[start : start + records_max]], revision, False, None)
            await self._clock.sleep(0)  # others have their turn

    def _item(self, kv: Any) -> Item:
        return Item(kv.key.decode(), kv.value, kv.mod_revision, self._attributes_of)

    async def _range(self, request: Any, revision: int = 0) -> Any:
        try:
            return await self._calls.range(request)
        except grpc.aio.AioRpcError as failure:
            raise read_failure(failure, revision) from failure

    async def _wait_for(self, revision: int) -> None:
        deadline_s = self._clock.monotonic() + WAIT_S_MAX
        while (current := await self.current_revision()) < revision:
            if self._clock.monotonic() >= deadline_s:
                raise ResourceVersionTooLarge(revision, current)
            await self._clock.sleep(_ASK_AGAIN_S)

    # -- watches

    async def watch(self, query: WatchQuery) -> Watcher:
        plan = plan_watch(query)
        if plan.freshness is Freshness.AT_LEAST:
            await self._wait_for(plan.revision)
        state: Sequence[Record] | None = None
        revision = query.revision or 0
        if wants_state(query):
            page = await self.list(ListQuery(query.prefix, query.selection, None if query.revision is None else 0))
            state, revision = page.records, page.revision
        elif not revision:
            revision = await self.current_revision()
        else:
            await self._check_kept(revision)
        feed = self._make_feed(query.prefix, previous=True)
        return DirectWatcher(self._backend, self._attributes_of, query, state, revision, feed)

    async def _check_kept(self, revision: int) -> None:
        """A watch below etcd's oldest revision is refused now, not after it was accepted. Raises ``Expired``."""
        request = requests.range_of(self.marker_key, b"", revision=revision, count_only=True)
        with contextlib.suppress(ResourceVersionTooLarge):  # in the future: the watch waits for it
            await self._range(request, revision)

    def _make_feed(self, prefix: str, *, previous: bool = False) -> Feed:
        """A feed of the whole resource sees the marker as well; in a part of it there is no place for one."""
        first = f"{prefix[:-1]}." if prefix == self._prefix else prefix
        return Feed(
            self._calls,
            first.encode(),
            range_end(prefix).encode(),
            clock=self._clock,
            rand=self._backend.rand,
            current_revision=self.current_revision,
            progress_trusted=lambda: self._backend.progress_trusted,
            start=self._backend.start,
            previous=previous,
            only=prefix,
            running=self.feeds,
        )

    # -- writes

    async def write(self, write: Write) -> Record | None:
        outcome = (await self.write_batch((write,)))[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def write_batch(self, writes: Sequence[Write]) -> Sequence[Record | Exception | None]:
        check_distinct(writes)
        limit = self._backend.config.value_bytes_max
        faults: list[StorageError | None] = [check_write(write, self._prefix, limit) for write in writes]
        sound = [write for write, fault in zip(writes, faults, strict=True) if fault is None]
        outcomes = iter(await self._backend.commit(sound) if sound else ())
        return [fault if fault is not None else next(outcomes) for fault in faults]

    # -- what a cache in front needs

    async def current_revision(self) -> int:
        response = await self._range(requests.range_of(self.marker_key, b"", count_only=True))
        revision = int(response.header.revision)
        self._forget_markers_above(revision)
        return revision

    def feed(
        self, revision: int, prove: Callable[[], Awaitable[bool]] | None = None
    ) -> AsyncGenerator[FeedBatch, None]:
        return self._make_feed(self._prefix).run(revision, prove)

    async def request_progress(self, revision: int) -> None:
        if self._backend.progress_trusted:
            for feed in tuple(self.feeds):
                if feed.position < revision:
                    await feed.request_progress()
        elif self._marked < revision:
            self._marked = await self._mark()

    def wants_marker(self, current: int) -> bool:
        """A feed that sees markers is behind ``current``, the revision etcd has, and no marker is on its way to it."""
        self._forget_markers_above(current)
        return self._marked < current and any(
            feed.position < current and feed.only == self._prefix for feed in self.feeds
        )

    def marked(self, revision: int) -> None:
        """A marker was written."""
        self._marked = revision

    def _forget_markers_above(self, current: int) -> None:
        # They were of a history that was replaced; or of this moment, then one more does no harm.
        self._marked = min(self._marked, current)

    async def _write_marker(self) -> int:
        return (await write_markers(self._calls, (self.marker_key,)))[0]

    async def digest(self, revision: int) -> str:
        digest = Digest()
        start, end = self._prefix.encode(), range_end(self._prefix).encode()
        while True:
            request = requests.range_of(start, end, revision=revision, limit=_PAGE_KEYS_MAX, keys_only=True)
            response = await self._range(request, revision)
            digest.add((kv.key.decode(), kv.mod_revision) for kv in response.kvs)
            if not response.more:
                return digest.text()
            start = response.kvs[-1].key + b"\0"


def _select(items: Iterable[Item], query: ListQuery, wanted: int | None) -> Iterator[Item]:
    """At most ``wanted`` of the items that match."""
    if not query.selection.everything:
        items = (item for item in items if query.selection.matches(item.attributes))
    return itertools.islice(items, wanted)


def _next_page(keys: int, response: Any) -> int:
    """How many keys to ask for next: about ``_PAGE_BYTES``, as this page suggests, and not all at once."""
    mean_bytes = int(response.ByteSize()) // len(response.kvs) + 1
    return max(_PAGE_KEYS_SMALLEST, min(_PAGE_KEYS_MAX, keys * 4, _PAGE_BYTES // mean_bytes))


def _first_page(query: ListQuery) -> int:
    if query.limit and query.selection.everything:
        return query.limit + 1
    return _PAGE_KEYS_MAX if query.selection.everything else max(_PAGE_KEYS_MIN, query.limit + 1)


def _page(query: ListQuery, records: list[Item], revision: int, total: int) -> Page:
    """``records`` holds one more than the limit if there is one more."""
    more = bool(query.limit) and len(records) > query.limit
    kept = records[: query.limit] if more else records
    remaining = max(0, total - len(kept)) if query.selection.everything else None
    return Page(kept, revision, more, remaining)
