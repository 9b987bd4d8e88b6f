"""Claims against real servers over a real etcd: servers that race, servers that are killed, and many claims."""

from __future__ import annotations

import asyncio
import itertools
import pathlib
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim, ClaimOutcome, ClaimRelease
from services.rpc.status import StatusError, from_status
from tests.integration.apiserver.world import eventually
from tests.integration.resource_partition.world import Server, running
from tests.support.etcd import EtcdProcess, find_binary, running_etcd
from tests.unit.resource_partition.world import claim, verdict

pytestmark = pytest.mark.etcd


@pytest.fixture
def etcd() -> Iterator[EtcdProcess]:
    if find_binary() is None:
        pytest.skip("no etcd binary")
    with running_etcd() as process:
        yield process


async def _claim(server: Server, claims: Sequence[CapacityClaim]) -> list[ClaimOutcome]:
    return list(await server.clients.capacity_claims.batch_claim(claims, timeout_s=30.0))


async def test_two_servers_that_race_for_nearly_full_nodes_fill_them_and_not_more(
    etcd: EtcdProcess, tmp_path: pathlib.Path
) -> None:
    async with running(etcd, tmp_path, 2) as world:
        names = await world.nodes(100, cpu="4")
        first = await _claim(world.servers[0], [claim(f"old-{name}", name, cpu=3000) for name in names])
        assert {verdict(outcome) for outcome in first} == {"HELD"}
        verdicts: Counter[str] = Counter()

        async def scheduler(server: Server, partition: str) -> None:
            """Tries for two more pods on each node, in an order of its own; half a node each fits once in all."""
            wanted = [
                claim(f"{partition}-{name}-{turn}", name, cpu=500, partition=partition)
                for name, turn in itertools.product(names, range(2))
            ]
            random.Random(partition).shuffle(wanted)
            for start in range(0, len(wanted), 25):
                outcomes = await _claim(server, wanted[start : start + 25])
                verdicts.update(verdict(outcome) for outcome in outcomes)

        async with asyncio.TaskGroup() as tasks:
            for server, partition in zip(world.servers, ("tp-1", "tp-22"), strict=True):
                for copy in range(2):
                    tasks.create_task(scheduler(server, f"{partition}-{copy}"))
        cpu = await world.audit()
        assert set(cpu.values()) == {4000}, "no room was refused that was there"
        assert verdicts == {"HELD": 200, "Insufficient": 600}


async def test_what_one_server_holds_the_other_knows_at_once(etcd: EtcdProcess, tmp_path: pathlib.Path) -> None:
    """Reads of a cache that lags behind would refuse what is held, and hold what is released."""
    async with running(etcd, tmp_path, 2) as world:
        left, right = world.servers
        (name,) = await world.nodes(1, cpu="1")
        for turn in range(30):
            wanted = claim(f"p{turn}", name)
            assert [verdict(outcome) for outcome in await _claim(left, [wanted])] == ["HELD"]
            again, other = await _claim(right, [wanted, claim("other", name)])
            assert (verdict(again), verdict(other)) == ("HELD", "Insufficient")
            released = await right.clients.capacity_claims.batch_release(
                [ClaimRelease(pod_uid=f"p{turn}", fact=ClaimRelease.ABSENT)]
            )
            assert all(not isinstance(outcome, StatusError) for outcome in released)
        assert set((await world.audit()).values()) <= {0}


async def test_a_server_killed_in_the_middle_of_claims_leaves_no_half_of_one(
    etcd: EtcdProcess, tmp_path: pathlib.Path
) -> None:
    async with running(etcd, tmp_path, 2) as world:
        victim, survivor = world.servers
        names = await world.nodes(40, cpu="8")
        batches = [[claim(f"p{batch}-{n}", names[n % 40], cpu=100) for n in range(80)] for batch in range(30)]
        answered: dict[str, ClaimOutcome] = {}
        under_way, killed = asyncio.Event(), asyncio.Event()

        async def claimant(own: Sequence[Sequence[CapacityClaim]]) -> None:
            server = victim
            for batch in own:
                while True:
                    try:
                        outcomes = await _claim(server, batch)
                    except StatusError:
                        # No answer: some, all or none of them are held. Ask again, elsewhere.
                        await killed.wait()
                        server = survivor
                        continue
                    answered.update({outcome.pod_uid: outcome for outcome in outcomes})
                    if len(answered) >= 400:
                        under_way.set()
                    break

        async def killer() -> None:
            await under_way.wait()
            await victim.process.kill()
            killed.set()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(killer())
            for number in range(3):
                tasks.create_task(claimant(batches[number::3]))
        assert {verdict(outcome) for outcome in answered.values()} == {"HELD"}
        await victim.again()
        assert set(await world.claims()) == set(answered) and len(answered) == 2400
        cpu = await world.audit()
        assert set(cpu.values()) == {6000}
        # The server that was started again goes on where the store stands.
        more = await _claim(victim, [claim(f"more-{n}", names[0], cpu=1000) for n in range(3)])
        assert [verdict(outcome) for outcome in more] == ["HELD", "HELD", "Insufficient"]


