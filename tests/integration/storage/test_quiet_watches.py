"""Watches of a collection in which nothing changes, while much changes elsewhere: they keep up with the revision."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from services.api.selectors import EVERYTHING
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.storage.etcd import EtcdBackend, EtcdConfig, metrics
from services.storage.etcd.store import EtcdStore
from services.storage.interface import ListQuery, Watcher, WatchQuery, Write
from services.storage.testing.world import attributes_of, next_events, pod
from services.storage.watchcache import CachedStore
from services.storage.watchcache import metrics as cache_metrics
from tests.integration.storage.helpers import PREFIX, backend_of, cached_over, insist, key
from tests.support.etcd import EtcdProcess

pytestmark = pytest.mark.etcd

_FROM_NOW = WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False, bookmarks=True)


@contextlib.asynccontextmanager
async def _hasty(etcd: EtcdProcess) -> AsyncIterator[EtcdBackend]:
    """Brings quiet watches forward twice a second."""
    config = EtcdConfig((etcd.endpoint,), compaction_interval_s=0.0)
    async with EtcdBackend(config, clock=SystemClock(), rand=Rand(), bookmark_period_s=1.0) as backend:
        await backend.wait_ready()
        yield backend


async def _noise(backend: EtcdBackend, seconds: float) -> None:
    other = backend.store("/ursa/nodes/", attributes_of)
    end_s = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end_s:
        await insist(other, Write("/ursa/nodes/n", pod("n"), None))
        await asyncio.sleep(0.005)


async def _noise_and_compactions(backend: EtcdBackend) -> None:
    """Of three parts of the time, the first is compacted away."""
    for _ in range(2):
        await _noise(backend, 1.5)
        await backend._compaction.step()
    await _noise(backend, 0.5)


def _bookmarks(watcher: Watcher) -> Sequence[int]:
    found = []
    while (batch := watcher.take()) is not None:
        assert batch.bookmark and not batch.events
        found.append(batch.revision)
    return found


def _lists() -> float:
    return float(cache_metrics.INITIALIZATIONS.labels("pods")._value.get())


async def _quiet(backend: EtcdBackend, cached: CachedStore | None) -> tuple[Watcher, int]:
    store: EtcdStore | CachedStore = cached or backend.store(PREFIX, attributes_of)
    record = await insist(store, Write(key("a"), pod("a"), None))
    await store.list(ListQuery(PREFIX, EVERYTHING))
    watcher = await store.watch(_FROM_NOW)
    assert watcher.take() is None
    return watcher, record.revision


@pytest.mark.parametrize("through", ["the cache", "etcd"])
async def test_a_quiet_watch_survives_compactions_and_a_restart_of_etcd(either_etcd: EtcdProcess, through: str) -> None:
    async with _hasty(either_etcd) as backend, contextlib.AsyncExitStack() as stack:
        cached = None
        if through == "the cache":
            cached = await stack.enter_async_context(cached_over(backend.store(PREFIX, attributes_of)))
        watcher, begun = await _quiet(backend, cached)
        before = _lists()
        await _noise_and_compactions(backend)
        current = await backend.store(PREFIX, attributes_of).current_revision()
        if cached is not None:
            assert cached.view.revision > begun + (current - begun) // 2
            assert await cached.audit.agrees()
        await asyncio.to_thread(either_etcd.restart)
        record = await insist(backend.store(PREFIX, attributes_of), Write(key("after"), pod("after"), None))
        assert await next_events(watcher, 1) == [("ADDED", "after", record.revision)]
        assert _lists() == before


async def test_bookmarks_of_a_quiet_watch_without_a_cache_go_on_and_are_no_more_than_before(
    either_etcd: EtcdProcess,
) -> None:
    async with _hasty(either_etcd) as backend:
        watcher, _ = await _quiet(backend, None)
        loop = asyncio.get_running_loop()
        found: list[int] = []
        begun_s = loop.time()
        while len(set(found)) < 4:
            assert loop.time() - begun_s < 30.0, found
            await _noise(backend, 1.0)
            found += _bookmarks(watcher)
        assert len(found) <= (loop.time() - begun_s) / 0.75 + 1  # one in 0.75 to 1 s
        assert found == sorted(found)
        watcher.close()
        # What is told in a bookmark is enough to go on from.
        store = backend.store(PREFIX, attributes_of)
        resumed = await store.watch(WatchQuery(PREFIX, EVERYTHING, found[-1], initial_events=False))
        record = await insist(store, Write(key("after"), pod("after"), None))
        assert await next_events(resumed, 1) == [("ADDED", "after", record.revision)]


async def test_a_quiet_watch_of_a_namespace_is_told_progress_where_that_is_trusted(trusted_etcd: EtcdProcess) -> None:
    async with _hasty(trusted_etcd) as backend:
        store = backend.store(PREFIX, attributes_of)
        narrow = f"{PREFIX}acme/default/"
        watcher = await store.watch(WatchQuery(narrow, EVERYTHING, 0, initial_events=False, bookmarks=True))
        assert watcher.take() is None
        await _noise_and_compactions(backend)
        await asyncio.to_thread(trusted_etcd.restart)
        record = await insist(store, Write(key("after"), pod("after"), None))
        assert await next_events(watcher, 1) == [("ADDED", "after", record.revision)]


async def test_where_nothing_at_all_happens_nothing_is_written(either_etcd: EtcdProcess) -> None:
    async with _hasty(either_etcd) as backend:
        store, other = backend.store(PREFIX, attributes_of), backend.store("/ursa/nodes/", attributes_of)
        async with cached_over(store):
            watcher = await other.watch(WatchQuery("/ursa/nodes/", EVERYTHING, 0, initial_events=False))
            await _noise(backend, 0.1)
            await backend._advance.step()
            assert await next_events(watcher, 1)
            await asyncio.sleep(0.3)
            before = await store.current_revision()
            for _ in range(5):
                await backend._advance.step()
            assert await store.current_revision() == before


async def test_marks_of_all_collections_share_one_revision(untrusted_etcd: EtcdProcess) -> None:
    async with backend_of(untrusted_etcd.endpoint) as backend, contextlib.AsyncExitStack() as stack:
        await backend.wait_ready()
        for number in range(30):
            prefix = f"/ursa/things{number}/"
            watcher = await backend.store(prefix, attributes_of).watch(
                WatchQuery(prefix, EVERYTHING, 0, initial_events=False)
            )
            stack.callback(watcher.close)
        store = backend.store(PREFIX, attributes_of)
        await insist(store, Write(key("a"), pod("a"), None))
        await asyncio.sleep(0.3)
        before = await store.current_revision()
        await backend._advance.step()
        assert await store.current_revision() == before + 1


async def test_readers_that_ask_for_progress_at_once_do_not_break_the_watch(trusted_etcd: EtcdProcess) -> None:
    """Two messages at a time end a grpc call, and its reader is not told; so does a message that is cancelled."""
    async with backend_of(trusted_etcd.endpoint) as backend:
        await backend.wait_ready()
        store = backend.store(PREFIX, attributes_of)
        async with cached_over(store) as cached:
            await insist(store, Write(key("a"), pod("a"), None))
            await cached.list(ListQuery(PREFIX, EVERYTHING))
            before = metrics.RECONNECTS.labels("/ursa/pods.")._value.get()
            for _ in range(20):
                await _noise(backend, 0.01)
                current = await store.current_revision()
                asks = [asyncio.ensure_future(store.request_progress(current)) for _ in range(200)]
                await asyncio.sleep(0)
                for ask in asks[::3]:
                    ask.cancel()
                await asyncio.gather(*asks, return_exceptions=True)
            record = await insist(store, Write(key("b"), pod("b"), None))
            assert metrics.RECONNECTS.labels("/ursa/pods.")._value.get() == before
            assert (await cached.get(key("b"), record.revision)).revision == record.revision
