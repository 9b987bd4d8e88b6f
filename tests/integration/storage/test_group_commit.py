"""Group commit against a real etcd: independent outcomes, refused batches, answers that never come."""

from __future__ import annotations

import asyncio

import pytest

from services.api.selectors import EVERYTHING
from services.storage.errors import (
    KeyExists,
    KeyNotFound,
    LeaseNotFound,
    OutcomeUnknown,
    PreconditionFailed,
    QueueFull,
    TooLarge,
    Unavailable,
)
from services.storage.etcd.store import EtcdStore
from services.storage.interface import Lane, ListQuery, Record, WatchQuery, Write
from services.storage.testing.world import next_events, pod
from services.storage.watchcache.sharing import NextCall
from tests.integration.storage.helpers import PREFIX, backend_of, cached_over, insist, key, store_of
from tests.support.etcd import EtcdProcess, free_port, running_etcd
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.etcd


async def test_writes_that_queue_together_share_a_revision(etcd: EtcdProcess) -> None:
    async with store_of(etcd.endpoint) as store:
        outcomes = await store.write_batch([Write(key(f"p{n}"), pod("p"), 0) for n in range(100)])
        assert len({record.revision for record in outcomes if isinstance(record, Record)}) == 1


async def test_writes_gather_while_etcd_is_slow_and_many_go_at_once(etcd: EtcdProcess) -> None:
    gather_s = 60.0  # longer than the test waits for anything
    async with store_of(etcd.endpoint, commit_gather_s=gather_s) as store:
        await store.write_batch([Write(key(f"before{n}"), pod("before"), 0) for n in range(40)])
        for _ in range(100):
            store._backend._committer._yielding.took(10.0)
        async with asyncio.TaskGroup() as group:
            few = [group.create_task(store.write(Write(key(f"p{n}"), pod("p"), 0))) for n in range(3)]
            with pytest.raises(KeyNotFound):  # etcd answers this, and has not been sent the others
                await store.get(key("p0"))
            rest = group.create_task(store.write_batch([Write(key(f"q{n}"), pod("q"), 0) for n in range(32)]))
            async with asyncio.timeout(gather_s / 4):
                records = [await task for task in few] + list(await rest)
        assert len({record.revision for record in records if isinstance(record, Record)}) == 1
        assert len(records) == 35


async def test_a_batch_beyond_the_limit_of_operations_is_split(etcd: EtcdProcess) -> None:
    async with store_of(etcd.endpoint) as store:
        outcomes = await store.write_batch([Write(key(f"p{n}"), pod("p"), 0) for n in range(1000)])
        revisions = [record.revision for record in outcomes if isinstance(record, Record)]
        assert len(revisions) == 1000
        assert len(set(revisions)) == 8  # 126 writes in each


async def test_a_lower_limit_of_a_foreign_server_is_learned() -> None:
    with running_etcd(max_txn_ops=16) as etcd:
        async with store_of(etcd.endpoint, max_txn_ops=4096) as store:
            for generation in range(2):
                outcomes = await store.write_batch([Write(key(f"{generation}-{n}"), pod("p"), 0) for n in range(300)])
                assert all(isinstance(outcome, Record) for outcome in outcomes)


async def test_a_conflict_is_its_own_affair(etcd: EtcdProcess) -> None:
    async with store_of(etcd.endpoint) as store:
        taken = await store.write(Write(key("taken"), pod("taken"), 0))
        writes = [Write(key(f"p{n}"), pod("p"), 0) for n in range(50)]
        writes.insert(25, Write(key("taken"), pod("taken", note="mine"), 0))
        writes.insert(30, Write(key("gone"), pod("gone"), 77))
        outcomes = await store.write_batch(writes)
        assert isinstance(outcomes[25], KeyExists) and outcomes[25].record == taken
        assert isinstance(outcomes[30], PreconditionFailed) and outcomes[30].record is None
        assert sum(isinstance(outcome, Record) for outcome in outcomes) == 50


async def test_an_oversized_item_fails_alone(etcd: EtcdProcess) -> None:
    # Our own limit is out of the way, so that etcd's (1.5 MiB for a request) is what refuses.
    async with store_of(etcd.endpoint, value_bytes_max=8 << 20, batch_bytes_max=16 << 20) as store:
        writes = [Write(key(f"p{n}"), pod("p"), 0) for n in range(20)]
        writes.insert(7, Write(key("huge"), b"\x0a\x00" * (1 << 20), 0))
        outcomes = await store.write_batch(writes)
        assert isinstance(outcomes[7], TooLarge)
        assert sum(isinstance(outcome, Record) for outcome in outcomes) == 20
        with pytest.raises(KeyNotFound):
            await store.get(key("huge"))


