"""Consistent reads from the cache: by progress where etcd's can be trusted, by the marker elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from services.api.selectors import EVERYTHING
from services.storage.errors import KeyNotFound
from services.storage.etcd.store import EtcdStore
from services.storage.interface import ListQuery, Page, WatchQuery, Write
from services.storage.testing.world import Seen, attributes_of, next_events, pod
from services.storage.watchcache import CachedStore
from tests.integration.storage.helpers import PREFIX, backend_of, cached_over, insist, key, store_of
from tests.support.etcd import EtcdProcess

pytestmark = pytest.mark.etcd

_RECENT = ListQuery(PREFIX, EVERYTHING)


async def _noise(store: EtcdStore) -> int:
    """A write to another collection, which the watched one does not see; its revision."""
    record = await store.write(Write("/ursa/nodes/n", pod("n"), None))
    assert record is not None
    return record.revision


async def _marker_exists(store: EtcdStore) -> bool:
    try:
        await store.get(f"{PREFIX[:-1]}.sync")
    except KeyNotFound:
        return False
    return True


async def _fifty_lists(cached: CachedStore) -> Sequence[Page]:
    """Asked for at once, and answered by the cache: the store behind is not listed."""

    async def refuse(query: ListQuery) -> Page:
        raise AssertionError("the cache asked its store for the list")

    behind = cached._backing
    kept, behind.list = behind.list, refuse  # type: ignore[method-assign]
    try:
        return await asyncio.gather(*(cached.list(_RECENT) for _ in range(50)))
    finally:
        behind.list = kept  # type: ignore[method-assign]


async def test_a_quiet_collection_is_read_by_progress_and_writes_nothing(trusted_etcd: EtcdProcess) -> None:
    async with backend_of(trusted_etcd.endpoint) as backend:
        await backend.wait_ready()
        assert backend.progress_trusted
        store, other = backend.store(PREFIX, attributes_of), backend.store("/ursa/nodes/", attributes_of)
        async with cached_over(store) as cached:
            noise = await _noise(other)
            pages = await _fifty_lists(cached)
            assert all(page.revision >= noise for page in pages)
            assert await other.current_revision() == noise
            assert not await _marker_exists(store)


async def test_a_quiet_collection_is_read_by_one_shared_marker(untrusted_etcd: EtcdProcess) -> None:
    async with backend_of(untrusted_etcd.endpoint) as backend:
        await backend.wait_ready()
        assert not backend.progress_trusted
        store, other = backend.store(PREFIX, attributes_of), backend.store("/ursa/nodes/", attributes_of)
        async with cached_over(store) as cached:
            noise = await _noise(other)
            pages = await _fifty_lists(cached)
            assert all(page.revision >= noise and not page.records for page in pages)
            assert 1 <= await other.current_revision() - noise <= 3  # not one marker per reader
            assert await _marker_exists(store)
            assert cached.count(PREFIX) == 0


async def test_after_a_restore_most_recent_reads_are_answered_at_once(either_etcd: EtcdProcess) -> None:
    """The markers of the lost history were higher than all of the new one."""
    async with backend_of(either_etcd.endpoint) as backend:
        await backend.wait_ready()
        store, other = backend.store(PREFIX, attributes_of), backend.store("/ursa/nodes/", attributes_of)
        async with cached_over(store) as cached:
            for _ in range(100):
                await _noise(other)
            await cached.list(_RECENT)
            lost = cached.view.revision
            await asyncio.to_thread(either_etcd.kill)
            either_etcd.wipe()
            await asyncio.to_thread(either_etcd.start)
            await insist(other, Write("/ursa/nodes/n", pod("n"), None))
            async with asyncio.timeout(20):
                while cached.view.revision >= lost:  # noqa: ASYNC110 (nothing tells the moment)
                    await asyncio.sleep(0.02)
            for _ in range(3):
                noise = await insist(other, Write("/ursa/nodes/n", pod("n"), None))
                # By the cache: what waits in vain for a marker asks the store.
                assert all(page.revision >= noise.revision for page in await _fifty_lists(cached))
            assert cached.view.revision < lost
            (await cached.watch(WatchQuery(PREFIX, EVERYTHING))).close()


async def test_point_reads_never_use_the_marker(untrusted_etcd: EtcdProcess) -> None:
    async with store_of(untrusted_etcd.endpoint) as store, cached_over(store) as cached:
        record = await cached.write(Write(key("a"), pod("a"), 0))
        before = await store.current_revision()
        for _ in range(20):
            assert await cached.get(key("a")) == record
        assert await store.current_revision() == before


async def test_a_most_recent_list_sees_what_another_server_wrote(either_etcd: EtcdProcess) -> None:
    async with (
        store_of(either_etcd.endpoint) as mine,
        store_of(either_etcd.endpoint) as theirs,
        cached_over(mine) as cached,
    ):
        for number in range(30):
            record = await theirs.write(Write(key(f"p{number:02}"), pod("p"), 0))
            assert record is not None
            page = await cached.list(_RECENT)
            assert page.revision >= record.revision
            assert len(page.records) == number + 1


async def test_most_recent_lists_in_a_storm_are_linearizable(either_etcd: EtcdProcess) -> None:
    """Writers here and elsewhere: whatever was acknowledged before a list was asked for is in it."""
    async with (
        store_of(either_etcd.endpoint) as mine,
        store_of(either_etcd.endpoint) as theirs,
        cached_over(mine) as cached,
    ):
        watcher = await cached.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False))
        acknowledged: list[Seen] = []

        async def write(store: EtcdStore, number: int) -> None:
            for turn in range(60):
                name = f"w{number}-{turn:02}"
                record = await store.write(Write(key(name), pod(name), 0))
                assert record is not None
                acknowledged.append(("ADDED", name, record.revision))

        async def read() -> None:
            while len(acknowledged) < 600:
                known = set(acknowledged)
                page = await cached.list(_RECENT)
                there = {("ADDED", record.key.rpartition("/")[2], record.revision) for record in page.records}
                assert known <= there

        async with asyncio.TaskGroup() as tasks:
            for number in range(10):
                tasks.create_task(write(mine if number % 2 else theirs, number))
            for _ in range(3):
                tasks.create_task(read())
        seen = await next_events(watcher, 600)
        assert sorted(seen) == sorted(acknowledged)
        assert [revision for *_, revision in seen] == sorted(revision for *_, revision in seen)
