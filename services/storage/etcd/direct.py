"""A watch on a store without a cache: an etcd watch of its own, in front of it the same window as a cache has."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from services.base.tasks import first_of
from services.storage.backing import FeedEntry
from services.storage.errors import Expired, SlowWatcher
from services.storage.etcd.feed import Feed
from services.storage.interface import AttributesOf, Record, WatchBatch, WatchQuery
from services.storage.items import Change, Item
from services.storage.watchcache.ring import WindowBounds
from services.storage.watchcache.stream import Stream
from services.storage.watchcache.watcher import CacheWatcher, Start

if TYPE_CHECKING:
    from services.storage.etcd.backend import EtcdBackend


# What may be unread before no more is read from etcd, which then keeps it; and how long the reader has to go on.
UNREAD_BYTES_MAX = 8 << 20
PATIENCE_S = WindowBounds().span_s
_CHANGE_OVERHEAD_BYTES = 512


class DirectWatcher:
    """An ``interface.Watcher``. Old states come from etcd (``prev_kv``), so nothing but the window is kept here.

    The window is this watch's alone: what was read goes at once. Whoever comes back to many changes must have the time
    to read them, so it is only ended (``SlowWatcher``) if it reads nothing while ``UNREAD_BYTES_MAX`` wait.
    """

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
        self._clock = backend.clock
        self._unread_bytes = 0
        self._read = asyncio.Event()
        self._feed = feed
        self._stream = Stream(query.prefix, None, WindowBounds(), backend.clock)
        self._stream.restart(revision)
        start = Start(revision, self._stream.ring.end, after=revision, state=state)
        self._watcher = CacheWatcher(self._stream, query.prefix, query.selection, start, bookmarks=query.bookmarks)
        if query.bookmarks:
            backend.bookmarks.add(self._watcher)
        self._task: asyncio.Task[None] = backend.start(self._follow(revision), name=f"watch-{query.prefix}")

    def take(self, limit_bytes: int = 1 << 20) -> WatchBatch | None:
        batch = self._watcher.take(limit_bytes)
        read = self._stream.ring.forget(self._watcher.position)
        if read:
            self._unread_bytes -= sum(map(_size_bytes, read))
            self._read.set()
        return batch

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
                    if not self._watcher.closed and self._unread_bytes > UNREAD_BYTES_MAX:
                        await self._let_read()
                    if self._watcher.closed:
                        return
        except Expired as gone:
            self._watcher.expire(gone.oldest, type(gone))

    async def _let_read(self) -> None:
        """Until few enough bytes are unread, or the reader has read none for too long, which ends the watch."""
        while self._unread_bytes > UNREAD_BYTES_MAX and not self._watcher.closed:
            self._read.clear()
            await first_of(self._read.wait(), self._clock.sleep(PATIENCE_S))
            if not self._read.is_set() and not self._watcher.closed:
                self._watcher.fail(SlowWatcher(self._watcher.resume_revision))

    def _push(self, entry: FeedEntry) -> None:
        old = self._item(entry.key, entry.previous, entry.previous_revision)
        new = self._item(entry.key, entry.value, entry.revision)
        if old is None and new is None:
            # A deletion whose old state is compacted away: what it means for a selection cannot be told.
            raise Expired(self._stream.revision, entry.revision)
        change = self._stream.push(entry.revision, old, new)
        self._unread_bytes += _size_bytes(change)

    def _item(self, key: str, value: bytes | None, revision: int) -> Item | None:
        return None if value is None else Item(key, value, revision, self._attributes_of)


def _size_bytes(change: Change) -> int:
    old, new = change.old, change.new
    return _CHANGE_OVERHEAD_BYTES + (len(old.value) if old else 0) + (len(new.value) if new else 0)
