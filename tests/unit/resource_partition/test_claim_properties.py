"""Whatever two servers are asked at once, in whatever order: a ledger is the sum of its claims, and within its node.

One server reads the store itself, the other through caches that lag behind it, each by as much as it likes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from services.api.kinds import NODES
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityLedger, ClaimRelease
from services.base.tasks import Supervisor
from services.storage.errors import KeyExists, KeyNotFound, PreconditionFailed
from services.storage.memory import MemoryBackend
from tests.unit.resource_partition.world import Server, World, claim, node, release

NAMES = ("n", "m")
UIDS = tuple(f"p{n}" for n in range(6))


@dataclass(frozen=True)
class Claim:
    server: int
    uid: str
    name: str
    cpu: int
    epoch: int
    replaces: tuple[str, ...]
    partition: str

    async def run(self, servers: Sequence[Server]) -> None:
        wanted = claim(
            self.uid, self.name, cpu=self.cpu, epoch=self.epoch, partition=self.partition, replaces=self.replaces
        )
        (outcome,) = await servers[self.server].claim(wanted)
        assert outcome.state, f"{self}: {outcome}"


@dataclass(frozen=True)
class Release:
    server: int
    uid: str
    fact: int
    epoch: int

    async def run(self, servers: Sequence[Server]) -> None:
        (answer,) = await servers[self.server].release(release(self.uid, self.fact, epoch=self.epoch))
        assert answer in ("", "ClaimStays", "Conflict")


@dataclass(frozen=True)
class PutNode:
    server: int
    name: str
    cpu: int

    async def run(self, servers: Sequence[Server]) -> None:
        try:
            await servers[self.server].put_node(node(self.name, cpu=str(self.cpu)))
        except (KeyExists, PreconditionFailed):
            pass  # another write of the Node was faster, as a client would be told


@dataclass(frozen=True)
class DeleteNode:
    server: int
    name: str

    async def run(self, servers: Sequence[Server]) -> None:
        if servers[self.server].nodes.peek(f"/ursa/nodes/{self.name}") is not None:
            try:
                await servers[self.server].delete_node(self.name)
            except (KeyNotFound, PreconditionFailed):
                pass


@dataclass(frozen=True)
class CatchUp:
    cache: int


Step = CatchUp | Claim | Release | PutNode | DeleteNode

_server = st.integers(0, 1)
_uid = st.sampled_from(UIDS)
_name = st.sampled_from(NAMES)
_claims = st.builds(
    Claim,
    _server,
    _uid,
    _name,
    st.sampled_from((0, 500, 1000, 2000)),
    st.integers(0, 2),
    st.lists(_uid, max_size=3).map(tuple),
    st.sampled_from(("tp-1", "tp-2")),
).map(lambda made: Claim(**{**vars(made), "replaces": tuple(uid for uid in made.replaces if uid != made.uid)}))
_releases = st.builds(
    Release, _server, _uid, st.sampled_from((ClaimRelease.ABSENT, ClaimRelease.REVOKED)), st.integers(0, 2)
)
_steps = st.one_of(
    _claims,
    _claims,
    _claims,
    _releases,
    st.builds(PutNode, _server, _name, st.integers(0, 4)),
    st.builds(DeleteNode, _server, _name),
    st.builds(CatchUp, st.integers(0, 2)),
)
_turns = st.lists(st.lists(_steps, min_size=1, max_size=6), min_size=1, max_size=12)


@given(_turns)
@settings(max_examples=120, deadline=None)
def test_the_held_claims_never_exceed_what_a_node_can_give(turns: list[list[Step]]) -> None:
    asyncio.run(_play(turns))


async def _play(turns: list[list[Step]]) -> None:
    async with MemoryBackend() as backend, Supervisor() as tasks:
        world = World(backend)
        lagging, caches = world.make_lagging_server()
        servers = (world.server, lagging)
        for server in servers:
            tasks.start(server.desks.run(), name="claims")
        for name in NAMES:
            await world.server.put_node(node(name, cpu="2"))
        before = await world.ledgers()
        for turn in turns:
            for step in turn:
                if isinstance(step, CatchUp):
                    await caches[step.cache].catch_up()
            pending = [step.run(servers) for step in turn if not isinstance(step, CatchUp)]
            await asyncio.gather(*pending)
            before = await _check(world, before, turn)


async def _check(world: World, before: dict[str, CapacityLedger], turn: Sequence[Step]) -> dict[str, CapacityLedger]:
    ledgers, claims = await world.ledgers(), await world.claims()
    nodes = {name: await _node_cpu(world, name) for name in NAMES}
    for name in NAMES:
        ledger = ledgers.get(name, CapacityLedger())
        promised = {promise.pod_uid for promise in ledger.promises}
        mine = [recorded for recorded in claims.values() if recorded.spec.node_name == name]
        assert promised <= {recorded.metadata.name for recorded in mine}
        held = [recorded for recorded in mine if recorded.metadata.name not in promised]
        for partition in ("tp-1", "tp-2"):
            own = [recorded for recorded in held if recorded.spec.tenant_partition == partition]
            total = next((found for found in ledger.claimed if found.tenant_partition == partition), None)
            assert (total.pods if total else 0) == len(own)
            assert (total.requests["cpu"] if total else 0) == sum(recorded.spec.requests["cpu"] for recorded in own)
        for promise in ledger.promises:
            waits = {victim.pod_uid for victim in promise.waits_for}
            assert waits <= {recorded.metadata.name for recorded in held}, "nobody waits for what is not held"
        cpu = sum(recorded.spec.requests["cpu"] for recorded in held)
        earlier = before.get(name, CapacityLedger())
        could = [ledger.allocatable.get("cpu", 0), earlier.allocatable.get("cpu", 0)]
        could += [step.cpu * 1000 for step in turn if isinstance(step, PutNode) and step.name == name]
        was = sum(total.requests["cpu"] for total in earlier.claimed)
        assert cpu <= max(*could, was)
        # The ledger has the Node's allocatable, and none without the Node.
        assert (ledger.allocatable.get("cpu") if ledger.node_uid else None) == nodes[name]
    return ledgers


async def _node_cpu(world: World, name: str) -> int | None:
    try:
        record = await world.node_store.get(f"/ursa/nodes/{name}")
    except KeyNotFound:
        return None
    found = NODES.message.FromString(record.value)
    return int(found.status.allocatable["cpu"]) * 1000  # type: ignore[attr-defined]
