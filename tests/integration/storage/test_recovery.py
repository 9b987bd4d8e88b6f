"""etcd comes back, and five hundred watches of a cache with it: one etcd watch from the last revision, and no list."""

from __future__ import annotations

import asyncio
import contextlib
import re
import urllib.request

import pytest

from services.api.selectors import EVERYTHING
from services.storage.errors import Expired, StorageError
from services.storage.interface import ListQuery, Record, WatchQuery, Write
from services.storage.testing.world import next_events, pod
from services.storage.watchcache import CachedStore
from services.storage.watchcache import metrics as cache_metrics
from tests.integration.storage.helpers import PREFIX, cached_over, key, store_of
from tests.support.etcd import EtcdProcess, free_port
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.etcd

WATCHERS = 500
OBJECTS = 50
# Quorum reads of health and compare-and-swaps of one write, tried until it is answered; none is a watch's.
READS_MAX = 40
READS = "etcd_debugging_mvcc_range_total"


async def counted(etcd: EtcdProcess, name: str) -> float:
    """A counter of etcd since its start."""

    def fetch() -> str:
        with urllib.request.urlopen(f"http://{etcd.endpoint}/metrics", timeout=5.0) as answer:
            text: str = answer.read().decode()
            return text

    found = re.search(rf"^{name} (\S+)$", await asyncio.to_thread(fetch), re.MULTILINE)
    assert found is not None, name
    return float(found.group(1))


async def written(cached: CachedStore, name: str) -> Record:
    """The record, however long etcd takes to answer again."""
    while True:
        with contextlib.suppress(StorageError):
            record = await cached.write(Write(key(name), pod(name), None))
            assert record is not None
            return record
        await asyncio.sleep(0.05)


def lists() -> float:
    return float(cache_metrics.INITIALIZATIONS.labels("pods")._value.get())


@pytest.mark.timeout(120)
async def test_watches_go_on_after_a_restart_of_etcd_without_a_list(either_etcd: EtcdProcess) -> None:
    async with (
        TcpProxy(free_port(), either_etcd.client_port) as proxy,
        store_of(f"127.0.0.1:{proxy.port}", request_timeout_s=1.0) as store,
        cached_over(store) as cached,
    ):
        for number in range(OBJECTS):
            await written(cached, f"p-{number}")
        await cached.list(ListQuery(PREFIX, EVERYTHING))
        query = WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False)
        watchers = [await cached.watch(query) for _ in range(WATCHERS)]
        before = lists()
        proxy.swallow_answers = proxy.swallow_requests = True
        await asyncio.to_thread(either_etcd.restart)
        # What etcd has read for itself, while it replayed its log.
        replayed = await counted(either_etcd, READS)
        proxy.swallow_answers = proxy.swallow_requests = False
        proxy.cut()
        async with asyncio.timeout(60):
            record = await written(cached, "after")
            for watcher in watchers:
                events = await next_events(watcher, 1)
                assert events[-1] == ("ADDED", "after", record.revision)
        assert lists() == before
        assert await counted(either_etcd, "etcd_debugging_mvcc_watcher_total") == 1
        assert await counted(either_etcd, READS) - replayed <= READS_MAX


@pytest.mark.timeout(120)
async def test_where_history_is_gone_the_cache_lists_once_for_all(either_etcd: EtcdProcess) -> None:
    async with (
        TcpProxy(free_port(), either_etcd.client_port) as proxy,
        store_of(f"127.0.0.1:{proxy.port}", request_timeout_s=1.0) as store,
        cached_over(store) as cached,
        store_of(either_etcd.endpoint) as other,
    ):
        for number in range(OBJECTS):
            await written(cached, f"p-{number}")
        await cached.list(ListQuery(PREFIX, EVERYTHING))
        query = WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False)
        watchers = [await cached.watch(query) for _ in range(WATCHERS)]
        assert not any(watcher.take() for watcher in watchers)
        before = lists()
        # While the cache hears nothing, others write, and what it would resume from is compacted away.
        proxy.swallow_answers = proxy.swallow_requests = True
        for number in range(3):
            await other.write(Write(key(f"missed-{number}"), pod("missed"), None))
        await other._backend.compact(await other.current_revision())
        proxy.swallow_answers = proxy.swallow_requests = False
        proxy.cut()
        async with asyncio.timeout(60):
            for watcher in watchers:
                with pytest.raises(Expired):
                    await next_events(watcher, 1)
        assert lists() - before == 1
        page = await cached.list(ListQuery(PREFIX, EVERYTHING))
        assert len(page.records) == OBJECTS + 3
