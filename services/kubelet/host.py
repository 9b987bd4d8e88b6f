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
from typing import cast

from services.api import keys
from services.api.kinds import PODS, TENANT_PARTITIONS
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.base.timeline import OFF, PodTimeline
from services.client.informer import Change
from services.client.partitions import Connection, PartitionDirectory
from services.client.timers import Timers
from services.kubelet import journal, metrics, podstatus, tracing
from services.kubelet.claimlink import ClaimLink
from services.kubelet.config import KubeletConfig, Pool
from services.kubelet.containerkubelet import ContainerKubelet
from services.kubelet.disturbances import Disturber
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
    StartContainer,
    StartPod,
    StopPod,
    Trace,
    Wake,
)
from services.kubelet.kept import Kept, pods_of
from services.kubelet.kubelet import DEFAULT_GRACE_S, Kubelet
from services.kubelet.leftovers import Leftovers
from services.kubelet.logservice import Placed
from services.kubelet.machine import Disturbance, Machine, Trouble
from services.kubelet.nodekeeper import NodeEntry, NodeKeeper
from services.kubelet.orphans import Orphans
from services.kubelet.podmarks import PodMarks
from services.kubelet.pools import nodes_of, runtime_of
from services.kubelet.provenance import Origin, Provenance, UnknownPod
from services.kubelet.proxy import Proxies
from services.kubelet.runtime import ContainerRuntime, Listener, Runtime, RuntimeEvent
from services.kubelet.tenancy import Tenancy
from services.kubelet.tenantlink import TenantLink
from services.kubelet.worker import Stage
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

