"""rp-1, tp-1 and tp-2 as real servers over an etcd each, with a node; names of their own for each test."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.api.pb.ursa.core.v1 import node_pb2, pod_pb2
from services.api.pb.ursa.scheduling.v1 import capacity_pb2
from services.resource_partition import config as resource_config
from services.tenant_partition import config as tenant_config
from tests.integration.apiserver.world import (
    Partition,
    binding,
    pod,
    resource_partition_config,
    running,
    tenant_partition_config,
)
from tests.support.etcd import EtcdProcess, free_port
from tests.support.tenants import make_tenant

PORTS = range(25_000, 25_400)
TENANT_PARTITIONS = ("tp-1", "tp-2")

_numbers = itertools.count(1)


@dataclass
class Cluster:
    """``stop`` and ``start`` end and begin the server of a partition; its etcd stays."""

    resource: resource_config.Config
    tenants: dict[str, tenant_config.Config]
    number: int = field(default_factory=lambda: next(_numbers))
    _running: dict[str, tuple[contextlib.AsyncExitStack, Partition]] = field(default_factory=dict)

    @property
    def node(self) -> str:
        return f"node-{self.number}"

    def tenant(self, partition: str = "tp-1") -> str:
        return f"acme-{partition}-{self.number}"

    async def start(self, name: str) -> Partition:
        stack = contextlib.AsyncExitStack()
        config = self.resource if name == self.resource.name else self.tenants[name]
        self._running[name] = stack, await stack.enter_async_context(running(config))
        return self._running[name][1]

    async def stop(self, name: str) -> None:
        await self._running.pop(name)[0].aclose()

    async def stop_all(self) -> None:
        for name in reversed(list(self._running)):
            await self.stop(name)

    def at(self, name: str) -> Any:
        """The clients of a partition."""
        return self._running[name][1].clients

    async def prepare(self) -> None:
        """A node with room for 100 pods, a tenant on each tenant partition."""
        node = node_pb2.Node()
        node.metadata.name = self.node
        for amounts in (node.status.capacity, node.status.allocatable):
            amounts.update({"cpu": "32", "memory": "64Gi", "pods": "100"})
        await self.at("rp-1").nodes.create(node)
        await self.at("rp-1").nodes.update_status(node)
        for name in self.tenants:
            await make_tenant(self.at(name), self.tenant(name))

    # What a scheduler does.

    async def create(self, name: str, partition: str = "tp-1") -> pod_pb2.Pod:
        found: pod_pb2.Pod = await self.at(partition).pods.create(pod(self.tenant(partition), name))
        return found

    async def claim(self, one: pod_pb2.Pod, partition: str = "tp-1", epoch: int = 0) -> capacity_pb2.ClaimOutcome:
        wanted = capacity_pb2.CapacityClaim()
        wanted.metadata.name = one.metadata.uid
        spec = wanted.spec
        spec.node_name, spec.tenant_partition, spec.bind_epoch = self.node, partition, epoch
        spec.tenant, spec.namespace, spec.pod_name = one.metadata.tenant, one.metadata.namespace, one.metadata.name
        spec.requests["cpu"] = 100
        [outcome] = await self.at("rp-1").capacity_claims.batch_claim([wanted])
        return outcome  # type: ignore[no-any-return]

    async def bind(self, one: pod_pb2.Pod, partition: str = "tp-1", epoch: int = 0) -> Any:
        wanted = binding(one.metadata.tenant, one.metadata.name, self.node, uid=one.metadata.uid)
        wanted.bind_epoch, wanted.capacity_claimed = epoch, True
        [outcome] = await self.at(partition).pods.batch_bind([wanted])
        return outcome.status

    async def placed(self, name: str, partition: str = "tp-1") -> pod_pb2.Pod:
        """A pod that is claimed for and bound."""
        one = await self.create(name, partition)
        outcome = await self.claim(one, partition)
        assert outcome.state == capacity_pb2.ClaimOutcome.HELD, outcome
        assert await self.bind(one, partition) is None
        return one

    async def finish(self, one: pod_pb2.Pod, partition: str = "tp-1") -> None:
        one.status.phase = "Succeeded"
        one.metadata.resource_version = 0
        await self.at(partition).pods.update_status(one)

    async def delete(self, one: pod_pb2.Pod, partition: str = "tp-1") -> None:
        metadata = one.metadata
        await self.at(partition).pods.delete(
            metadata.name, tenant=metadata.tenant, namespace=metadata.namespace, grace_period_seconds=0
        )

    async def claims(self) -> set[str]:
        """UIDs of the pods that have a claim on this test's node."""
        listing = await self.at("rp-1").capacity_claims.list(field_selector=f"spec.nodeName={self.node}")
        return {one.metadata.name for one in listing.items}

    async def held(self) -> int:
        """Pods that the node's ledger counts."""
        ledger = await self.at("rp-1").capacity_ledgers.get(self.node)
        return sum(total.pods for total in ledger.claimed)


@pytest.fixture(scope="session")
def etcds() -> Iterator[dict[str, EtcdProcess]]:
    made = {name: EtcdProcess(free_port(PORTS), free_port(PORTS)) for name in ("rp-1", *TENANT_PARTITIONS)}
    try:
        for process in made.values():
            process.start()
        yield made
    finally:
        for process in made.values():
            process.remove()


@pytest.fixture
async def cluster(etcds: dict[str, EtcdProcess]) -> AsyncIterator[Cluster]:
    ports = {name: free_port(PORTS) for name in etcds}
    links = tuple(
        resource_config.TenantPartitionLink(name, (f"127.0.0.1:{ports[name]}",)) for name in TENANT_PARTITIONS
    )
    resource = resource_partition_config(etcds["rp-1"].endpoint, ports["rp-1"], tenant_partitions=links)
    tenants = {
        name: tenant_partition_config(etcds[name].endpoint, ports[name], resource.listen, name)
        for name in TENANT_PARTITIONS
    }
    made = Cluster(resource, tenants)
    try:
        for name in ("rp-1", *TENANT_PARTITIONS):
            await made.start(name)
        await made.prepare()
        yield made
    finally:
        await made.stop_all()
