"""etcd restored from a backup, full, silent, and losing members: what a server's clients see of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aetcd import rpc

from services.api.selectors import EVERYTHING
from services.base.clock import SystemClock
from services.storage.errors import (
    Expired,
    HistoryReplaced,
    KeyNotFound,
    OutcomeUnknown,
    StorageError,
    StorageFull,
    Unavailable,
)
from services.storage.etcd.store import EtcdStore
from services.storage.interface import EventType, Lane, ListQuery, Record, WatchQuery, Write
from services.storage.testing.world import next_batch, next_events, pod
from services.storage.watchcache import CachedStore
from services.storage.watchcache import metrics as cache_metrics
from tests.integration.storage.helpers import PREFIX, backend_of, cached_over, key, store_of
from tests.support.etcd import EtcdProcess, free_port, running_etcd
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.etcd

_FROM_NOW = WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False)
_RECENT = ListQuery(PREFIX, EVERYTHING)


def _initializations() -> float:
    return float(cache_metrics.INITIALIZATIONS.labels("pods")._value.get())


async def _record(store: EtcdStore | CachedStore, name: str, **content: Any) -> Record:
    record = await store.write(Write(key(name), pod(name, **content), None))
    assert record is not None
    return record


# -- another history


class Restorable:
    """An etcd behind a proxy, so that it can be restored and written to before the server under test notices."""

    def __init__(self, etcd: EtcdProcess, proxy: TcpProxy) -> None:
        self.etcd = etcd
        self.proxy = proxy
        self._backup = etcd.directory / "backup"

    async def back_up(self) -> None:
        await asyncio.to_thread(self.etcd.stop)
        shutil.copytree(self.etcd.directory / "data", self._backup)
        await asyncio.to_thread(self.etcd.start)

    async def restore(self) -> None:
        self.proxy.swallow_answers = self.proxy.swallow_requests = True
        await asyncio.to_thread(self.etcd.kill)
        self.etcd.wipe()
        shutil.copytree(self._backup, self.etcd.directory / "data")
        await asyncio.to_thread(self.etcd.start)

    def reveal(self) -> None:
        self.proxy.swallow_answers = self.proxy.swallow_requests = False
        self.proxy.cut()


@pytest.fixture
async def restorable(either_etcd: EtcdProcess) -> AsyncIterator[Restorable]:
    async with TcpProxy(free_port(), either_etcd.client_port) as proxy:
        yield Restorable(either_etcd, proxy)


@contextlib.asynccontextmanager
async def _cached_behind(proxy: TcpProxy) -> AsyncIterator[CachedStore]:
    async with store_of(f"127.0.0.1:{proxy.port}", request_timeout_s=1.0) as store, cached_over(store) as cached:
        yield cached


async def _overtake(etcd: EtcdProcess, revision: int, names: str) -> None:
    """Another history, longer than the one before."""
    async with store_of(etcd.endpoint) as direct:
        for number in itertools.count():
            if await direct.current_revision() > revision + 5:
                return
            await _record(direct, f"{names}{number}")


async def test_a_history_restored_and_grown_past_our_position_ends_every_watch(restorable: Restorable) -> None:
    async with _cached_behind(restorable.proxy) as cached:
        await _record(cached, "kept")
        await restorable.back_up()
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(StorageError):
                    last = await _record(cached, "lost")
                    break
        page = await cached.list(_RECENT)
        watchers = [await cached.watch(_FROM_NOW) for _ in range(3)]
        assert [watcher.take() for watcher in watchers] == [None] * 3
        future = await cached.watch(WatchQuery(PREFIX, EVERYTHING, page.revision + 1_000, initial_events=False))
        await restorable.restore()
        await _overtake(restorable.etcd, last.revision + 5, "new")
        restorable.reveal()
        for watcher in (*watchers, future):
            with pytest.raises(HistoryReplaced, match="restored from a backup"):
                await next_batch(watcher)
        names = {record.key for record in (await cached.list(_RECENT)).records}
        assert key("lost") not in names and {key("kept"), key("new0")} <= names
        assert await cached.audit.agrees()


async def test_the_same_in_a_collection_that_had_not_changed_since_it_was_listed(restorable: Restorable) -> None:
    async with store_of(restorable.etcd.endpoint) as direct:
        await _record(direct, "kept")
    await restorable.back_up()
    async with store_of(restorable.etcd.endpoint) as direct:
        last = await _record(direct, "lost")
    async with _cached_behind(restorable.proxy) as cached:
        watcher = await cached.watch(_FROM_NOW)
        assert watcher.take() is None
        await restorable.restore()
        await _overtake(restorable.etcd, last.revision + 5, "new")
        restorable.reveal()
        with pytest.raises(HistoryReplaced):
            await next_batch(watcher)


async def test_most_recent_lists_never_return_what_a_restore_lost(etcd: EtcdProcess) -> None:
    """A quorum read below the cache's position tells of it long before the feed is connected again."""
    async with store_of(etcd.endpoint) as store, cached_over(store) as cached:
        for number in range(30):
            await _record(cached, f"p{number}")
        assert len((await cached.list(_RECENT)).records) == 30
        watcher = await cached.watch(_FROM_NOW)
        assert watcher.take() is None
        # The feed does not come back by itself while this test runs.
        store._backend.calls.watch = _no_watch  # type: ignore[method-assign]
        await asyncio.to_thread(etcd.kill)
        etcd.wipe()
        await asyncio.to_thread(etcd.start)
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(Unavailable):
                    page = await cached.list(_RECENT)
                    break
                await asyncio.sleep(0.01)
        assert not page.records
        with pytest.raises(HistoryReplaced):
            await next_batch(watcher)


