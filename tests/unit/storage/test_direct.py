"""A watch on a store without a cache: what it keeps, and what becomes of one that is not read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from services.api.selectors import EVERYTHING
from services.base.clock import FakeClock
from services.storage.backing import FeedBatch, FeedEntry
from services.storage.errors import SlowWatcher
from services.storage.etcd.direct import PATIENCE_S, UNREAD_BYTES_MAX, DirectWatcher
from services.storage.interface import WatchQuery
from services.storage.testing.world import attributes_of

PREFIX = "/ursa/events/"
VALUE = b"x" * 100_000


class Changing:
    """A feed of ``count`` changes of 100 kB each, one per revision from 2 on."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.given = 0

    async def run(self, revision: int) -> AsyncGenerator[FeedBatch, None]:
        while self.given < self.count:
            self.given += 1
            number = revision + self.given
            yield FeedBatch(number, [FeedEntry(f"{PREFIX}t/n/{number}", VALUE, number)])
            await asyncio.sleep(0)
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def watching(feed: Changing, clock: FakeClock) -> AsyncIterator[DirectWatcher]:
    backend: Any = SimpleNamespace(clock=clock, start=lambda work, name: asyncio.create_task(work, name=name))
    source: Any = feed
    query = WatchQuery(PREFIX, EVERYTHING, 1, initial_events=False)
    watcher = DirectWatcher(backend, attributes_of, query, None, 1, source)
    try:
        yield watcher
    finally:
        watcher.close()


async def test_what_was_read_is_not_kept() -> None:
    count = 300
    async with watching(Changing(count), FakeClock()) as watcher, asyncio.timeout(20):
        seen: list[int] = []
        while len(seen) < count:
            if (batch := watcher.take()) is not None:
                seen += [event.record.revision for event in batch.events]
            await asyncio.sleep(0)
        assert seen == list(range(2, 2 + count))
        ring = watcher._stream.ring
        assert (len(ring), len(ring.feed(f"{PREFIX}t/n/")), watcher._unread_bytes) == (0, 0, 0)


async def test_a_reader_that_is_behind_is_waited_for_and_misses_nothing() -> None:
    feed = Changing(500)
    most = UNREAD_BYTES_MAX // len(VALUE) + 1
    async with watching(feed, FakeClock()) as watcher, asyncio.timeout(20):
        seen: list[int] = []
        while len(seen) < feed.count:
            for _ in range(200):
                await asyncio.sleep(0)
            assert feed.given <= len(seen) + most
            batch = watcher.take()
            seen += [event.record.revision for event in batch.events] if batch is not None else []
        assert seen == list(range(2, 2 + feed.count))


async def test_a_reader_that_reads_nothing_is_ended_and_told_where_to_resume() -> None:
    clock = FakeClock()
    feed = Changing(500)
    async with watching(feed, clock) as watcher:
        while (first := watcher.take()) is None:
            await watcher.wait()
        for _ in range(200):
            await asyncio.sleep(0)
        await clock.advance(PATIENCE_S + 1)
        with pytest.raises(SlowWatcher) as slow:
            watcher.take()
        assert slow.value.resume_revision == first.revision
        assert feed.given < feed.count
