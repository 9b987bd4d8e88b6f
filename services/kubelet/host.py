"""The shell: any number of kubelets in one process, on shared connections to each partition.

Per node and tenant partition there is one watch on the partition's multiplexed stream; per tenant partition one link
(statuses, confirmations, events); per resource partition one keeper of nodes and leases and one link for claims. No
task is per node or pod.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from services.api.kinds import PODS, TENANT_PARTITIONS
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.base.timeline import OFF, PodTimeline, Stage
from services.client.informer import Change, Informer
from services.client.partitions import Connection, PartitionDirectory
from services.client.timers import Timers
from services.kubelet import nodestatus, tracing
from services.kubelet.claimlink import ClaimLink
from services.kubelet.config import KubeletConfig, Pool
from services.kubelet.hollow import HollowRuntime
from services.kubelet.instructions import (
    Acknowledged,
    ClaimCapacity,
    ConfirmRemoval,
    Forget,
    Instruction,
    Journal,
    Record,
    ReportStatus,
    SetTimer,
    StartPod,
    StopPod,
    Trace,
    Wake,
)
from services.kubelet.kubelet import Kubelet
from services.kubelet.nodekeeper import NodeEntry, NodeKeeper
from services.kubelet.nodestatus import NodeTemplate
from services.kubelet.podstatus import NodeFacts
from services.kubelet.provenance import Provenance, UnknownPod
from services.kubelet.runtime import Listener, Runtime, RuntimeEvent, RuntimeEventType
from services.kubelet.tenantlink import TenantLink
from services.placement import nodes
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

# Watches begun before other tasks get a turn.
WATCHES_PER_TURN = 500

Connect = Callable[[str, Sequence[str]], Connection]
MakeRuntime = Callable[[Pool, Timers, Listener], Runtime]


class _Node:
    """A kubelet and the runtime that it drives."""

    __slots__ = ("kubelet", "runtime")

    def __init__(self, kubelet: Kubelet, runtime: Runtime) -> None:
        self.kubelet = kubelet
        self.runtime = runtime


class _Tenancy:
    """A tenant partition that is followed: its link, its watches (one per node), the task that began them."""

    def __init__(self, connection: Connection, link: TenantLink) -> None:
        self.connection = connection
        self.link = link
        self.informers: list[Informer[Pod]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.synced = False


class Host:
    """Runs the kubelets of ``config`` until ``run`` is cancelled."""

    def __init__(
        self,
        config: KubeletConfig,
        clock: Clock,
        rand: Rand,
        *,
        connect: Connect | None = None,
        make_runtime: MakeRuntime | None = None,
        timeline: PodTimeline = OFF,
    ) -> None:
        self._timeline = timeline
        self._config = config
        self._clock = clock
        self._rand = rand
        self._connect = connect or (lambda name, ends: Connection(name, ends, clock, rand, tls=config.tls))
        self._timers = Timers(clock)
        self._make_runtime = make_runtime or self._hollow
        self.provenance = Provenance()
        self.nodes: list[_Node] = []
        self._of_kubelet: dict[int, _Node] = {}
        self._tenancies: dict[str, _Tenancy] = {}
        self._keepers: list[NodeKeeper] = []
        self._claims: dict[str, ClaimLink] = {}
        self._tasks: Supervisor | None = None
        self._directory = PartitionDirectory(
            TENANT_PARTITIONS,
            bootstrap={partition.name: partition.endpoints for partition in config.tenant_partitions},
            clock=clock,
            rand=rand,
            on_added=self._partition_added,
            on_removed=self._partition_removed,
            connect=self._connect,
        )

    async def run(self) -> None:
        """Until cancelled. Pods go on running: a host that comes back adopts them."""
        pools: dict[str, list[Pool]] = {}
        for pool in self._config.pools:
            pools.setdefault(pool.resource_partition, []).append(pool)
        async with Supervisor() as tasks:
            self._tasks = tasks
            tasks.start(self._timers.run(), name="pod-timers")
            for name, of_partition in pools.items():
                self._begin_resource_partition(name, of_partition, tasks)
            tasks.start(self._directory.run(), name="tenant-partitions")
            await asyncio.get_running_loop().create_future()

    def ready(self) -> Mapping[str, bool]:
        """Per partition: nodes are registered; pods have been listed once (a partition lost later stays ready)."""
        checks = {f"nodes/{keeper.name}": keeper.registered for keeper in self._keepers}
        checks["tenant-partitions"] = self._directory.synced
        for name, tenancy in self._tenancies.items():
            if not tenancy.synced:
                tenancy.synced = len(tenancy.informers) == len(self.nodes) and all(
                    informer.has_synced for informer in tenancy.informers
                )
            checks[f"pods/{name}"] = tenancy.synced
        return checks

    # Resource partitions.

    def _begin_resource_partition(self, name: str, pools: Sequence[Pool], tasks: Supervisor) -> None:
        connection = self._connect(name, pools[0].endpoints)
        tasks.start(connection.run(), name=f"connection-{name}")
        entries = [entry for pool in pools for entry in self._make_nodes(pool)]
        keeper = NodeKeeper(
            connection,
            entries,
            host=self._config.name,
            timing=self._config.timing,
            clock=self._clock,
            rand=self._rand,
        )
        self._keepers.append(keeper)
        tasks.start(keeper.run(), name=f"node-keeper-{name}")
        claims = self._claims[name] = ClaimLink(connection, self, self._clock, self._rand)
        tasks.start(claims.run(), name=f"claim-link-{name}")
        self._directory.follow(connection.mux)

    def _make_nodes(self, pool: Pool) -> list[NodeEntry]:
        runtime = self._make_runtime(pool, self._timers, self._runtime_event)
        template = NodeTemplate(
            resource_partition=pool.resource_partition,
            host=self._config.name,
            labels=pool.labels,
            capacity=pool.capacity,
            allocatable=pool.allocatable or pool.capacity,
            runtime=runtime.name,
            runtime_version=runtime.version,
        )
        probe = Node()
        probe.status.allocatable.update(template.allocatable)
        allocatable = nodes.allocatable(probe)
        entries = []
        for number in range(pool.nodes):
            name = f"{pool.name_prefix}{number:04d}"
            zone = pool.zones[number % len(pool.zones)] if pool.zones else ""
            entries.append(NodeEntry(name, zone, template))
            address = nodestatus.host_ip(pool.resource_partition, name)
            facts = NodeFacts(name, pool.resource_partition, address, runtime.name)
            node = _Node(Kubelet(facts, allocatable, self._clock), runtime)
            self.nodes.append(node)
            self._of_kubelet[id(node.kubelet)] = node
        return entries

    def _hollow(self, pool: Pool, timers: Timers, listener: Listener) -> Runtime:
        return HollowRuntime(timers, self._clock, self._rand, listener, pool.start_delay)

    # Tenant partitions come and go.

    def _partition_added(self, name: str, connection: Connection) -> None:
        assert self._tasks is not None
        known = self._tenancies.get(name)
        if known is not None:
            known.connection = connection
            known.link.use(connection)
            for informer in known.informers:
                informer.rebind(connection.mux)
            return
        link = TenantLink(connection, self, self._clock, self._rand, host=self._config.name)
        tenancy = self._tenancies[name] = _Tenancy(connection, link)
        tenancy.tasks = [
            self._tasks.start(link.run(), name=f"tenant-link-{name}"),
            self._tasks.start(self._follow_pods(tenancy), name=f"follow-pods-{name}"),
        ]

    def _partition_removed(self, name: str) -> None:
        tenancy = self._tenancies.pop(name, None)
        if tenancy is None:
            return
        for task in tenancy.tasks:
            task.cancel()
        for informer, node in zip(tenancy.informers, self.nodes, strict=False):
            informer.close()
            gone = [Change(key, pod, None, name) for key, pod in informer.store.items()]
            self._carry_out(node, node.kubelet.pods_changed(gone), name)
        self.provenance.drop_partition(name)

    async def _follow_pods(self, tenancy: _Tenancy) -> None:
        """One watch per node: its own pods, of every tenant."""
        for number, node in enumerate(self.nodes, 1):
            facts = node.kubelet.facts
            informer: Informer[Pod] = Informer(
                tenancy.connection.mux,
                PODS,
                tenant="*",
                field_selector=f"spec.nodeName={facts.name},spec.resourcePartition={facts.resource_partition}",
                on_batch=partial(self._pods_changed, node, tenancy.link.name),
            )
            tenancy.informers.append(informer.start())
            if number % WATCHES_PER_TURN == 0:
                await self._clock.sleep(0)

    # Events go in.

    def _pods_changed(self, node: _Node, partition: str, changes: Sequence[Change[Pod]]) -> None:
        for change in changes:
            if change.new is not None:
                self.provenance.tenant_seen(change.new.metadata.tenant, partition)
                if change.old is None and self._timeline.on:
                    self._timeline.mark(Stage.NODE_SEEN, change.new.metadata.uid, str(node.kubelet.facts))
        self._carry_out(node, node.kubelet.pods_changed(changes), partition)

    def _runtime_event(self, event: RuntimeEvent) -> None:
        self._mark_runtime(event)
        self._with_origin(event.uid, lambda kubelet: kubelet.runtime_event(event))

    def _mark_runtime(self, event: RuntimeEvent) -> None:
        origin = self.provenance.peek(event.uid) if self._timeline.on else None
        if origin is None:
            return
        node = str(origin.kubelet.facts)
        if event.type is RuntimeEventType.STARTED:
            self._timeline.mark(Stage.RUN, event.uid, node)
            self._timeline.mark(Stage.STARTED, event.uid, node)
        else:
            self._timeline.mark(Stage.END, event.uid, node)

    def _timer(self, uid: str, wake: Wake) -> None:
        self._if_known(uid, lambda kubelet: kubelet.timer(uid, wake))

    def status_of(self, uid: str) -> Pod | None:
        """For the links: the status to write now."""
        origin = self.provenance.peek(uid)
        return None if origin is None else origin.kubelet.status_of(uid)

    def status_written(self, uid: str, error: StatusError | None) -> None:
        self._if_known(uid, lambda kubelet: kubelet.status_written(uid, error))

    def claim_of(self, uid: str) -> CapacityClaim | None:
        """For the links: the claim to make now."""
        origin = self.provenance.peek(uid)
        return None if origin is None else origin.kubelet.claim_of(uid)

    def claim_answered(self, uid: str, refusal: StatusError | None) -> None:
        self._if_known(uid, lambda kubelet: kubelet.claim_answered(uid, refusal))

    def removal_answered(self, uid: str, error: StatusError | None) -> None:
        self._if_known(uid, lambda kubelet: kubelet.removal_answered(uid, error))

    def _if_known(self, uid: str, act: Callable[[Kubelet], list[Instruction]]) -> None:
        """Timers and answers to writes may outlive their pod: its object vanished meanwhile."""
        if self.provenance.peek(uid) is not None:
            self._with_origin(uid, act)

    def _with_origin(self, uid: str, act: Callable[[Kubelet], list[Instruction]]) -> None:
        try:
            origin = self.provenance.of(uid)
        except UnknownPod as unknown:
            _log.error("event of an unknown pod", extra={"uid": uid, "cause": str(unknown)})
            return
        node = self._of_kubelet[id(origin.kubelet)]
        self._carry_out(node, act(origin.kubelet), origin.partition)

    # Instructions come out.

    def _carry_out(self, node: _Node, instructions: Sequence[Instruction], partition: str) -> None:
        kubelet = node.kubelet
        for instruction in instructions:
            match instruction:
                case StartPod(pod, adopt):
                    self.provenance.remember(pod.metadata.uid, kubelet, partition)
                    if adopt:
                        node.runtime.adopt(pod)
                    else:
                        node.runtime.start(pod)
                case ClaimCapacity(origin, uid):
                    self.provenance.remember(uid, kubelet, origin)
                    self._claims[kubelet.facts.resource_partition].claim(uid)
                case StopPod(uid, grace_s):
                    self.provenance.remember(uid, kubelet, partition)
                    node.runtime.stop(uid, grace_s)
                case ReportStatus(origin, uid):
                    self.provenance.remember(uid, kubelet, origin)
                    if (link := self._link(origin)) is not None:
                        link.report(uid)
                case ConfirmRemoval(origin, pod):
                    self.provenance.remember(pod.metadata.uid, kubelet, origin)
                    if (link := self._link(origin)) is not None:
                        link.remove(pod)
                case SetTimer(uid, seconds, wake):
                    self._timers.after(seconds, partial(self._timer, uid, wake))
                case Record(origin, _, _, _, _) as record:
                    if self._config.events and (link := self._link(origin)) is not None:
                        link.events.add(record, kubelet.facts.name)
                case Journal(pod, origin, restarted):
                    self._journal(kubelet, pod, origin, restarted)
                case Trace() as done:
                    tracing.record(done, node=kubelet.facts.name, partition=kubelet.facts.resource_partition)
                case Acknowledged(uid):
                    if self._timeline.on:
                        self._timeline.mark(Stage.RUNNING, uid, str(kubelet.facts))
                case Forget(uid):
                    self.provenance.forget(uid)

    def _link(self, partition: str) -> TenantLink | None:
        """None: the partition was removed, and there is nobody left to tell."""
        tenancy = self._tenancies.get(partition)
        return None if tenancy is None else tenancy.link

    @staticmethod
    def _journal(kubelet: Kubelet, pod: Pod, partition: str, restarted: bool) -> None:
        metadata = pod.metadata
        _log.info(
            "pod restarted" if restarted else "pod started",
            extra={
                "uid": metadata.uid,
                "tenant": metadata.tenant,
                "namespace": metadata.namespace,
                "pod": metadata.name,
                "node": kubelet.facts.name,
                "resource_partition": kubelet.facts.resource_partition,
                "partition": partition,
            },
        )
