"""Around the ledgers: lanes, and Nodes that were stored before there were ledgers."""

from __future__ import annotations

from services.api import keys, wire
from services.api.kinds import CAPACITY_CLAIMS, NODES
from services.apiserver.overload import Overload
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.resource_partition.claimplan import Known, plan
from services.resource_partition.ledgerfill import LedgerFill
from services.resource_partition.ledgers import StoredLedger
from services.storage.interface import Lane, Write
from tests.unit.resource_partition.world import World, claim, node, release


async def test_claims_and_releases_never_stand_behind_creates(world: World) -> None:
    overload = Overload()
    assert overload.lane_of(CAPACITY_CLAIMS, "BATCHCLAIM") is overload.system
    assert overload.lane_of(CAPACITY_CLAIMS, "BATCHRELEASE") is overload.system
    await world.server.put_node(node("n"))
    await world.server.claim(claim("old"))
    stored = StoredLedger.of("n", await world.ledger_store.get("/ursa/capacityledgers/n"))
    old = Known((await world.claims())["old"], stored.revision)
    made = plan(
        stored,
        [claim("new"), release("old")],
        lambda uid: old if uid == "old" else Known(),
        world.server.makers.begin,
        writes_max=100,
    )
    assert [write.key.split("/")[2] for write in made.writes] == ["capacityledgers", "capacityclaims", "capacityclaims"]
    assert {write.lane for write in made.writes} == {Lane.SYSTEM}


async def test_a_plan_takes_as_many_items_as_a_transaction_holds(world: World) -> None:
    await world.server.put_node(node("n"))
    stored = StoredLedger.of("n", await world.ledger_store.get("/ursa/capacityledgers/n"))
    wanted = [claim(f"p{n}", cpu=1) for n in range(10)]
    made = plan(stored, wanted, lambda uid: Known(), world.server.makers.begin, writes_max=4)
    assert made.taken == 3 and len(made.writes) == 4


async def test_nodes_without_a_ledger_are_given_one_at_the_start(world: World) -> None:
    bare = node("bare", cpu="3")
    await world.node_store.write(Write(keys.key_of(NODES, bare), wire.canonical(bare), 0))
    await world.server.put_node(node("n"))
    revision = (await world.ledger_store.get("/ursa/capacityledgers/n")).revision
    fill = LedgerFill(world.server.nodes, world.ledger_store, FakeClock(), Rand(1))
    await fill.run()
    assert fill.done
    assert (await world.ledger("bare")).allocatable["cpu"] == 3000
    assert (await world.ledger_store.get("/ursa/capacityledgers/n")).revision == revision
    assert await world.server.verdicts(claim("p", "bare", cpu=3000)) == ["HELD"]
