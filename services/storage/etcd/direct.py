"""A watch on a store without a cache: an etcd watch of its own, in front of it the same window as a cache has."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from services.storage.backing import FeedEntry
from services.storage.errors import Expired
from services.storage.etcd.feed import Feed
from services.storage.interface import AttributesOf, Record, WatchBatch, WatchQuery
from services.storage.items import Item
from services.storage.watchcache.ring import WindowBounds
from services.storage.watchcache.stream import Stream
from services.storage.watchcache.watcher import CacheWatcher, Start

if TYPE_CHECKING:
    from services.storage.etcd.backend import EtcdBackend


class DirectWatcher:
    """An ``interface.Watcher``. Old states come from etcd (``prev_kv``), so nothing but the window is kept here."""

    def __init__(
        self,
        backend: EtcdBackend,
        attributes_of: AttributesOf,
        query: WatchQuery,
        state: Sequence[Record] | None,
        revision: int,
        feed: Feed,
    ) -> None:
        self._attributes_of = attributes_of
        self._feed = feed
        self._stream = Stream(query.prefix, None, WindowBounds(), backend.clock)
        self._stream.restart(revision)
        start = Start(revision, self._stream.ring.end, after=revision, state=state)
        self._watcher = CacheWatcher(self._stream, query.prefix, query.selection, start, bookmarks=query.bookmarks)
        if query.bookmarks:
            backend.bookmarks.add(self._watcher)
        self._task: asyncio.Task[None] = backend.start(self._follow(revision), name=f"watch-{query.prefix}")

    def take(self, limit_bytes: int = 1 << 20) -> WatchBatch | None:
        return self._watcher.take(limit_bytes)

    async def wait(self) -> None:
        await self._watcher.wait()

    def set_wake(self, wake: Callable[[], None] | None) -> None:
        self._watcher.set_wake(wake)

    def catch_up(self) -> None:
        self._watcher.catch_up()

    def request_bookmark(self) -> None:
        self._watcher.request_bookmark()

    def close(self) -> None:
        self._watcher.close()
        self._task.cancel()

    async def _follow(self, revision: int) -> None:
        try:
            async with contextlib.aclosing(self._feed.run(revision)) as batches:
                async for batch in batches:
                    for entry in batch.entries:
                        self._push(entry)
                    self._stream.settle(batch.revision)
                    if self._watcher.closed:
                        return
        except Expired as gone:
            self._watcher.expire(gone.oldest, type(gone))

    def _push(self, entry: FeedEntry) -> None:
        old = self._item(entry.key, entry.previous, entry.previous_revision)
        new = self._item(entry.key, entry.value, entry.revision)
        if old is None and new is None:
            # A deletion whose old state is compacted away: what it means for a selection cannot be told.
            raise Expired(self._stream.revision, entry.revision)
        self._stream.push(entry.revision, old, new)

    def _item(self, key: str, value: bytes | None, revision: int) -> Item | None:
        return None if value is None else Item(key, value, revision, self._attributes_of)
