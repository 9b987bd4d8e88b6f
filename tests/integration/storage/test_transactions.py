"""Transactions against a real etcd: limits, answers that never come, a full database, a killed etcd."""

from __future__ import annotations

import asyncio

import pytest

from services.api.selectors import EVERYTHING
from services.storage.errors import (
    KeyExists,
    KeyNotFound,
    OutcomeUnknown,
    PreconditionFailed,
    StorageFull,
    TooManyWrites,
    Unavailable,
)
from services.storage.etcd import EtcdBackend
from services.storage.etcd.store import EtcdStore
from services.storage.interface import ListQuery, Record, Write
from services.storage.testing.world import attributes_of, pod
from services.storage.watchcache.sharing import NextCall
from tests.integration.storage.helpers import PREFIX, backend_of, insist, key
from tests.support.etcd import EtcdProcess, free_port, running_etcd
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.etcd

LEDGERS = "/ursa/ledgers/"


def ledger(name: str) -> str:
    return f"{LEDGERS}{name}"


def _stores(backend: EtcdBackend) -> tuple[EtcdStore, EtcdStore]:
    return backend.store(PREFIX, attributes_of), backend.store(LEDGERS, attributes_of)


async def test_transactions_and_writes_that_queue_together_share_one_etcd_transaction(etcd: EtcdProcess) -> None:
    async with backend_of(etcd.endpoint) as backend:
        pods, _ = _stores(backend)
        together, single = await asyncio.gather(
            backend.transact_batch([[Write(key(f"p{n}"), b"", 0), Write(ledger(f"l{n}"), b"", 0)] for n in range(20)]),
            pods.write(Write(key("single"), b"", 0)),
        )
        assert single is not None
        records = [record for outcome in together if not isinstance(outcome, Exception) for record in outcome]
        assert {record.revision for record in records if record is not None} == {single.revision}


async def test_a_lower_limit_of_a_foreign_server_is_learned_and_told() -> None:
    with running_etcd(max_txn_ops=32) as etcd:
        async with backend_of(etcd.endpoint, max_txn_ops=4096) as backend:
            pods, _ = _stores(backend)
            with pytest.raises(TooManyWrites) as caught:
                await backend.transact([Write(key(f"p{n}"), b"", 0) for n in range(200)])
            limit = backend.transaction_writes_max
            assert caught.value.limit == limit == 100
            while True:
                try:
                    done = await backend.transact([Write(key(f"p{n}"), b"", 0) for n in range(limit)])
                    break
                except TooManyWrites:
                    limit = backend.transaction_writes_max
            assert limit == 25 and len(done) == 25
            outcomes = await backend.transact_batch(
                [[Write(key(f"q{n}-{m}"), b"", 0) for m in range(10)] for n in range(50)]
            )
            assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
            assert len((await pods.list(ListQuery(PREFIX, EVERYTHING))).records) == 25 + 500


async def test_an_applied_transaction_whose_answer_was_lost_is_reported_as_it_happened(etcd: EtcdProcess) -> None:
    async with (
        TcpProxy(free_port(), etcd.client_port) as proxy,
        backend_of(etcd.endpoint) as direct,
        backend_of(f"127.0.0.1:{proxy.port}", request_timeout_s=2.0) as backend,
    ):
        pods, ledgers = _stores(direct)
        _stores(backend)
        held = (await backend.transact([Write(ledger("n"), pod("n"), 0)]))[0]
        taken = await pods.write(Write(key("taken"), pod("taken"), 0))
        assert held is not None
        before = await pods.current_revision()
        proxy.swallow_answers = True
        writing = asyncio.gather(
            backend.transact_batch(
                [
                    [Write(key("a"), pod("a"), 0), Write(ledger("n"), pod("n", note="1"), held.revision)],
                    [Write(ledger("other"), pod("other"), 0), Write(key("taken"), pod("mine"), 0)],
                ]
            )
        )
        read = NextCall(pods.current_revision)
        async with asyncio.timeout(10):
            while await read() < before + 1:
                pass
        # Somebody else goes on from it before the writer has looked what became of its transaction.
        applied = await ledgers.get(ledger("n"))
        await direct.transact([Write(key("a"), None, applied.revision), Write(ledger("n"), b"", applied.revision)])
        proxy.swallow_answers = False
        proxy.cut()
        ((first, second),) = await writing
        assert not isinstance(first, Exception)
        assert list(first) == [Record(key("a"), pod("a"), applied.revision), applied]
        assert isinstance(second, KeyExists) and second.record == taken