async def test_thirty_thousand_claims_on_one_node(etcd: EtcdProcess, tmp_path: pathlib.Path) -> None:
    async with running(etcd, tmp_path, 1) as world:
        (name,) = await world.nodes(1, cpu="40000", pods="30000")
        wanted = [claim(f"p{n}", name, cpu=100) for n in range(30_001)]
        started = time.monotonic()
        batches = iter([wanted[start : start + 512] for start in range(0, 30_000, 512)])

        async def claimant() -> None:
            for batch in batches:
                assert {verdict(outcome) for outcome in await _claim(world.servers[0], batch)} <= {
                    "HELD",
                    "Insufficient",
                }

        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(claimant())
        took_s = time.monotonic() - started
        print(f"{30_000 / took_s:.0f} claims/s on one node")
        (last,) = await _claim(world.servers[0], [claim("one-more", name, cpu=0)])
        assert last.status.message == "Too many pods"
        assert (await world.audit())[name] == 3_000_000
        assert took_s < 30.0


async def test_bad_items_name_their_fields_and_change_nothing(etcd: EtcdProcess, tmp_path: pathlib.Path) -> None:
    async with running(etcd, tmp_path, 1) as world:
        (name,) = await world.nodes(1, cpu="4")
        bad = claim("bad", name, cpu=-5)
        bad.spec.tenant_partition = ""
        outcomes = await _claim(world.servers[0], [bad, claim("good", name)])
        assert [violation.field for violation in from_status(outcomes[0].status).violations] == [
            "claims[0].spec.tenantPartition",
            "claims[0].spec.requests[cpu]",
        ]
        assert outcomes[0].state == ClaimOutcome.REFUSED and verdict(outcomes[1]) == "HELD"
        assert list(await world.claims()) == ["good"]


async def test_a_node_and_its_ledger_change_together_under_a_storm_of_claims(
    etcd: EtcdProcess, tmp_path: pathlib.Path
) -> None:
    """Deleted and created again, with other capacities, by one server, while another one claims."""
    async with running(etcd, tmp_path, 2) as world:
        left, right = world.servers
        (name,) = await world.nodes(1, cpu="2")
        done = asyncio.Event()
        verdicts: Counter[str] = Counter()

        async def claimant() -> None:
            for turn in itertools.count():
                outcomes = await _claim(right, [claim(f"p{turn}-{n}", name, cpu=500) for n in range(6)])
                verdicts.update(verdict(outcome) for outcome in outcomes)
                await right.clients.capacity_claims.batch_release(
                    [ClaimRelease(pod_uid=f"p{turn}-{n}", fact=ClaimRelease.ABSENT) for n in range(6)]
                )
                if done.is_set():
                    return

        async def claimed(before: int) -> None:
            async def since() -> bool:
                return verdicts["HELD"] > before

            await eventually(since)

        async def operator() -> None:
            for turn in range(15):
                await left.clients.nodes.delete(name)
                await world.nodes(1, cpu=str(1 + turn % 3))
                if turn % 3 == 0:
                    # The two wait for the same disk and can fall into step, each claim just behind a deletion: now
                    # and then the node stays until it is claimed.
                    await claimed(verdicts["HELD"])
            done.set()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(claimant())
            tasks.create_task(operator())
        assert set(verdicts) <= {"HELD", "Insufficient", "NodeNotFound"} and verdicts["HELD"], verdicts
        await world.audit()
        node = await left.clients.nodes.get(name)
        ledger = (await world.ledgers())[name]
        assert (ledger.node_uid, ledger.allocatable["cpu"]) == (node.metadata.uid, 3000)
