"""Bookmarks come by themselves about once a minute, after the events, to those who asked for them."""

from __future__ import annotations

import asyncio

from services.api.selectors import EVERYTHING
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.storage.interface import WatchQuery, Write
from services.storage.memory import MemoryBackend
from services.storage.testing.world import attributes_of, pod

PREFIX = "/ursa/pods/"


async def test_a_quiet_watch_gets_one_within_a_minute_that_carries_the_position() -> None:
    clock = FakeClock()
    async with MemoryBackend(clock=clock, rand=Rand(1)) as backend:
        store = backend.store(PREFIX, attributes_of)
        told = await store.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False, bookmarks=True))
        untold = await store.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False))
        assert (told.take(), untold.take()) == (None, None)
        await store.write(Write(PREFIX + "a/n/x", pod("x"), 0))
        await clock.advance(1.0)
        events, nothing = told.take(), told.take()
        assert events is not None and not events.bookmark
        assert nothing is None
        await clock.advance(60.0)
        mark = told.take()
        assert mark is not None
        assert (mark.bookmark, mark.revision, list(mark.events)) == (True, backend.revision, [])
        assert told.take() is None
        await clock.advance(61.0)
        again = told.take()
        assert again is not None and again.bookmark
        while (batch := untold.take()) is not None:
            assert not batch.bookmark


async def test_a_bookmark_never_overtakes_an_event() -> None:
    clock = FakeClock()
    async with MemoryBackend(clock=clock, rand=Rand(1)) as backend:
        store = backend.store(PREFIX, attributes_of)
        watcher = await store.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False, bookmarks=True))
        assert watcher.take() is None
        watcher.request_bookmark()
        await store.write(Write(PREFIX + "a/n/x", pod("x"), 0))
        await asyncio.sleep(0)
        kinds = []
        for _ in range(8):
            await asyncio.sleep(0)
            while (batch := watcher.take()) is not None:
                kinds.append((batch.bookmark, batch.revision))
        assert kinds == [(False, 2), (True, 2)]


async def test_watches_that_open_together_are_told_in_an_even_flow() -> None:
    clock = FakeClock()
    async with MemoryBackend(clock=clock, rand=Rand(1)) as backend:
        store = backend.store(PREFIX, attributes_of)
        query = WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False, bookmarks=True)
        watches = [await store.watch(query) for _ in range(600)]
        assert [watch.take() for watch in watches] == [None] * 600
        counts = []
        for _ in range(12):
            await clock.advance(10.0)
            counts.append(sum(watch.take() is not None for watch in watches))
        assert sum(counts[:6]) >= 600, "one within the first minute for each"
        assert max(counts) <= 2 * 600 / 6, counts