async def test_a_transaction_that_never_arrived_is_sent_again_and_takes_effect_once(etcd: EtcdProcess) -> None:
    async with (
        TcpProxy(free_port(), etcd.client_port) as proxy,
        backend_of(f"127.0.0.1:{proxy.port}") as backend,
    ):
        pods, ledgers = _stores(backend)
        held = (await backend.transact([Write(ledger("n"), pod("n"), 0)]))[0]
        assert held is not None
        proxy.swallowed.clear()
        proxy.swallow_requests = True
        writes = [Write(key("a"), pod("a"), 0), Write(ledger("n"), pod("n", note="1"), held.revision)]
        writing = asyncio.gather(backend.transact(writes))
        await proxy.swallowed.wait()
        proxy.swallow_requests = False
        proxy.cut()
        ((first, second),) = await writing
        assert first == await pods.get(key("a")) and second == await ledgers.get(ledger("n"))
        with pytest.raises(KeyExists):
            await backend.transact(writes)


async def test_without_an_answer_in_time_the_outcome_is_unknown_and_it_is_all_or_nothing(etcd: EtcdProcess) -> None:
    async with (
        TcpProxy(free_port(), etcd.client_port) as proxy,
        backend_of(f"127.0.0.1:{proxy.port}", request_timeout_s=0.4, outcome_timeout_s=1.0) as backend,
        backend_of(etcd.endpoint) as direct,
    ):
        pods, ledgers = _stores(direct)
        _, warm = _stores(backend)
        await insist(warm, Write(ledger("warm"), b"", None))
        proxy.swallow_answers = True
        with pytest.raises(OutcomeUnknown):
            await backend.transact([Write(key("a"), b"", 0), Write(ledger("a"), b"", 0)])
        # It was sent; its disk may take longer than its sender waits.
        async with asyncio.timeout(20):
            while True:
                try:
                    one, other = await pods.get(key("a")), await ledgers.get(ledger("a"))
                    break
                except KeyNotFound:
                    await asyncio.sleep(0.05)
        assert one.revision == other.revision


async def test_whatever_a_killed_etcd_answered_is_there_whole_and_nothing_is_there_in_part(etcd: EtcdProcess) -> None:
    async with backend_of(etcd.endpoint) as backend:
        pods, ledgers = _stores(backend)
        outcomes: dict[str, object] = {}
        written = asyncio.Event()

        async def writer(number: int) -> None:
            for turn in range(40):
                name = f"w{number}-{turn}"
                try:
                    outcomes[name] = await backend.transact(
                        [Write(key(name), pod(name, note="x" * 300), 0), Write(ledger(name), pod(name), 0)]
                    )
                except (Unavailable, OutcomeUnknown) as failure:
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
        one = {record.key[len(key("")) :]: record.revision for record in await _all(pods, PREFIX)}
        other = {record.key[len(LEDGERS) :]: record.revision for record in await _all(ledgers, LEDGERS)}
        assert one == other, "both keys of each, at one revision"
        assert len(outcomes) == 800
        for name, outcome in outcomes.items():
            assert (name in one) == (not isinstance(outcome, Exception)), f"{name}: {outcome!r}"


async def test_of_two_backends_that_race_for_a_key_one_wins_each_turn(etcd: EtcdProcess) -> None:
    async with backend_of(etcd.endpoint) as left, backend_of(etcd.endpoint) as right:
        pods, ledgers = _stores(left)
        _stores(right)
        (held,) = await left.transact([Write(ledger("n"), b"", 0)])

        async def run(backend: EtcdBackend, name: str) -> int:
            record, lost = held, 0
            for turn in range(30):
                while True:
                    assert record is not None
                    writes = [Write(key(f"{name}{turn}"), b"", 0), Write(ledger("n"), b"", record.revision)]
                    try:
                        _, record = await backend.transact(writes)
                        break
                    except PreconditionFailed as failure:
                        assert failure.key == ledger("n")
                        record, lost = failure.record, lost + 1
            return lost

        await asyncio.gather(run(left, "l"), run(right, "r"))
        revisions = [record.revision for record in await _all(pods, PREFIX)]
        assert len(revisions) == len(set(revisions)) == 60, "each moved the ledger alone"
        assert (await ledgers.get(ledger("n"))).revision == max(revisions)


async def test_a_full_etcd_takes_transactions_that_make_space_and_no_others() -> None:
    with running_etcd(extra=("--quota-backend-bytes=16777216",)) as etcd:
        async with backend_of(etcd.endpoint) as backend:
            pods, _ = _stores(backend)
            doomed, held = await backend.transact([Write(key("doomed"), pod("doomed"), 0), Write(ledger("n"), b"", 0)])
            assert doomed is not None and held is not None
            with pytest.raises(StorageFull):
                for number in range(100):
                    await pods.write(Write(key(f"fill{number}"), b"\x0a\x00" * (256 << 10), 0))
            with pytest.raises(StorageFull):
                await backend.transact([Write(key("a"), b"", 0), Write(ledger("n"), b"\x0a\x00", held.revision)])
            outcomes = await backend.transact(
                [Write(doomed.key, None, doomed.revision), Write(ledger("n"), b"\x0a\x00", held.revision)]
            )
            assert outcomes[0] is None and outcomes[1] is not None


async def _all(store: EtcdStore, prefix: str) -> list[Record]:
    return list((await store.list(ListQuery(prefix, EVERYTHING))).records)