Connect = Callable[[str, Sequence[str]], Connection]
MakeRuntime = Callable[[Pool, Timers, Listener], Runtime | ContainerRuntime]


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
        self.port = 0  # Of the process' own services; set before ``run``.
        self._config = config
        self._clock = clock
        self._rand = rand

        def connected(gather_ms: float) -> Connect:
            gather_s = gather_ms / 1000
            return lambda name, ends: Connection(name, ends, clock, rand, tls=config.tls, gather_s=gather_s)

        self._connect = connect or connected(config.timing.pod_watch_gather_ms)
        self._connect_resource = connect or connected(config.timing.node_watch_gather_ms)
        self._timers = Timers(clock)
        self._make_runtime = make_runtime or partial(runtime_of, config, clock, rand)
        self.provenance = Provenance()
        self._marks = PodMarks(timeline, self.provenance)
        self.nodes: list[Machine] = []
        self._of_kubelet: dict[int, Machine] = {}
        # By resource partition and name.
        self._machines: dict[str, dict[str, Machine]] = {}
        self._orphans = Orphans()
        self._leftovers = Leftovers(clock, rand)
        self._tenancies: dict[str, Tenancy] = {}
        self._keepers: dict[str, NodeKeeper] = {}
        self._claims: dict[str, ClaimLink] = {}
        self._tasks: Supervisor | None = None
        self.disturber = Disturber(self.nodes, begin=self._struck, end=self._relieved, timers=self._timers, rand=rand)
        self.proxies = Proxies(clock)
        metrics.PROXY_RULES.set_function(lambda: self.proxies.rules)
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
        checks = {f"nodes/{name}": keeper.registered for name, keeper in self._keepers.items()}
        checks["tenant-partitions"] = self._directory.synced
        return checks | {f"pods/{name}": tenancy.synced for name, tenancy in self._tenancies.items()}

    # Resource partitions.

    def _begin_resource_partition(self, name: str, pools: Sequence[Pool], tasks: Supervisor) -> None:
        connection = self._connect_resource(name, pools[0].endpoints)
        tasks.start(connection.run(), name=f"connection-{name}")
        made = [self._make_nodes(pool) for pool in pools]
        keeper = NodeKeeper(
            connection,
            [entry for _, entries in made for entry in entries],
            host=self._config.name,
            timing=self._config.timing,
            clock=self._clock,
            rand=self._rand,
            on_contact=partial(self._in_contact, name),
        )
        self._keepers[name] = keeper
        tasks.start(keeper.run(), name=f"node-keeper-{name}")
        for runtime, entries in made:
            if isinstance(runtime, ContainerRuntime):
                tasks.start(keeper.watch_health(entries, runtime.health), name=f"node-health-{name}")
        claims = self._claims[name] = ClaimLink(
            connection, self, self._clock, self._rand, gather_s=self._config.timing.claim_gather_ms / 1000
        )
        tasks.start(claims.run(), name=f"claim-link-{name}")
        self._directory.follow(connection.mux)

    def _make_nodes(self, pool: Pool) -> tuple[Runtime | ContainerRuntime, list[NodeEntry]]:
        runtime = self._make_runtime(pool, self._timers, self._runtime_event)
        made = nodes_of(
            pool,
            self._config.name,
            runtime,
            lease_s=self._config.timing.lease_duration_s,
            address=self._config.serving_address,
            port=self.port,
        )
        kubelet_type = ContainerKubelet if isinstance(runtime, ContainerRuntime) else Kubelet
        first = len(self.nodes)
        named = self._machines.setdefault(pool.resource_partition, {})
        for facts, entry in zip(made.facts, made.entries, strict=True):
            labels = partial(self._labels, pool.resource_partition, entry)
            kubelet = kubelet_type(facts, made.allocatable, entry.contact, self._clock, labels)
            machine = named[facts.name] = Machine(len(self.nodes), kubelet, runtime)
            self.nodes.append(machine)
            self._of_kubelet[id(machine.kubelet)] = machine
        self.disturber.plan(pool, self.nodes[first:])
        self.proxies.add(range(first, first + round(pool.proxy_share * pool.nodes)))
        return runtime, made.entries

    def _labels(self, resource_partition: str, entry: NodeEntry) -> Mapping[str, str]:
        """Of the node as last seen, or else as it is registered."""
        node = self._keepers[resource_partition].node(entry.name)
        return entry.labels() if node is None else node.metadata.labels

    # Tenant partitions come and go.

    def _partition_added(self, name: str, connection: Connection) -> None:
        assert self._tasks is not None
        known = self._tenancies.get(name)
        if known is not None:
            known.use(connection)
            known.hold(self._tasks.start(self.proxies.follow(name, connection.mux), name=f"proxies-{name}"))
            return
        link = TenantLink(
            connection,
            self,
            self._clock,
            self._rand,
            host=self._config.name,
            gather_s=self._config.timing.status_gather_ms / 1000,
        )
        tenancy = self._tenancies[name] = Tenancy(
            connection, link, self.nodes, on_pods=self._pods_changed, on_listed=self._pods_listed, clock=self._clock
        )
        tenancy.hold(self._tasks.start(link.run(), name=f"tenant-link-{name}"))
        tenancy.hold(self._tasks.start(tenancy.follow(), name=f"follow-pods-{name}"))
        tenancy.hold(self._tasks.start(self.proxies.follow(name, connection.mux), name=f"proxies-{name}"))

    def _partition_removed(self, name: str) -> None:
        tenancy = self._tenancies.pop(name, None)
        if tenancy is not None:
            tenancy.leave()
            self.proxies.leave(name)
            self.provenance.drop_partition(name)

    # Disturbances come and go.

    def _struck(self, machine: Machine) -> None:
        for tenancy in self._tenancies.values():
            tenancy.pause(machine)
        self._keepers[machine.resource_partition].silence([machine.name])
        if machine.cut or machine.dead:
            self.proxies.pause(machine.number)
        if not machine.cut:
            self._end_life(machine)

    def _end_life(self, machine: Machine) -> None:
        """The kubelet forgets everything; a dead machine's containers are gone, a crashed kubelet's have nobody."""
        before, runtime = machine.kubelet, machine.runtime
        assert isinstance(runtime, HollowRuntime)
        metrics.RUNNING_PODS.dec(sum(worker.stage is Stage.RUNNING for worker in before.workers.values()))
        if machine.dead:
            gone = [*before.workers, *self._orphans.drop(machine)]
            runtime.kill(gone)
            self._marks.gone(gone, before.facts)
        else:
            self._orphans.leave(machine)
        runtime.remember(machine.name)
        for uid in before.workers:
            self.provenance.forget(uid)
        machine.kubelet = Kubelet(before.facts, before.allocatable, before.contact, self._clock, before.labels)
        del self._of_kubelet[id(before)]
        self._of_kubelet[id(machine.kubelet)] = machine

    def _relieved(self, machine: Machine, trouble: Trouble) -> None:
        rebooted = trouble.kind is Disturbance.DEATH
        self._keepers[machine.resource_partition].resume([machine.name], rebooted=rebooted)
        for tenancy in self._tenancies.values():
            tenancy.resume(machine, afresh=trouble.kind is not Disturbance.CUT)
        if trouble.kind is not Disturbance.CRASH:
            muxes = {name: tenancy.connection.mux for name, tenancy in self._tenancies.items()}
            self.proxies.resume(machine.number, muxes, afresh=rebooted)
        self._carry_out(machine, list(trouble.withheld()), "")

    def _pods_listed(self, machine: Machine, partition: str) -> None:
        for uid in self._orphans.unwanted(machine, partition):
            machine.runtime.stop(uid, DEFAULT_GRACE_S)
        suspects = self._leftovers.suspects(machine, partition)
        tenancy = self._tenancies.get(partition)
        if suspects and tenancy is not None and self._tasks is not None:
            settling = self._leftovers.settle(machine, suspects, lambda: tenancy.connection.clientset)
            tenancy.hold(self._tasks.start(settling, name=f"leftovers-{machine.name}"))

    def placed(self, tenant: str, namespace: str, name: str, uid: str = "") -> Placed | None:
        """For the log service: the pod and where it is."""
        key = keys.key(PODS, tenant, namespace, name)
        for tenancy in self._tenancies.values():
            for machine, informer in zip(self.nodes, tenancy.informers, strict=False):
                kept = informer.store.get(key)
                if kept is not None and uid in ("", kept.uid):
                    pod = Pod.FromString(kept.data)
                    worker = machine.kubelet.workers.get(pod.metadata.uid)
                    status = pod.status
                    if worker is not None:
                        status = podstatus.build(worker, machine.kubelet.facts, self._clock.time())
                    return Placed(pod, status, machine.name, machine.containers)
        return None

    # Events go in.

    def _pods_changed(self, node: Machine, partition: str, changes: Sequence[Change[Kept]]) -> None:
        decoded = pods_of(changes)
        for _, old, pod, _ in decoded:
            if pod is not None:
                self.provenance.tenant_seen(pod.metadata.tenant, partition)
                if old is None:
                    self._marks.seen(pod.metadata.uid, node.kubelet.facts)
        kubelet = node.kubelet
        self._carry_out(node, kubelet.pods_changed(decoded), partition)
        for change in changes:
            worker = None if change.new is None else kubelet.workers.get(change.new.uid)
            if change.new is not None and worker is not None and worker.partition == partition:
                worker.keep(change.new.data)

    def _runtime_event(self, event: RuntimeEvent) -> None:
        self._marks.heard(event)
        if self.provenance.peek(event.uid) is None and (self._orphans.hear(event) or self._leftovers.hear(event)):
            return
        self._with_origin(event.uid, lambda kubelet: kubelet.runtime_event(event))

    def _in_contact(self, resource_partition: str, names: Sequence[str]) -> None:
        machines = self._machines[resource_partition]
        for name in names:
            machine = machines[name]
            self._carry_out(machine, machine.kubelet.in_contact(), "")

    def _timer(self, uid: str, wake: Wake) -> None:
        self._if_known(uid, lambda kubelet: kubelet.timer(uid, wake))

    def status_of(self, uid: str) -> Pod | None:
        """For the links: the status to write now."""
        origin = self.provenance.peek(uid)
        if origin is None or self._cut_off(origin, ReportStatus(origin.partition, uid)):
            return None
        return origin.kubelet.status_of(uid)

    def status_written(self, uid: str, error: StatusError | None) -> None:
        origin = self.provenance.peek(uid)
        # An answer does not reach a node that is cut off either: it will write again.
        if origin is not None and not self._cut_off(origin, ReportStatus(origin.partition, uid)):
            self._if_known(uid, lambda kubelet: kubelet.status_written(uid, error))
            if (worker := origin.kubelet.workers.get(uid)) is not None:
                worker.rest()

    def claim_of(self, uid: str) -> CapacityClaim | None:
        """For the links: the claim to make now."""
        origin = self.provenance.peek(uid)
        if origin is None or self._cut_off(origin, ClaimCapacity(origin.partition, uid)):
            return None
        return origin.kubelet.claim_of(uid)

    def claim_answered(self, uid: str, refusal: StatusError | None) -> None:
        origin = self.provenance.peek(uid)
        if origin is not None and not self._cut_off(origin, ClaimCapacity(origin.partition, uid)):
            self._if_known(uid, lambda kubelet: kubelet.claim_answered(uid, refusal))

    def may_remove(self, pod: Pod) -> bool:
        """For the links: the confirmation may be sent now; else it waits, or an earlier life of the kubelet gave it."""
        origin = self.provenance.peek(pod.metadata.uid)
        return origin is not None and not self._cut_off(origin, ConfirmRemoval(origin.partition, pod))

    def removal_answered(self, uid: str, error: StatusError | None) -> None:
        origin = self.provenance.peek(uid)
        worker = None if origin is None else origin.kubelet.workers.get(uid)
        if origin is None or worker is None:
            return
        if not self._cut_off(origin, ConfirmRemoval(origin.partition, worker.pod)):
            self._if_known(uid, lambda kubelet: kubelet.removal_answered(uid, error))

    def _cut_off(self, origin: Origin, instruction: Instruction) -> bool:
        """Whether the pod's node reaches nobody now; then the instruction waits until it does."""
        trouble = self._of_kubelet[id(origin.kubelet)].trouble
        return trouble is not None and trouble.withhold(instruction)

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

    def _carry_out(self, node: Machine, instructions: Sequence[Instruction], partition: str) -> None:
        kubelet = node.kubelet
        for instruction in instructions:
            if node.trouble is not None and node.trouble.withhold(instruction):
                continue
            match instruction:
                case StartPod(pod, adopt):
                    self.provenance.remember(pod.metadata.uid, kubelet, partition)
                    if (missed := self._orphans.take(pod.metadata.uid)) is not None:
                        self._timers.after(0.0, partial(self._runtime_event, missed))
                    elif node.containers is not None:
                        node.containers.take_up(pod, partition)
                    elif adopt:
                        cast(Runtime, node.runtime).adopt(pod)
                    else:
                        cast(Runtime, node.runtime).start(pod)
                case StartContainer(pod, container, restart):
                    if node.containers is not None:
                        node.containers.start_container(pod, container, restart)
                case ClaimCapacity(origin, uid):
                    self.provenance.remember(uid, kubelet, origin)
                    self._claims[kubelet.facts.resource_partition].claim(uid)
                case StopPod(uid, grace_s):
                    self.provenance.remember(uid, kubelet, partition)
                    self._orphans.take(uid)
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
                case Journal() as entry:
                    journal.write(entry, kubelet.facts)
                case Trace() as done:
                    tracing.record(done, node=kubelet.facts.name, partition=kubelet.facts.resource_partition)
                case Acknowledged(uid):
                    self._marks.running(uid, kubelet.facts)
                case Forget(uid):
                    self.provenance.forget(uid)
                    if node.containers is not None:
                        node.containers.forget(uid)

    def _link(self, partition: str) -> TenantLink | None:
        """None: the partition was removed, and there is nobody left to tell."""
        tenancy = self._tenancies.get(partition)
        return None if tenancy is None else tenancy.link
