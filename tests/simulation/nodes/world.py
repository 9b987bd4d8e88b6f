"""A resource partition with kubelets that live, die and return, tenant partitions with their pods, and the controller
manager of the resource partition: in memory, on a fake clock. What the manager writes is judged as it is written.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from services.api.kinds import LEASES, NODES, PODS, TENANT_PARTITIONS
from services.api.pb.ursa.coordination.v1.lease_pb2 import Lease
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.tenancy.v1.tenancy_pb2 import TenantPartition
from services.base.clock import FakeClock
from services.base.ids import sequential_uids
from services.base.rand import Rand
from services.base.tasks import stop_task
from services.client.election import ElectionConfig
from services.controllers.app import ControllerManager
from services.controllers.config import ControllersConfig, PartitionAddress
from services.controllers.nodes.config import NodesConfig
from services.controllers.nodes.controller import NodesController
from services.controllers.nodes.facts import LEASE_NAMESPACE, NOT_READY, SYSTEM_TENANT, UNREACHABLE, ZONE_LABEL
from services.placement.nodes import is_ready
from tests.support.claims import ClaimedPartition, RevokingPartition
from tests.support.client_world import fake_connection, pod

RENEW_S = 10.0
CONFIG = NodesConfig(eviction_rate_per_s=5.0, secondary_eviction_rate_per_s=5.0, large_zone_nodes=0)
# A renewal is at most a period old when its kubelet dies.
EPSILON_S = RENEW_S + 1.0
WRITES = ("Update", "UpdateStatus", "Create", "BatchUpdate", "BatchUpdateStatus", "BatchCreate", "Get", "Renew")


@dataclass
class Kubelet:
    """``dead_for``: seconds it has not run, 0: it runs. ``renewed_at``: of its last renewal that was stored."""

    name: str
    zone: str
    dead: bool = False
    ready: bool = True
    renewed_at: float = float("-inf")
    heard_at: float = 0.0


class WatchedNodes(ClaimedPartition):
    """The resource partition; it judges each write that takes a node for lost."""

    world: World

    def _commit(self, kind: Any, key: str, old: Any, new: Any) -> Any:
        if kind is NODES and old is not None and new is not None:
            self.world.judge_node(old, new)
        return super()._commit(kind, key, old, new)


class WatchedPods(RevokingPartition):
    """A tenant partition; it judges each deletion."""

    world: World

    def _delete(self, kind: Any, request: Any) -> Any:
        if kind is PODS:
            found = self.get(PODS, request.name, request.tenant, request.namespace)
            if found is not None:
                self.world.judge_deletion(self.name, found)
        return super()._delete(kind, request)


class World:
    """``step`` lets a second pass. ``wrong``: what the manager did and should not have done."""

    def __init__(self, config: NodesConfig = CONFIG, tenants: tuple[str, ...] = ("tp-1", "tp-2")) -> None:
        self.clock = FakeClock()
        self.config = config
        self.resource = WatchedNodes("rp-1", clock=self.clock)
        self.resource.world = self
        self.tenants = {name: WatchedPods(name, clock=self.clock) for name in tenants}
        self.kubelets: dict[str, Kubelet] = {}
        self.etcd_down = False
        self.wrong: list[str] = []
        self.evicted: list[tuple[float, str, str]] = []
        self.tainted: list[tuple[float, str]] = []
        self._manager: ControllerManager | None = None
        self._task: asyncio.Task[None] | None = None
        self._managers = 0
        for name, partition in self.tenants.items():
            partition.world = self
            made = TenantPartition()
            made.metadata.name = name
            made.spec.endpoints.append(name)
            self.resource.put(TENANT_PARTITIONS, made)

    @property
    def nodes(self) -> NodesController:
        assert self._manager is not None and self._manager.nodes is not None
        return self._manager.nodes

    # The manager

    def start_manager(self) -> None:
        self._managers += 1
        config = ControllersConfig(
            f"controller-{self._managers}",
            PartitionAddress("rp-1", ("rp-1",)),
            nodes=self.config,
            leader_election=ElectionConfig(enabled=False),
        )
        self._manager = ControllerManager(
            config,
            fake_connection(self.resource, self.clock),
            clock=self.clock,
            rand=Rand(self._managers),
            new_uid=sequential_uids(config.name),
            connect=lambda partition, endpoints: fake_connection(self.tenants[partition], self.clock),
        )
        self._task = asyncio.create_task(self._manager.run())

    async def stop_manager(self) -> None:
        if self._task is not None:
            await stop_task(self._task)
            self._task = None

    # The machines

    def add_node(self, name: str, zone: str = "a") -> None:
        made = Node()
        made.metadata.name = name
        made.metadata.labels[ZONE_LABEL] = zone
        self.resource.put(NODES, made)
        self.kubelets[name] = Kubelet(name, zone)
        self._live(self.kubelets[name])

    def add_pod(self, name: str, node: str, partition: str = "tp-1", **spec: Any) -> Pod:
        made = pod(name, node_name=node, **spec)
        made.spec.termination_grace_period_seconds = 30
        made.status.phase = "Running"
        made.status.conditions.add(type="Ready", status="True")
        stored: Pod = self.tenants[partition].put(PODS, made)
        return stored

    def die(self, name: str) -> None:
        self.kubelets[name].dead = True

    def come_back(self, name: str) -> None:
        """It runs again, and tells so at once if it can."""
        self.kubelets[name].dead = False
        self.kubelets[name].renewed_at = float("-inf")
        self._live(self.kubelets[name])

    def etcd(self, *, down: bool) -> None:
        """The store of the resource partition: without it watches stay, and nothing is written or read for sure."""
        self.etcd_down = down
        if down:
            self.resource.fall_silent(*WRITES, how="unavailable")
        else:
            self.resource.speak()

    def node(self, name: str) -> Node:
        found: Node = self.resource.get(NODES, name)
        return found

    def taints(self, name: str) -> set[tuple[str, str]]:
        return {(taint.key, taint.effect) for taint in self.node(name).spec.taints}

    def pods(self, partition: str) -> list[Pod]:
        return list(self.tenants[partition].objects[PODS.resource].values())

    def ending(self, partition: str) -> set[str]:
        return {one.metadata.name for one in self.pods(partition) if one.metadata.HasField("deletion_timestamp")}

    # Time

    async def step(self, seconds: float = 1.0) -> None:
        """Kubelets work, then everything else."""
        for _ in range(round(seconds)):
            self._kubelets_work()
            await self.clock.advance(1.0)

    def pass_without_manager(self, seconds: int) -> None:
        """The manager's process is stopped (SIGSTOP) for so long: time passes, kubelets work, what is sent waits."""
        for _ in range(seconds):
            self.clock._now += 1.0
            self._kubelets_work()

    def _kubelets_work(self) -> None:
        for kubelet in self.kubelets.values():
            self._live(kubelet)

    def _live(self, kubelet: Kubelet) -> None:
        if kubelet.dead or self.etcd_down or self.resource.down:
            return
        now = self.clock.monotonic()
        kubelet.heard_at = now
        if now - kubelet.renewed_at >= RENEW_S:
            kubelet.renewed_at = now
            lease = Lease()
            metadata = lease.metadata
            metadata.name, metadata.namespace, metadata.tenant = kubelet.name, LEASE_NAMESPACE, SYSTEM_TENANT
            lease.spec.renew_time.seconds = int(self.clock.time())
            self.resource.put(LEASES, lease)
            node = self.resource.get(NODES, kubelet.name)
            if node is not None and is_ready(node) != kubelet.ready:
                del node.status.conditions[:]
                for kind in ("MemoryPressure", "DiskPressure", "PIDPressure"):
                    node.status.conditions.add(type=kind, status="False")
                ready = node.status.conditions.add(type="Ready", status="True" if kubelet.ready else "False")
                ready.last_heartbeat_time.seconds = int(self.clock.time())
                self.resource.put(NODES, node)

    # Judgement

    def judge_node(self, old: Node, new: Node) -> None:
        name, now = new.metadata.name, self.clock.monotonic()
        kubelet = self.kubelets.get(name)
        if kubelet is None:
            return
        before = {taint.key for taint in old.spec.taints if taint.effect == "NoExecute"}
        after = {taint.key for taint in new.spec.taints if taint.effect == "NoExecute"}
        if {NOT_READY, UNREACHABLE} <= after:
            self.wrong.append(f"{now}: {name} has both taints")
        if after - before:
            self.tainted.append((now, name))
        unknown = _unknown(new) and not _unknown(old)
        if UNREACHABLE in after - before or unknown:
            silent_s = now - kubelet.heard_at
            if not kubelet.dead or silent_s < self.config.grace_s - EPSILON_S:
                self.wrong.append(f"{now}: {name} was taken for lost (dead: {kubelet.dead}, silent {silent_s} s)")

    def judge_deletion(self, partition: str, found: Pod) -> None:
        kubelet, now = self.kubelets[found.spec.node_name], self.clock.monotonic()
        self.evicted.append((now, partition, found.metadata.name))
        if kubelet.ready and not kubelet.dead:
            self.wrong.append(f"{now}: {found.metadata.name} was evicted from {kubelet.name}, which runs")


def _unknown(node: Node) -> bool:
    return any(condition.type == "Ready" and condition.status == "Unknown" for condition in node.status.conditions)


@contextlib.asynccontextmanager
async def world(config: NodesConfig = CONFIG, nodes: int = 4, zones: tuple[str, ...] = ("a",)) -> AsyncIterator[World]:
    """With ``nodes`` nodes in turn in ``zones``, and a manager that sees them."""
    made = World(config)
    for number in range(nodes):
        made.add_node(f"n{number}", zones[number % len(zones)])
    made.start_manager()
    try:
        await made.step(5)
        assert made.nodes.sees
        yield made
        assert made.wrong == []
    finally:
        await made.stop_manager()
