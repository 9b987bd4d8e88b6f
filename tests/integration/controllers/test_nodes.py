"""Nodes of a real resource partition die and return; their pods are on real tenant partitions. Short timings."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.api.pb.ursa.coordination.v1.lease_pb2 import Lease
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.base.tasks import stop_task
from services.client.election import ElectionConfig
from services.client.partitions import Connection
from services.controllers.app import ControllerManager
from services.controllers.config import ControllersConfig, PartitionAddress
from services.controllers.nodes.config import NodesConfig
from services.controllers.nodes.facts import LEASE_NAMESPACE, SYSTEM_TENANT, UNREACHABLE
from services.rpc.status import StatusError
from tests.integration.apiserver.world import binding, eventually, pod
from tests.integration.controllers.conftest import Cluster
from tests.support.etcd import EtcdProcess

GRACE_S = 5.0
# A pulse is gathered with other renewals for up to a second, and this machine may be busy.
CONFIG = NodesConfig(
    monitor_period_s=0.2,
    grace_s=GRACE_S,
    startup_grace_s=GRACE_S,
    eviction_rate_per_s=20.0,
    pulse_period_s=0.3,
    blind_after_s=3.0,
    backoff_max_s=0.5,
)
BEAT_S = 0.5


class Machines:
    """Nodes with a lease each; those that are ``alive`` renew it, and report Ready when they are not.

    Their zone is their own: nodes that other tests left on this cluster are silent, and where most are, nobody is
    evicted.
    """

    def __init__(self, cluster: Cluster, count: int = 3) -> None:
        self._cluster = cluster
        self.names = [f"m{cluster.number}-{number}" for number in range(count)]
        self.alive = set(self.names)

    @property
    def _clients(self) -> Any:
        return self._cluster.at("rp-1")

    async def register(self) -> None:
        for name in self.names:
            node = Node()
            node.metadata.name = name
            node.metadata.labels["topology.kubernetes.io/zone"] = f"zone-{self._cluster.number}"
            for amounts in (node.status.capacity, node.status.allocatable):
                amounts.update({"cpu": "32", "memory": "64Gi", "pods": "100"})
            made = await self._clients.nodes.create(node)
            await self._clients.nodes.update_status(_ready(node))
            lease = _lease(name)
            lease.metadata.owner_references.add(api_version="v1", kind="Node", name=name, uid=made.metadata.uid)
            await self._clients.leases.create(lease)

    async def run(self) -> None:
        while True:
            with contextlib.suppress(StatusError, KeyError):
                await self._clients.leases.batch_update([_lease(name) for name in sorted(self.alive)], timeout_s=1.0)
                for name in sorted(self.alive):
                    node = await self._clients.nodes.get(name)
                    if {c.status for c in node.status.conditions if c.type == "Ready"} != {"True"}:
                        await self._clients.nodes.update_status(_ready(node))
            await asyncio.sleep(BEAT_S)

    async def taints(self, name: str) -> set[str]:
        node = await self._clients.nodes.get(name)
        return {taint.key for taint in node.spec.taints if taint.effect == "NoExecute"}


def _ready(node: Node) -> Node:
    update = Node(status=node.status)
    update.metadata.name = node.metadata.name
    del update.status.conditions[:]
    for kind in ("MemoryPressure", "DiskPressure", "PIDPressure"):
        update.status.conditions.add(type=kind, status="False")
    update.status.conditions.add(type="Ready", status="True")
    return update


def _lease(name: str) -> Lease:
    lease = Lease()
    metadata = lease.metadata
    metadata.name, metadata.namespace, metadata.tenant = name, LEASE_NAMESPACE, SYSTEM_TENANT
    lease.spec.holder_identity, lease.spec.lease_duration_seconds = name, 40
    now_s = SystemClock().time()
    lease.spec.renew_time.seconds = int(now_s)
    lease.spec.renew_time.nanos = int(now_s % 1 * 1e6) * 1000
    return lease


@contextlib.asynccontextmanager
async def managed(cluster: Cluster) -> AsyncIterator[tuple[Machines, ControllerManager]]:
    """Machines that beat, and a controller manager that sees them and follows both tenant partitions."""
    machines = Machines(cluster)
    await machines.register()
    address = PartitionAddress("rp-1", (cluster.resource.listen,))
    config = ControllersConfig("controller-rp-1", address, nodes=CONFIG, leader_election=ElectionConfig(enabled=False))
    clock, rand = SystemClock(), Rand(1)
    manager = ControllerManager(config, Connection("rp-1", address.endpoints, clock, rand), clock=clock, rand=rand)
    tasks = [asyncio.create_task(machines.run()), asyncio.create_task(manager.run())]

    async def sees() -> bool:
        claims = manager.claims
        follows = claims is not None and len(claims.tenants) == 2
        return follows and all(one.connected for one in claims.tenants.values()) and _sees(manager)

    try:
        await eventually(sees, within_s=15)
        yield machines, manager
    finally:
        for task in tasks:
            await stop_task(task)
        for name in machines.names:
            with contextlib.suppress(StatusError):
                await cluster.at("rp-1").nodes.delete(name)


def _sees(manager: ControllerManager) -> bool:
    return manager.nodes is not None and manager.nodes.sees


async def placed(cluster: Cluster, name: str, node: str, partition: str, stays_s: int) -> None:
    tenant = cluster.tenant(partition)
    made = pod(tenant, name)
    made.spec.tolerations.add(key=UNREACHABLE, operator="Exists", effect="NoExecute", toleration_seconds=stays_s)
    stored = await cluster.at(partition).pods.create(made)
    [outcome] = await cluster.at(partition).pods.batch_bind([binding(tenant, name, node, uid=stored.metadata.uid)])
    assert outcome.status is None
    update = await cluster.at(partition).pods.get(name, tenant=tenant, namespace="default")
    update.status.phase = "Running"
    update.status.conditions.add(type="Ready", status="True")
    await cluster.at(partition).pods.update_status(update)


async def condition(cluster: Cluster, name: str, partition: str, kind: str) -> tuple[str, str]:
    found = await cluster.at(partition).pods.get(name, tenant=cluster.tenant(partition), namespace="default")
    return next(((c.status, c.reason) for c in found.status.conditions if c.type == kind), ("", ""))


async def ending(cluster: Cluster, name: str, partition: str) -> bool:
    found = await cluster.at(partition).pods.get(name, tenant=cluster.tenant(partition), namespace="default")
    return bool(found.metadata.HasField("deletion_timestamp"))


async def test_pods_of_a_dead_node_leave_it_in_both_tenant_partitions_and_it_may_return(cluster: Cluster) -> None:
    async with managed(cluster) as (machines, _):
        dead = machines.names[0]
        await placed(cluster, "at-once", dead, "tp-1", 0)
        await placed(cluster, "soon", dead, "tp-2", 1)
        await placed(cluster, "late", dead, "tp-2", 600)
        await placed(cluster, "elsewhere", machines.names[1], "tp-1", 0)
        machines.alive.remove(dead)

        async def evicted() -> bool:
            return await ending(cluster, "at-once", "tp-1") and await ending(cluster, "soon", "tp-2")

        await eventually(evicted, within_s=GRACE_S + 20)
        assert await machines.taints(dead) == {UNREACHABLE}
        for name, partition in (("at-once", "tp-1"), ("soon", "tp-2")):
            told = await condition(cluster, name, partition, "DisruptionTarget")
            assert told == ("True", "DeletionByTaintManager")
        assert await condition(cluster, "late", "tp-2", "Ready") == ("False", "NodeNotReady")
        assert not await ending(cluster, "late", "tp-2") and not await ending(cluster, "elsewhere", "tp-1")
        machines.alive.add(dead)

        async def clean() -> bool:
            return not (await cluster.at("rp-1").nodes.get(dead)).spec.taints

        await eventually(clean, within_s=15)
        events = await cluster.at("rp-1").events.list(tenant=SYSTEM_TENANT)
        assert any(event.reason == "NodeNotReady" and event.involved_object.name == dead for event in events.items)


async def test_a_server_that_was_down_longer_than_the_grace_period_costs_no_node_anything(cluster: Cluster) -> None:
    async with managed(cluster) as (machines, manager):
        assert manager.nodes is not None
        await placed(cluster, "web", machines.names[0], "tp-1", 0)
        blind = manager.nodes.monitor.proof.blindnesses
        await cluster.stop("rp-1")
        await _passes(GRACE_S + 3)
        assert not _sees(manager)
        await cluster.start("rp-1")
        await _nothing_is_lost(cluster, machines, manager)
        assert manager.nodes.monitor.proof.blindnesses > blind


async def test_a_store_that_was_stopped_costs_no_node_anything(cluster: Cluster, etcds: dict[str, EtcdProcess]) -> None:
    async with managed(cluster) as (machines, manager):
        await placed(cluster, "web", machines.names[0], "tp-1", 0)
        etcds["rp-1"].pause()
        try:
            await _passes(GRACE_S + 3)
            assert not _sees(manager)
        finally:
            etcds["rp-1"].resume()
        await _nothing_is_lost(cluster, machines, manager)


async def _passes(seconds: float) -> None:
    """The outage itself: it lasts this long."""
    await asyncio.sleep(seconds)


async def _nothing_is_lost(cluster: Cluster, machines: Machines, manager: ControllerManager) -> None:
    async def sees() -> bool:
        return _sees(manager)

    await eventually(sees, within_s=30)
    await _passes(GRACE_S + 2)
    for name in machines.names:
        node = await cluster.at("rp-1").nodes.get(name)
        assert not node.spec.taints
        # Its condition has been true all the time.
        assert {c.status for c in node.status.conditions if c.type == "Ready"} == {"True"}
    assert not await ending(cluster, "web", "tp-1")


async def test_the_lease_of_a_node_is_collected_with_it(cluster: Cluster) -> None:
    machines = Machines(cluster, 1)
    await machines.register()
    leases = cluster.at("rp-1").leases
    await cluster.at("rp-1").nodes.delete(machines.names[0])

    async def collected() -> bool:
        try:
            await leases.get(machines.names[0], tenant=SYSTEM_TENANT, namespace=LEASE_NAMESPACE)
        except StatusError as failure:
            return failure.reason == "NotFound"
        return False

    await eventually(collected, within_s=15)


@pytest.mark.parametrize("key", ["node.kubernetes.io/not-ready", UNREACHABLE])
async def test_admission_lets_pods_stay_five_minutes_on_a_node_that_is_lost(cluster: Cluster, key: str) -> None:
    stored = await cluster.create("tolerant-" + key.rpartition("/")[2])
    [toleration] = [one for one in stored.spec.tolerations if one.key == key]
    assert (toleration.operator, toleration.effect, toleration.toleration_seconds) == ("Exists", "NoExecute", 300)
