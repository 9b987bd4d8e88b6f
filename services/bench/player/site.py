"""The cluster as a player needs it: a link to each tenant's partition, the tenants and namespaces made, the nodes
known."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass

import grpc

from services.api import quantities
from services.api.pb.ursa.core.v1 import namespace_pb2, node_pb2
from services.api.pb.ursa.tenancy.v1 import tenancy_pb2
from services.base.clock import Clock
from services.bench.player.link import Link
from services.bench.player.requests import Place
from services.client.clientset import Clientset
from services.rpc.channel import make_channel
from services.rpc.status import StatusError

_NODES_PAGE = 2000
_NAMESPACE_S = 30.0
_PAUSE_S = 0.1


@dataclass(frozen=True)
class Nodes:
    """``names`` are ``rp/name``. ``cpu_milli``: the most that one lets pods take. ``registered_s``: from the first
    one's creation to the last one's becoming Ready, whole seconds."""

    names: frozenset[str]
    cpu_milli: int
    pods: int
    registered_s: float

    @property
    def more_than_half(self) -> str:
        """So much CPU that no node takes two such pods."""
        return f"{self.cpu_milli // 2 + 100}m"


async def nodes(endpoints: Mapping[str, str]) -> Nodes:
    """Every node of every resource partition. Raises ``StatusError``."""
    names: set[str] = set()
    cpu_milli = pods = 0
    created: list[int] = []
    ready: list[int] = []
    for partition, endpoint in endpoints.items():
        async with make_channel([endpoint]) as channel:
            async for page in Clientset(channel).nodes.pages(limit=_NODES_PAGE):
                for node in page.items:
                    names.add(f"{partition}/{node.metadata.name}")
                    created.append(node.metadata.creation_timestamp.seconds)
                    ready += _ready_since(node)
                    cpu_milli = max(cpu_milli, quantities.milli(node.status.allocatable.get("cpu", "0")))
                    pods += quantities.whole(node.status.allocatable.get("pods", "0"))
    registered_s = max(ready, default=0) - min(created, default=0)
    return Nodes(frozenset(names), cpu_milli, pods, float(max(0, registered_s)))


def _ready_since(node: node_pb2.Node) -> Iterable[int]:
    return [one.last_transition_time.seconds for one in node.status.conditions if one.type == "Ready"]


@contextlib.asynccontextmanager
async def links(endpoints: Mapping[str, str], places: Iterable[Place]) -> AsyncIterator[dict[str, Link]]:
    """A link by tenant, one for each partition."""
    by_partition = {name: Link(endpoint) for name, endpoint in endpoints.items()}
    try:
        yield {place.tenant: by_partition[place.partition] for place in places}
    finally:
        for link in by_partition.values():
            link.close()


async def prepare(endpoints: Mapping[str, str], places: Iterable[Place], clock: Clock) -> None:
    """Make tenants and namespaces that are not there. Raises ``StatusError``."""
    by_partition: dict[str, list[Place]] = {}
    for place in places:
        by_partition.setdefault(place.partition, []).append(place)
    for partition, wanted in by_partition.items():
        async with make_channel([endpoints[partition]]) as channel:
            client = Clientset(channel)
            for tenant in dict.fromkeys(place.tenant for place in wanted):
                made = tenancy_pb2.Tenant()
                made.metadata.name = tenant
                await _unless_there(client.tenants.create(made))
            for place in wanted:
                await _namespace(client, place, clock)


async def _namespace(client: Clientset, place: Place, clock: Clock) -> None:
    namespace = namespace_pb2.Namespace()
    namespace.metadata.tenant, namespace.metadata.name = place.tenant, place.namespace
    deadline = clock.monotonic() + _NAMESPACE_S
    while True:
        try:
            return await _unless_there(client.namespaces.create(namespace))
        except StatusError as failure:
            # A tenant that was made just now may not be known to admission yet.
            if failure.code is not grpc.StatusCode.NOT_FOUND or clock.monotonic() > deadline:
                raise
        await clock.sleep(_PAUSE_S)


async def _unless_there(create: object) -> None:
    try:
        await create  # type: ignore[misc]
    except StatusError as failure:
        if failure.code is not grpc.StatusCode.ALREADY_EXISTS:
            raise
