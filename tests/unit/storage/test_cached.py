"""The cache before a store that fails, forgets and differs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from services.api.selectors import EVERYTHING
from services.base.clock import FakeClock, SystemClock
from services.base.rand import Rand
from services.storage.errors import Expired, HistoryReplaced, Unavailable, Undecodable
from services.storage.interface import ListQuery, Match, WatchQuery, Write
from services.storage.items import Item
from services.storage.memory import MemoryBackend
from services.storage.testing.world import attributes_of, next_events, pod, selection
from services.storage.watchcache import CachedStore, audit, metrics
from services.storage.watchcache.sharing import NextCall
from tests.support.eventually import eventually

PREFIX = "/ursa/pods/"


def _cached(backend: MemoryBackend) -> CachedStore:
    backing = backend.store(PREFIX, attributes_of)
    return CachedStore(backing, prefix=PREFIX, attributes_of=attributes_of, clock=SystemClock(), rand=Rand(1))


@contextlib.asynccontextmanager
async def _running(backend: MemoryBackend) -> AsyncIterator[CachedStore]:
    async with _cached(backend).running() as cached:
        await cached.wait_ready()
        yield cached


async def test_until_its_first_list_reads_go_to_the_store_and_watches_are_refused() -> None:
    backend = MemoryBackend()
    cached = _cached(backend)
    await backend.store(PREFIX, attributes_of).write(Write(PREFIX + "a/n/x", pod("x"), 0))
    assert not cached.ready
    assert (await cached.get(PREFIX + "a/n/x")).revision == 2
    assert len((await cached.list(ListQuery(PREFIX, EVERYTHING))).records) == 1
    with pytest.raises(Unavailable) as caught:
        await cached.watch(WatchQuery(PREFIX, EVERYTHING))
    assert 1.0 <= caught.value.retry_after_s <= 30.0


async def test_a_store_that_is_down_at_the_start_is_waited_for() -> None:
    backend = MemoryBackend()
    backend.available = False
    async with _cached(backend).running() as cached:
        for _ in range(10):
            await asyncio.sleep(0)
        assert not cached.ready
        backend.available = True
        async with asyncio.timeout(10):
            await cached.wait_ready()


async def test_while_the_store_is_down_any_age_is_served_and_most_recent_is_not() -> None:
    backend = MemoryBackend()
    async with _running(backend) as cached:
        record = await cached.write(Write(PREFIX + "a/n/x", pod("x"), 0))
        await cached.list(ListQuery(PREFIX, EVERYTHING))
        backend.available = False
        assert await cached.get(PREFIX + "a/n/x", 0) == record
        assert list((await cached.list(ListQuery(PREFIX, EVERYTHING, 0))).records) == [record]
        with pytest.raises(Unavailable):
            await cached.list(ListQuery(PREFIX, EVERYTHING))
        with pytest.raises(Unavailable):
            await cached.get(PREFIX + "a/n/x")
        with pytest.raises(Unavailable):
            await cached.write(Write(PREFIX + "a/n/y", pod("y"), 0))


async def test_progress_of_other_collections_does_not_hold_up_a_most_recent_list() -> None:
    backend = MemoryBackend()
    async with _running(backend) as cached:
        other = backend.store("/ursa/nodes/", attributes_of)
        for number in range(3):
            record = await other.write(Write(f"/ursa/nodes/n{number}", pod("n"), 0))
            assert record is not None
            page = await cached.list(ListQuery(PREFIX, EVERYTHING))
            assert page.revision >= record.revision


async def test_an_exact_list_below_the_window_comes_from_the_store() -> None:
    backend = MemoryBackend()
    async with _running(backend) as cached:
        first = await cached.write(Write(PREFIX + "a/n/x", pod("x"), 0))
        assert first is not None
        await cached.write(Write(PREFIX + "a/n/y", pod("y"), 0))
        await cached.list(ListQuery(PREFIX, EVERYTHING))
        cached.view.compact(cached.view.revision)
        page = await cached.list(ListQuery(PREFIX, EVERYTHING, first.revision, Match.EXACT))
        assert list(page.records) == [first]
        with pytest.raises(Expired):
            await cached.watch(WatchQuery(PREFIX, EVERYTHING, first.revision))


async def test_a_cache_that_differs_from_its_store_is_found_out() -> None:
    backend = MemoryBackend()
    async with _running(backend) as cached:
        await cached.write(Write(PREFIX + "a/n/x", pod("x"), 0))
        await cached.list(ListQuery(PREFIX, EVERYTHING))
        assert await cached.audit.agrees()
        cached.view.state.put(Item(PREFIX + "a/n/ghost", pod("ghost"), 2, attributes_of))
        assert not await cached.audit.agrees()


async def test_a_cache_that_differs_is_rebuilt_and_counted_and_its_watches_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PERIOD_S", 0.05)
    counted = metrics.DIGEST_MISMATCHES.labels(PREFIX.strip("/").rpartition("/")[2])
    before = counted._value.get()
    backend = MemoryBackend()
    async with _running(backend) as cached:
        record = await cached.write(Write(PREFIX + "a/n/x", pod("x"), 0))
        await cached.list(ListQuery(PREFIX, EVERYTHING))
        watcher = await cached.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False))
        cached.view.state.put(Item(PREFIX + "a/n/ghost", pod("ghost"), 2, attributes_of))
        with pytest.raises(Expired):
            await next_events(watcher, 1)

        async def rebuilt() -> bool:
            return list((await cached.list(ListQuery(PREFIX, EVERYTHING))).records) == [record]

        await eventually(rebuilt)
    assert counted._value.get() == before + 1


async def test_what_cannot_be_read_is_named_until_it_is_mended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = MemoryBackend()
    store = backend.store(PREFIX, attributes_of)
    backing = CachedStore(
        store, prefix=PREFIX, attributes_of=attributes_of, index="spec.nodeName", clock=SystemClock(), rand=Rand(1)
    )
    damaged = PREFIX + "a/n/damaged"
    async with backing.running() as cached:
        await cached.wait_ready()
        watcher = await cached.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False))
        written = await store.write(Write(damaged, b"\xff\xff\xff", None))
        assert written is not None
        what = f"{damaged}@{written.revision}"

        async def named() -> bool:
            return what in caplog.text

        await eventually(named)
        mended = await store.write(Write(damaged, pod("mended"), None))
        async with asyncio.timeout(10):
            with pytest.raises(Expired):  # it was listed anew
                await next_events(watcher, 1)
        assert list((await cached.list(ListQuery(PREFIX, EVERYTHING))).records) == [mended]


async def test_a_selection_that_meets_what_cannot_be_read_names_it() -> None:
    backend = MemoryBackend()
    async with _running(backend) as cached:
        await cached.write(Write(PREFIX + "a/n/damaged", b"\xff\xff\xff", None))
        with pytest.raises(Undecodable, match="a/n/damaged"):
            await cached.list(ListQuery(PREFIX, selection("app=web")))


async def test_ten_thousand_records_are_loaded_in_pages_and_served_in_order() -> None:
    backend = MemoryBackend()
    store = backend.store(PREFIX, attributes_of)
    value = pod("x")
    await store.write_batch([Write(f"{PREFIX}a/n/{number:05}", value, 0) for number in range(12_000)])
    async with _running(backend) as cached:
        page = await cached.list(ListQuery(PREFIX, EVERYTHING))
        assert [record.key for record in page.records] == [f"{PREFIX}a/n/{number:05}" for number in range(12_000)]


async def test_watches_of_a_cache_outlive_a_short_outage() -> None:
    backend = MemoryBackend()
    async with _running(backend) as cached:
        watcher = await cached.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False))
        backend.available = False
        with pytest.raises(Unavailable):
            await cached.write(Write(PREFIX + "a/n/x", pod("x"), 0))
        backend.available = True
        record = await cached.write(Write(PREFIX + "a/n/x", pod("x"), 0))
        assert record is not None
        assert await next_events(watcher, 1) == [("ADDED", "x", record.revision)]


async def test_a_quorum_read_below_what_was_seen_before_it_ends_every_watch_and_lists_again() -> None:
    backend = MemoryBackend()
    async with _running(backend) as cached:
        await cached.write(Write(PREFIX + "a/n/x", pod("x"), 0))
        await cached.list(ListQuery(PREFIX, EVERYTHING))
        watcher = await cached.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False))
        assert watcher.take() is None
        replacement = MemoryBackend().store(PREFIX, attributes_of)
        backing, cached._backing = cached._backing, replacement
        cached._quorum = NextCall(replacement.current_revision)
        assert not (await cached.list(ListQuery(PREFIX, EVERYTHING))).records
        with pytest.raises(HistoryReplaced):
            await next_events(watcher, 1)
        assert not (await cached.list(ListQuery(PREFIX, EVERYTHING, 0))).records
        cached._backing = backing


async def test_a_cache_that_goes_on_during_the_quorum_read_is_not_a_replaced_history() -> None:
    backend = MemoryBackend()
    async with _running(backend) as cached:
        await cached.list(ListQuery(PREFIX, EVERYTHING))
        watcher = await cached.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False))

        async def answer_late() -> int:
            revision = backend.revision
            await cached.write(Write(PREFIX + "a/n/x", pod("x"), None))
            while cached.view.revision <= revision:  # noqa: ASYNC110 (nothing tells the moment)
                await asyncio.sleep(0)
            return revision

        cached._quorum = NextCall(answer_late)
        assert len((await cached.list(ListQuery(PREFIX, EVERYTHING))).records) == 1
        assert len(await next_events(watcher, 1)) == 1


async def test_an_audit_brings_a_quiet_cache_forward_first() -> None:
    """Its own position may be compacted away in the store, and nothing could be compared with it."""
    clock = FakeClock()
    backend = MemoryBackend(clock=clock)
    backing, other = backend.store(PREFIX, attributes_of), backend.store("/ursa/nodes/", attributes_of)
    cached = CachedStore(backing, prefix=PREFIX, attributes_of=attributes_of, clock=clock, rand=Rand(1))
    async with cached.running():
        await cached.wait_ready()
        record = await other.write(Write("/ursa/nodes/n", pod("n"), 0))
        assert record is not None
        assert cached.view.revision < record.revision
        await clock.advance(460.0)
        assert cached.view.revision == record.revision
        assert await cached.audit.agrees()