async def test_a_missing_lease_fails_alone(etcd: EtcdProcess) -> None:
    async with backend_of(etcd.endpoint) as backend:
        store = backend.store(PREFIX, lambda value: None)  # type: ignore[arg-type, return-value]
        lease = await backend.new_lease(60)
        writes = [Write(key(f"p{n}"), b"", 0, lease_id=lease) for n in range(10)]
        writes.insert(3, Write(key("orphan"), b"", 0, lease_id=4711))
        outcomes = await store.write_batch(writes)
        assert isinstance(outcomes[3], LeaseNotFound) and outcomes[3].lease_id == 4711
        assert sum(isinstance(outcome, Record) for outcome in outcomes) == 10


async def test_keys_go_with_their_lease(etcd: EtcdProcess) -> None:
    async with store_of(etcd.endpoint) as store, cached_over(store) as cached:
        lease = await store._backend.new_lease(1)
        record = await store.write(Write(key("event"), pod("event"), 0, lease_id=lease))
        assert record is not None
        watcher = await cached.watch(_watch_from(record.revision))
        ((kind, name, _),) = await next_events(watcher, 1)
        assert (kind, name) == ("DELETED", "event")


async def test_the_queue_is_bounded(etcd: EtcdProcess) -> None:
    async with store_of(etcd.endpoint, queue_items_max=10) as store:
        with pytest.raises(QueueFull) as caught:
            await store.write_batch([Write(key(f"p{n}"), pod("p"), 0) for n in range(11)])
        assert caught.value.retry_after_s > 0
        outcomes = await store.write_batch([Write(key(f"p{n}"), pod("p"), 0) for n in range(10)])
        assert all(isinstance(outcome, Record) for outcome in outcomes)


async def test_an_applied_write_whose_answer_was_lost_is_reported_as_it_happened(etcd: EtcdProcess) -> None:
    async with TcpProxy(free_port(), etcd.client_port) as proxy, store_of(etcd.endpoint) as direct:
        async with store_of(f"127.0.0.1:{proxy.port}", request_timeout_s=2.0) as store:
            taken = await store.write(Write(key("taken"), pod("taken"), 0))
            changed = await store.write(Write(key("changed"), pod("changed"), 0))
            doomed = await store.write(Write(key("doomed"), pod("doomed"), 0))
            assert taken is not None and changed is not None and doomed is not None
            before = await direct.current_revision()
            proxy.swallow_answers = True
            writing = asyncio.gather(
                store.write_batch(
                    [
                        Write(key("new"), pod("new"), 0),
                        Write(key("taken"), pod("taken", note="mine"), 0),
                        Write(key("changed"), pod("changed", note="x"), changed.revision),
                        Write(key("doomed"), None, doomed.revision),
                        Write(key("nobody"), None, 5),
                    ]
                )
            )
            await _until_revision(direct, before + 1)
            # Somebody else changes the object before the writer has looked what became of its write.
            applied = await direct.get(key("changed"))
            await direct.write(Write(key("changed"), pod("changed", note="later"), applied.revision))
            proxy.swallow_answers = False
            proxy.cut()
            (outcomes,) = await writing
        assert outcomes[0] == await direct.get(key("new"))
        assert isinstance(outcomes[1], KeyExists) and outcomes[1].record == taken
        assert outcomes[2] == applied
        assert outcomes[3] is None
        assert isinstance(outcomes[4], KeyNotFound)


async def test_a_write_that_never_arrived_is_sent_again_and_takes_effect_once(etcd: EtcdProcess) -> None:
    async with TcpProxy(free_port(), etcd.client_port) as proxy:  # noqa: SIM117
        async with store_of(f"127.0.0.1:{proxy.port}") as store, cached_over(store) as cached:
            first = await store.write(Write(key("a"), pod("a"), 0))
            assert first is not None
            watcher = await cached.watch(_watch_from(first.revision))
            proxy.swallowed.clear()
            proxy.swallow_requests = True
            writing = asyncio.gather(store.write(Write(key("a"), pod("a", note="x"), first.revision)))
            await proxy.swallowed.wait()
            proxy.swallow_requests = False
            proxy.cut()
            (second,) = await writing
            assert second is not None
            third = await store.write(Write(key("b"), pod("b"), 0))
            assert third is not None
            assert await next_events(watcher, 2) == [
                ("MODIFIED", "a", second.revision),
                ("ADDED", "b", third.revision),
            ]


async def test_without_an_answer_in_time_the_outcome_is_unknown_and_said_to_be(etcd: EtcdProcess) -> None:
    async with (
        TcpProxy(free_port(), etcd.client_port) as proxy,
        store_of(f"127.0.0.1:{proxy.port}", request_timeout_s=0.4, outcome_timeout_s=1.0) as store,
    ):
        await insist(store, Write(key("a"), pod("a"), None))
        proxy.swallow_answers = True
        with pytest.raises(OutcomeUnknown):
            await store.write(Write(key("b"), pod("b"), 0))
        proxy.swallow_answers = False
        proxy.cut()
        async with asyncio.timeout(15):
            while True:
                try:
                    assert await store.write(Write(key("c"), pod("c"), None)) is not None
                    break
                except (Unavailable, OutcomeUnknown):
                    await asyncio.sleep(0.05)