def _no_watch() -> Any:
    raise Unavailable("no watch in this test")


async def test_a_quiet_watch_whose_last_change_is_compacted_goes_on_after_a_cut(either_etcd: EtcdProcess) -> None:
    async with (
        TcpProxy(free_port(), either_etcd.client_port) as proxy,
        store_of(either_etcd.endpoint) as direct,
        _cached_behind(proxy) as cached,
    ):
        await _record(cached, "seen")
        noise = None
        for _ in range(5):
            noise = await direct._backend.store("/ursa/nodes/", direct._attributes_of).write(
                Write("/ursa/nodes/n", pod("n"), None)
            )
        assert noise is not None
        assert (await cached.list(_RECENT)).revision >= noise.revision
        watcher = await cached.watch(_FROM_NOW)
        assert watcher.take() is None
        await direct._backend.compact(noise.revision)
        before = _initializations()
        proxy.cut()
        record = await _record(direct, "after")
        assert await next_events(watcher, 1) == [("ADDED", "after", record.revision)]
        assert _initializations() == before


# -- no space


async def test_a_full_database_takes_deletions_and_recovers(either_etcd: EtcdProcess) -> None:
    binary = either_etcd.binary
    with running_etcd(binary=binary, extra=("--quota-backend-bytes=4194304",)) as etcd:
        async with store_of(etcd.endpoint) as store, cached_over(store) as cached:
            watcher = await cached.watch(_FROM_NOW)
            written: list[Record] = []
            with pytest.raises(StorageFull, match="no space"):
                while True:
                    written.append(await _record(cached, f"p{len(written):03}", note="x" * 100_000))
            # Everything but writing goes on: fresh lists, new watches, point reads.
            assert len((await cached.list(_RECENT)).records) == len(written)
            assert await cached.get(written[0].key) == written[0]
            (await cached.watch(WatchQuery(PREFIX, EVERYTHING))).close()
            # In one batch, a put is refused and deletions are not; with outcomes as ever.
            outcomes = await cached.write_batch(
                [
                    Write(written[0].key, None, written[0].revision),
                    Write(key("more"), pod("more", note="x" * 5_000), 0),
                    Write(written[1].key, None, None),
                    Write(key("nobody"), None, None),
                ]
            )
            assert outcomes[0] is None and outcomes[2] is None
            assert isinstance(outcomes[1], StorageFull) and isinstance(outcomes[3], KeyNotFound)
            # A server that starts now can delete as well.
            async with store_of(etcd.endpoint) as other:
                assert any("NOSPACE" in text for text in (await other._backend.status()).warnings)
                for record in written[2:]:
                    assert await other.write(Write(record.key, None, record.revision)) is None
            await store._backend._compaction.step()
            await _make_space(store)
            again = await _record(cached, "again", note="x" * 100_000)
            events = await next_events(watcher, 2 * len(written) + 1)
            assert events[-1] == ("ADDED", "again", again.revision)
            assert len(events) == 2 * len(written) + 1
            assert [revision for *_, revision in events] == sorted(revision for *_, revision in events)


async def _make_space(store: EtcdStore) -> None:
    """As an operator does: compact, defragment, disarm."""
    channel = store._backend._channel
    current = await store.current_revision()
    await rpc.KVStub(channel).Compact(rpc.CompactionRequest(revision=current, physical=True))
    maintenance = rpc.MaintenanceStub(channel)
    await maintenance.Defragment(rpc.DefragmentRequest())
    armed = await maintenance.Alarm(rpc.AlarmRequest(action=rpc.AlarmRequest.GET))
    for alarm in armed.alarms:
        request = rpc.AlarmRequest(action=rpc.AlarmRequest.DEACTIVATE, memberID=alarm.memberID, alarm=alarm.alarm)
        await maintenance.Alarm(request)


# -- silence


