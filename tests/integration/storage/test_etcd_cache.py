"""The cache over a real etcd that dies, freezes, forgets and is replaced."""

from __future__ import annotations

import asyncio

import pytest

from services.api.selectors import EVERYTHING
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.storage.errors import Expired, StorageError
from services.storage.etcd.compaction import Compaction
from services.storage.interface import ListQuery, WatchQuery, Write
from services.storage.testing.world import Seen, next_batch, next_events, pod, seen
from tests.integration.storage.helpers import PREFIX, backend_of, cached_over, insist, key, store_of
from tests.support.etcd import EtcdProcess, free_port
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.etcd


async def test_a_watch_outlives_the_death_of_etcd_without_loss_or_repetition(etcd: EtcdProcess) -> None:
    async with store_of(etcd.endpoint) as store, cached_over(store) as cached:
        watcher = await cached.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False))
        written: list[Seen] = []
        for generation in range(3):
            for number in range(20):
                name = f"g{generation}-{number:02}"
                record = await insist(cached, Write(key(name), pod(name), None))
                written.append(("ADDED", name, record.revision))
            if generation < 2:
                await asyncio.to_thread(etcd.restart)
        assert await next_events(watcher, 60) == written
        page = await cached.list(ListQuery(PREFIX, EVERYTHING))
        assert len(page.records) == 60
        assert await cached.audit.agrees()


async def test_any_age_is_served_while_etcd_is_down(etcd: EtcdProcess) -> None:
    async with store_of(etcd.endpoint, request_timeout_s=0.5) as store, cached_over(store) as cached:
        record = await insist(cached, Write(key("a"), pod("a"), None))
        await cached.list(ListQuery(PREFIX, EVERYTHING))
        await asyncio.to_thread(etcd.kill)
        assert list((await cached.list(ListQuery(PREFIX, EVERYTHING, 0))).records) == [record]
        with pytest.raises(StorageError):
            await cached.list(ListQuery(PREFIX, EVERYTHING))


async def test_a_backlog_arrives_whole_after_a_cut(etcd: EtcdProcess) -> None:
    async with TcpProxy(free_port(), etcd.client_port) as proxy, store_of(etcd.endpoint) as direct:  # noqa: SIM117
        async with store_of(f"127.0.0.1:{proxy.port}") as store, cached_over(store) as cached:
            watcher = await cached.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False))
            proxy.swallow_answers = True
            # 24 MB in revisions of 60 records each: sent as fragments, which cut revisions in two.
            value = pod("p", note="x" * 20_000)
            for generation in range(20):
                await direct.write_batch([Write(key(f"{generation}-{n:02}"), value, 0) for n in range(50)])
            proxy.swallow_answers = False
            proxy.cut()
            found: list[Seen] = []
            while len(found) < 1000:
                batch = await next_batch(watcher, limit_bytes=1)
                revisions = {event.record.revision for event in batch.events}
                assert not revisions & {revision for _, _, revision in found}, "a revision was split"
                found += map(seen, batch.events)
            assert len({name for _, name, _ in found}) == 1000


async def test_a_feed_below_etcds_oldest_revision_is_told_so(etcd: EtcdProcess) -> None:
    async with store_of(etcd.endpoint) as store:
        first = await store.write(Write(key("a"), pod("a"), 0))
        assert first is not None
        record = await store.write(Write(key("a"), pod("a", note="x"), first.revision))
        assert record is not None
        await store._backend.compact(record.revision)
        feed = store.feed(first.revision - 1)
        with pytest.raises(Expired):
            await anext(feed)
        with pytest.raises(Expired):
            await store._backend.compact(first.revision)


async def test_compaction_while_cut_off_rebuilds_the_cache_and_ends_its_watches(etcd: EtcdProcess) -> None:
    async with TcpProxy(free_port(), etcd.client_port) as proxy, store_of(etcd.endpoint) as direct:  # noqa: SIM117
        async with store_of(f"127.0.0.1:{proxy.port}", request_timeout_s=1.0) as store, cached_over(store) as cached:
            await direct.write(Write(key("old"), pod("old"), 0))
            await cached.list(ListQuery(PREFIX, EVERYTHING))
            watcher = await cached.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False))
            assert watcher.take() is None
            proxy.swallow_requests = proxy.swallow_answers = True
            await direct.write(Write(key("missed"), pod("missed"), 0))
            await direct.write(Write(key("old"), None, None))
            await direct._backend.compact(await direct.current_revision())
            proxy.swallow_requests = proxy.swallow_answers = False
            proxy.cut()
            with pytest.raises(Expired):
                await next_batch(watcher)
            page = await cached.list(ListQuery(PREFIX, EVERYTHING))
            assert [record.key for record in page.records] == [key("missed")]


async def test_an_etcd_whose_history_was_replaced_ends_every_watch(etcd: EtcdProcess) -> None:
    async with store_of(etcd.endpoint, request_timeout_s=1.0) as store, cached_over(store) as cached:
        for number in range(10):
            await cached.write(Write(key(f"p{number}"), pod("p"), 0))
        await cached.list(ListQuery(PREFIX, EVERYTHING))
        watcher = await cached.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False))
        assert watcher.take() is None
        await asyncio.to_thread(etcd.kill)
        etcd.wipe()
        await asyncio.to_thread(etcd.start)
        with pytest.raises(Expired):
            await next_batch(watcher)
        record = await insist(cached, Write(key("fresh"), pod("fresh"), None))
        page = await cached.list(ListQuery(PREFIX, EVERYTHING))
        assert list(page.records) == [record]


async def test_status_tells_version_members_and_leader(etcd: EtcdProcess) -> None:
    async with backend_of(etcd.endpoint) as backend:
        status = await backend.status()
        assert status.leader == "test"
        assert [member.version for member in status.members] == [status.version]
        assert status.members[0].leader
        assert status.db_size_bytes > 0


async def test_of_two_compactors_one_compacts_in_an_interval(etcd: EtcdProcess) -> None:
    async with store_of(etcd.endpoint) as store:
        first, second = (Compaction(store._calls, 300.0, SystemClock(), Rand()) for _ in range(2))
        record = await store.write(Write(key("a"), pod("a"), 0))
        assert record is not None
        await first.step()
        await second.step()
        changed = await store.write(Write(key("a"), pod("a", note="x"), record.revision))
        assert changed is not None
        await first.step()
        await second.step()  # too late in this interval: it only learns
        with pytest.raises(Expired):
            await anext(store.feed(record.revision - 1))
        feed = store.feed(record.revision + 1)
        batch = await anext(feed)
        await feed.aclose()
        assert batch.entries[0].revision == changed.revision