async def test_every_write_during_a_kill_has_a_definite_and_true_outcome(etcd: EtcdProcess) -> None:
    async with store_of(etcd.endpoint) as store:
        outcomes: dict[str, Record | BaseException] = {}
        written = asyncio.Event()

        async def writer(number: int) -> None:
            for turn in range(40):
                name = f"w{number}-{turn}"
                try:
                    record = await store.write(Write(key(name), pod(name, note="x" * 500), 0))
                    assert record is not None
                    outcomes[name] = record
                except (Unavailable, OutcomeUnknown, KeyExists) as failure:
                    outcomes[name] = failure
                if len(outcomes) > 200:
                    written.set()

        async def killer() -> None:
            await written.wait()
            await asyncio.to_thread(etcd.restart)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(killer())
            for number in range(20):
                tasks.create_task(writer(number))
        there = {record.key: record for record in (await store.list(ListQuery(PREFIX, EVERYTHING))).records}
        assert len(outcomes) == 800
        for name, outcome in outcomes.items():
            if isinstance(outcome, Record):
                assert there[key(name)] == outcome
            else:
                assert isinstance(outcome, Unavailable), f"{name}: {outcome!r}"
                assert key(name) not in there


async def test_while_etcd_is_down_writes_are_refused_and_nothing_is_written(etcd: EtcdProcess) -> None:
    async with store_of(etcd.endpoint, request_timeout_s=0.3, outcome_timeout_s=20.0) as store:
        await insist(store, Write(key("a"), pod("a"), None))
        await asyncio.to_thread(etcd.kill)
        first = asyncio.gather(store.write(Write(key("first"), pod("first"), 0)), return_exceptions=True)
        async with asyncio.timeout(10):
            await _until_first_failure(store)  # until then, "later" could share the batch
            while True:
                try:
                    await store.write(Write(key("later"), pod("later"), 0))
                except Unavailable as failure:
                    if "cannot be reached" in str(failure):
                        break
                await asyncio.sleep(0.05)
        await asyncio.to_thread(etcd.start)
        (outcome,) = await first
        there = {record.key for record in (await store.list(ListQuery(PREFIX, EVERYTHING))).records}
        assert there == ({key("a"), key("first")} if isinstance(outcome, Record) else {key("a")})
        async with asyncio.timeout(10):
            while True:
                try:
                    await store.write(Write(key("again"), pod("again"), 0))
                    break
                except Unavailable:
                    await asyncio.sleep(0.05)


async def test_an_etcd_that_starts_late_is_waited_for() -> None:
    process = EtcdProcess()
    try:
        async with backend_of(process.endpoint) as backend:
            assert not backend.ready
            store = backend.store(PREFIX, lambda value: None)  # type: ignore[arg-type, return-value]
            writing = asyncio.gather(store.write(Write(key("a"), b"", 0)))
            await asyncio.to_thread(process.start)
            (record,) = await writing
            assert record == await store.get(key("a"))
            await backend.wait_ready()
            assert backend.ready
    finally:
        process.remove()


async def _until_revision(store: EtcdStore, revision: int) -> None:
    read = NextCall(store.current_revision)
    async with asyncio.timeout(10):
        while await read() < revision:
            pass


async def _until_first_failure(store: EtcdStore) -> None:
    while store._backend._committer._down_since_s is None:  # noqa: ASYNC110 (nothing tells the moment)
        await asyncio.sleep(0.01)


def _watch_from(revision: int) -> WatchQuery:
    return WatchQuery(PREFIX, EVERYTHING, revision)


async def test_heartbeats_conflict_with_what_the_keys_hold(etcd: EtcdProcess) -> None:
    """They do not ask etcd for it beforehand; it is read after a refusal."""
    async with store_of(etcd.endpoint, lease_gather_s=0.01) as store:
        held = await store.write(Write(key("held"), pod("held"), 0))
        assert held is not None
        changed = await store.write(Write(key("held"), pod("held", note="changed"), held.revision))
        writes = [
            Write(key("new"), pod("new"), 0, Lane.HEARTBEAT),
            Write(key("held"), pod("held", note="late"), held.revision, Lane.HEARTBEAT),
            Write(key("gone"), pod("gone"), 77, Lane.HEARTBEAT),
        ]
        new, late, gone = await store.write_batch(writes)
        assert isinstance(new, Record) and new.value == pod("new")
        assert isinstance(late, PreconditionFailed) and late.record == changed
        assert isinstance(gone, PreconditionFailed) and gone.record is None
        again = await store.write_batch(
            [
                Write(key("new"), pod("new", note="other"), 0, Lane.HEARTBEAT),
                Write(key("held"), pod("held", note="whatever"), None, Lane.HEARTBEAT),
            ]
        )
        assert isinstance(again[0], KeyExists) and again[0].record == new
        assert isinstance(again[1], Record) and (await store.get(key("held"))).value == pod("held", note="whatever")