async def test_half_a_minute_of_silence(either_etcd: EtcdProcess) -> None:
    clock = SystemClock()
    async with store_of(either_etcd.endpoint) as store, cached_over(store) as cached:
        first = await _record(cached, "first")
        await cached.list(_RECENT)
        watcher = await cached.watch(_FROM_NOW)
        assert watcher.take() is None
        before = _initializations()
        either_etcd.pause()
        silent_since_s = clock.monotonic()
        outcomes: dict[str, Record | StorageError] = {}
        slowest_s = late_s = 0.0

        async def write(name: str) -> None:
            nonlocal slowest_s
            started_s = clock.monotonic()
            try:
                outcomes[name] = await _record(cached, name)
            except StorageError as failure:
                outcomes[name] = failure
            slowest_s = max(slowest_s, clock.monotonic() - started_s)

        async with asyncio.TaskGroup() as tasks:
            for number in itertools.count():
                tasks.create_task(write(f"p{number:03}"))
                due_s = clock.monotonic() + 0.25
                await clock.sleep(0.25)
                late_s = max(late_s, clock.monotonic() - due_s)
                assert (await cached.get(first.key, 0)) == first
                if clock.monotonic() - silent_since_s >= 30.0:
                    break
        either_etcd.resume()
        resumed_s = clock.monotonic()
        # A pause of this process is nobody's answer that comes late.
        assert slowest_s < 9.8 + late_s, "a client with a deadline of 10 s would not have been answered"
        assert all(isinstance(outcome, Unavailable | OutcomeUnknown) for outcome in outcomes.values())
        async with asyncio.timeout(15):
            while True:
                with contextlib.suppress(Unavailable):
                    last = await _record(cached, "last")
                    break
                await clock.sleep(0.05)
        seen: list[tuple[str, str, int]] = []
        while not seen or seen[-1] != ("ADDED", "last", last.revision):
            seen += await next_events(watcher, 1)
        recovered_s = clock.monotonic() - resumed_s
        assert recovered_s < 12.0
        # What was said not to be written is not there; what is there was told once, in order.
        page = await cached.list(_RECENT)
        assert {(name, revision) for _, name, revision in seen} == {
            (record.key.rpartition("/")[2], record.revision) for record in page.records if record.key != first.key
        }
        assert len({name for _, name, _ in seen}) == len(seen)
        assert not {name for _, name, _ in seen} & {n for n, o in outcomes.items() if isinstance(o, Unavailable)}
        assert _initializations() == before, "the cache went on from where it was"


# -- members lost


async def _leader(members: list[EtcdProcess], store: EtcdStore) -> EtcdProcess:
    async with asyncio.timeout(15):
        while True:
            with contextlib.suppress(StorageError):
                name = (await store._backend.status()).leader
                for member in members:
                    if member.name == name:
                        return member
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("lost", ["the member it talks to", "the leader", "a silent member"])
async def test_losing_a_member_of_three_loses_no_event(cluster: list[EtcdProcess], lost: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        # Asked for one after the other: it talks to the first that answers.
        first = cluster[0]
        probe = await stack.enter_async_context(backend_of(first.endpoint))
        await probe.wait_ready()
        leader = await _leader(cluster, probe.store(PREFIX, _no_attributes))
        victim = leader if lost == "the leader" else next(member for member in cluster if member is not leader)
        order = [victim, *(member for member in cluster if member is not victim)]
        backend = await stack.enter_async_context(backend_of(*(member.endpoint for member in order)))
        await backend.wait_ready()
        store = backend.store(PREFIX, _no_attributes)
        cached = await stack.enter_async_context(cached_over(store))
        watcher = await cached.watch(_FROM_NOW)
        before = _initializations()
        acknowledged: dict[str, int] = {}
        unknown: set[str] = set()
        stopping = asyncio.Event()

        async def write(number: int) -> None:
            for turn in itertools.count():
                if stopping.is_set():
                    return
                name = f"w{number}-{turn:04}"
                try:
                    record = await cached.write(Write(key(name), pod(name), 0, Lane.SYSTEM))
                    assert record is not None
                    acknowledged[name] = record.revision
                except OutcomeUnknown:
                    unknown.add(name)
                except Unavailable:
                    await asyncio.sleep(0.1)

        async def disturb() -> None:
            await _until(lambda: len(acknowledged) >= 100)
            (victim.pause if lost == "a silent member" else victim.kill)()
            many = len(acknowledged) + 200
            await _until(lambda: len(acknowledged) >= many)
            stopping.set()

        async with asyncio.TaskGroup() as tasks:
            for number in range(8):
                tasks.create_task(write(number))
            tasks.create_task(disturb())
        last = await _record(cached, "last")
        seen: dict[str, int] = {}
        position = 0
        while "last" not in seen:
            batch = await next_batch(watcher)
            for event in batch.events:
                name = event.record.key.rpartition("/")[2]
                assert event.type is EventType.ADDED and name not in seen
                assert event.record.revision >= position
                position = event.record.revision
                seen[name] = position
        assert seen.pop("last") == last.revision
        assert acknowledged.items() <= seen.items()
        assert seen.keys() - acknowledged.keys() <= unknown
        assert _initializations() == before, "the cache went on from where it was"


async def _until(condition: Any) -> None:
    async with asyncio.timeout(40):
        while not condition():  # noqa: ASYNC110 (nothing tells the moment)
            await asyncio.sleep(0.02)


def _no_attributes(value: bytes) -> Any:
    raise AssertionError("nothing here selects")


async def test_expired_is_told_apart_from_a_replaced_history(etcd: EtcdProcess) -> None:
    async with store_of(etcd.endpoint) as store:
        first = await _record(store, "a")
        second = await _record(store, "a", note="x")
        await store._backend.compact(second.revision)
        with pytest.raises(Expired) as gone:
            await anext(store.feed(first.revision - 1))
        assert not isinstance(gone.value, HistoryReplaced)
