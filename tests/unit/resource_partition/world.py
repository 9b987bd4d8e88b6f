"""A resource partition's ledgers over memory: its stores, one or two servers' desks, and short words for both."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from services.api import keys, wire
from services.api.kinds import CAPACITY_CLAIMS, CAPACITY_LEDGERS, NODES
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.meta.v1.meta_pb2 import BatchResponse
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import (
    BatchClaimRequest,
    BatchClaimResponse,
    BatchReleaseRequest,
    CapacityClaim,
    CapacityLedger,
    ClaimOutcome,
    ClaimRelease,
)
from services.api.selectors import EVERYTHING
from services.apiserver.writes import Makers
from services.base.clock import FakeClock
from services.base.ids import sequential_uids
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.resource_partition.claimdesks import ClaimDesks
from services.resource_partition.claims import CapacityClaimsServicer
from services.resource_partition.ledgerednodes import LedgeredNodes
from services.rpc.status import from_status
from services.storage.errors import KeyNotFound
from services.storage.interface import ListQuery, Record, ResourceStore, Transactor, Write
from services.storage.memory import MemoryBackend, MemoryStore

NOBODY: Any = type("Context", (), {"invocation_metadata": lambda self: ()})()
"""A caller without a trace."""


def node(name: str, uid: str = "", *, cpu: str = "4", pods: str = "10") -> Node:
    found = Node()
    found.metadata.name, found.metadata.uid = name, uid or f"uid-of-{name}"
    found.status.allocatable.update({"cpu": cpu, "memory": "8Gi", "pods": pods})
    return found


def claim(
    uid: str,
    node_name: str = "n",
    *,
    cpu: int = 1000,
    epoch: int = 0,
    partition: str = "tp-1",
    node_uid: str = "",
    replaces: Sequence[str] = (),
    port: int = 0,
) -> CapacityClaim:
    found = CapacityClaim()
    found.metadata.name = uid
    spec = found.spec
    spec.node_name, spec.node_uid, spec.tenant_partition = node_name, node_uid, partition
    spec.tenant, spec.namespace, spec.pod_name = "acme", "default", f"pod-{uid}"
    spec.requests["cpu"] = cpu
    spec.bind_epoch = epoch
    spec.replaces.extend(replaces)
    if port:
        spec.host_ports.add(host_port=port)
    return found


def release(uid: str, fact: int = ClaimRelease.ABSENT, *, epoch: int = 0, node_name: str = "") -> ClaimRelease:
    return ClaimRelease(pod_uid=uid, fact=fact, bind_epoch=epoch, node_name=node_name)  # type: ignore[arg-type]


def verdict(outcome: ClaimOutcome) -> str:
    """HELD, PROMISED, or the reason of the refusal."""
    if outcome.state in (ClaimOutcome.HELD, ClaimOutcome.PROMISED):
        return ClaimOutcome.State.Name(outcome.state)
    return reason(outcome.status)


def reason(status: Any) -> str:
    return from_status(status).reason


class Server:
    """One server's view of the partition."""

    def __init__(
        self, nodes: ResourceStore, claims: ResourceStore, ledgers: ResourceStore, transactor: Transactor
    ) -> None:
        self.makers = Makers(FakeClock(), Rand(1), sequential_uids())
        self.nodes = LedgeredNodes(nodes, ledgers, transactor, self.makers.begin)
        self.desks = ClaimDesks(claims, ledgers, transactor, self.makers.begin)
        self.servicer = CapacityClaimsServicer(self.desks)

    async def claim(self, *claims: CapacityClaim) -> list[ClaimOutcome]:
        request = BatchClaimRequest(claims=claims).SerializeToString()
        answer = await self.servicer.batch_claim(request, NOBODY)
        return list(BatchClaimResponse.FromString(answer).outcomes)

    async def verdicts(self, *claims: CapacityClaim) -> list[str]:
        return [verdict(outcome) for outcome in await self.claim(*claims)]

    async def release(self, *releases: ClaimRelease) -> list[str]:
        """ "" where the claim has ended, else why not."""
        request = BatchReleaseRequest(releases=releases).SerializeToString()
        answer = BatchResponse.FromString(await self.servicer.batch_release(request, NOBODY))
        return [reason(outcome.status) if outcome.HasField("status") else "" for outcome in answer.outcomes]

    # -- Nodes, as the API server writes them

    async def put_node(self, wanted: Node) -> None:
        key = keys.key_of(NODES, wanted)
        held = self.nodes.peek(key)
        outcome = await self.nodes.write(Write(key, wire.canonical(wanted), held.revision if held else 0))
        assert outcome is not None

    async def delete_node(self, name: str) -> None:
        key = keys.key(NODES, "", "", name)
        held = self.nodes.peek(key)
        assert held is not None
        await self.nodes.write(Write(key, None, held.revision))


class LaggingStore:
    """A store as a watch cache shows it that is as late as can be: it catches up when it is told to, or has to."""

    def __init__(self, store: MemoryStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix
        self._shown: dict[str, Record] = {}
        self._position = 0

    async def catch_up(self) -> None:
        page = await self._store.list(ListQuery(self._prefix, EVERYTHING))
        self._shown = {record.key: record for record in page.records}
        self._position = page.revision

    def peek(self, key: str) -> Record | None:
        return self._shown.get(key)

    async def get(self, key: str, revision: int | None = None) -> Record:
        if revision is None:
            return await self._store.get(key)
        if revision > self._position:
            await self.catch_up()
        if key not in self._shown:
            raise KeyNotFound(key)
        return self._shown[key]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class World:
    def __init__(self, backend: MemoryBackend) -> None:
        self.backend = backend
        self.node_store = backend.store(keys.prefix(NODES), NODES.attributes)
        self.claim_store = backend.store(keys.prefix(CAPACITY_CLAIMS), CAPACITY_CLAIMS.attributes)
        self.ledger_store = backend.store(keys.prefix(CAPACITY_LEDGERS), CAPACITY_LEDGERS.attributes)
        self.server = self.make_server()

    def make_server(self) -> Server:
        return Server(self.node_store, self.claim_store, self.ledger_store, self.backend)

    def make_lagging_server(self) -> tuple[Server, list[LaggingStore]]:
        """A server whose caches show nothing new unless they have to, and those caches."""
        stores = [
            LaggingStore(self.node_store, keys.prefix(NODES)),
            LaggingStore(self.claim_store, keys.prefix(CAPACITY_CLAIMS)),
            LaggingStore(self.ledger_store, keys.prefix(CAPACITY_LEDGERS)),
        ]
        return Server(*stores, self.backend), stores  # type: ignore[arg-type]

    async def ledger(self, name: str = "n") -> CapacityLedger:
        return CapacityLedger.FromString((await self.ledger_store.get(keys.key(CAPACITY_LEDGERS, "", "", name))).value)

    async def ledgers(self) -> dict[str, CapacityLedger]:
        page = await self.ledger_store.list(ListQuery(keys.prefix(CAPACITY_LEDGERS), EVERYTHING))
        found = [CapacityLedger.FromString(record.value) for record in page.records]
        return {ledger.metadata.name: ledger for ledger in found}

    async def claims(self) -> dict[str, CapacityClaim]:
        page = await self.claim_store.list(ListQuery(keys.prefix(CAPACITY_CLAIMS), EVERYTHING))
        found = [CapacityClaim.FromString(record.value) for record in page.records]
        return {recorded.metadata.name: recorded for recorded in found}


def held(ledger: CapacityLedger, resource: str = "cpu") -> int:
    return sum(total.requests.get(resource, 0) for total in ledger.claimed)


def held_pods(ledger: CapacityLedger) -> int:
    return sum(total.pods for total in ledger.claimed)


@contextlib.asynccontextmanager
async def running_world() -> AsyncIterator[World]:
    async with MemoryBackend() as backend, Supervisor() as tasks:
        world = World(backend)
        tasks.start(world.server.desks.run(), name="claims")
        yield world
