"""Wires the node controllers of one resource partition: its nodes and leases, and a worker per tenant partition."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from services.api import kinds
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.informer import Change, Informer
from services.client.partitions import Connection
from services.client.renewals import LeaseRenewals
from services.controllers.events import About, EventRecorder
from services.controllers.nodes import metrics
from services.controllers.nodes.config import NodesConfig
from services.controllers.nodes.facts import (
    LEASE_ACCESSORS,
    NODE_ACCESSORS,
    SYSTEM_TENANT,
    UNREADY,
    LeaseFact,
    NodeFact,
    Ready,
    read_lease,
    read_node,
)
from services.controllers.nodes.guard import NodeGuard
from services.controllers.nodes.monitor import NodeMonitor
from services.controllers.nodes.pulse import Pulse
from services.controllers.nodes.tenant import TenantNodes
from services.controllers.nodes.writer import NodeWriter
from services.controllers.nodes.zones import Disruption, ZoneState
from services.controllers.pods import SeenPod
from services.controllers.tenants import TenantPods, Tenants

_log = logging.getLogger(__name__)

# How often nodes whose turn it is are tainted (nodelifecycle's nodeEvictionPeriod is 0.1 s).
GRANT_PERIOD_S = 0.25
EVENT_NAMESPACE = "default"
GAUGES_EVERY_S = 1.0


class NodesController:
    """The nodes of the resource partition behind ``resource``. ``identity``: of this process, unique. It is run by its
    owner, and so are ``resource`` and ``tenants``."""

    def __init__(
        self, resource: Connection, tenants: Tenants, config: NodesConfig, *, identity: str, clock: Clock, rand: Rand
    ) -> None:
        self.monitor = NodeMonitor(config)
        self.tenants: dict[str, TenantNodes] = {}
        self._resource = resource
        self._config = config
        self._clock = clock
        self._rand = rand
        clients = resource.clientset
        self._guard = NodeGuard(clients.nodes, self.monitor, clock, confirmed_for_s=config.confirmed_for_s)
        self._writer = NodeWriter(clients.nodes, self.monitor, config, clock=clock, rand=rand)
        self._renewals = LeaseRenewals(resource.channel, clock, rand, partition=resource.name)
        self._pulse = Pulse(clients.leases, self._renewals, self.monitor.proof, identity, config, clock=clock)
        self._events = EventRecorder(
            clients.events, component="node-controller", per_second=config.events_per_s, clock=clock, rand=rand
        )
        self.nodes: Informer[NodeFact] = Informer(
            resource.mux,
            kinds.NODES,
            decode=read_node,
            accessors=NODE_ACCESSORS,
            on_batch=self._nodes_changed,
            on_state=lambda _: self._state(),
        )
        # All of the system's leases: those of the nodes, and the pulse.
        self.leases: Informer[LeaseFact] = Informer(
            resource.mux,
            kinds.LEASES,
            tenant=SYSTEM_TENANT,
            decode=read_lease,
            accessors=LEASE_ACCESSORS,
            on_batch=self._leases_changed,
            on_state=lambda _: self._state(),
        )
        self._zones: set[str] = set()
        tenants.follow(self)

    @property
    def sees(self) -> bool:
        """This process provably sees its nodes' heartbeats."""
        return self.monitor.proof.current(self._clock.monotonic())

    async def run(self) -> None:
        """Until cancelled; leaves nothing behind."""
        try:
            async with Supervisor() as tasks:
                self.nodes.start()
                self.leases.start()
                tasks.start(self._renewals.run(), name="node-pulse-stream")
                tasks.start(self._pulse.run(), name="node-pulse")
                tasks.start(self._writer.run(), name="node-writer")
                tasks.start(self._events.run(), name="node-events")
                tasks.start(self._grant(), name="node-taints")
                tasks.start(self._measure(), name="node-gauges")
                await self._look()
        finally:
            self.nodes.close()
            self.leases.close()
            metrics.SEES.set(0)
            metrics.forget_zones(self._zones)
            for tenant in self.tenants.values():
                metrics.forget(tenant.partition)

    # Tenant partitions

    def tenant_added(self, tenant: TenantPods, tasks: Supervisor) -> None:
        made = TenantNodes(
            tenant,
            self._resource.name,
            self.monitor.table.facts.get,
            self._guard,
            self._config,
            clock=self._clock,
            rand=self._rand,
        )
        self.tenants[tenant.partition] = made
        made.start(tasks)

    def tenant_rebound(self, tenant: TenantPods) -> None:
        self.tenants[tenant.partition].rebind()

    def tenant_removed(self, tenant: TenantPods) -> None:
        self.tenants.pop(tenant.partition).stop()

    def tenant_state(self, tenant: TenantPods) -> None:
        if tenant.connected:
            made = self.tenants[tenant.partition]
            for fact in self.monitor.table.unready():
                made.node_ready(fact.name, False)

    def pods_changed(self, tenant: TenantPods, changes: Sequence[Change[SeenPod]]) -> None:
        self.tenants[tenant.partition].pods_changed(changes)

    # Nodes and leases

    def _state(self) -> None:
        live = self.nodes.connected and self.leases.connected
        if not live and self.sees:
            _log.warning("heartbeats are not seen: their watch is lost")
        self.monitor.proof.connected(live)

    def _leases_changed(self, changes: Sequence[Change[LeaseFact]]) -> None:
        if self.monitor.leases_changed(changes, self._clock.monotonic()):
            metrics.BLINDNESSES.inc()
            _log.info("heartbeats are seen from now on; every node's grace period begins anew")

    def _nodes_changed(self, changes: Sequence[Change[NodeFact]]) -> None:
        self.monitor.nodes_changed(changes, self._clock.monotonic())
        for change in changes:
            self._tell_tenants(change)
        self._writer.wake()

    def _tell_tenants(self, change: Change[NodeFact]) -> None:
        old, new = change.old, change.new
        before, after = (old.executing if old else ()), (new.executing if new else ())
        was, now = (old.ready if old else None), (new.ready if new else None)
        if before != after:
            anew = new is not None and new.is_tainted_anew(old)
            for tenant in self.tenants.values():
                tenant.node_tainted(change.key, new, anew=anew)
        if was == now:
            return
        lost = now in UNREADY
        if lost and was in UNREADY:
            return
        for tenant in self.tenants.values():
            tenant.node_ready(change.key, not lost)
        if lost and was is Ready.TRUE and new is not None:
            _log.info("node is not ready", extra={"node": new.name, "zone": new.zone})
            about = About("Node", SYSTEM_TENANT, EVENT_NAMESPACE, new.name, new.uid)
            text = f"Node {new.name} status is now: NodeNotReady"
            self._events.record(about, kind="Normal", reason="NodeNotReady", message=text)

    # Loops

    async def _look(self) -> None:
        """Look at all nodes every ``monitor_period_s``."""
        while True:
            with metrics.LOOK_SECONDS.time():
                disruption = self.monitor.look(self._clock.monotonic())
            if disruption is Disruption.BEGINS:
                _log.warning("no zone has a ready node: nothing is evicted, and NoExecute taints are taken back")
            elif disruption is Disruption.ENDS:
                _log.warning("nodes are ready again: every node's grace period begins anew")
            self._writer.wake()
            await self._clock.sleep(self._config.monitor_period_s)

    async def _grant(self) -> None:
        while True:
            self.monitor.grant(self._clock.monotonic())
            if not self.monitor.idle:
                self._writer.wake()
            await self._clock.sleep(GRANT_PERIOD_S)

    async def _measure(self) -> None:
        while True:
            metrics.SEES.set(int(self.sees))
            for tenant in self.tenants.values():
                tenant.measure()
            self._measure_zones()
            await self._clock.sleep(GAUGES_EVERY_S)

    def _measure_zones(self) -> None:
        zones = self.monitor.zones
        for zone, count in zones.counts.items():
            metrics.ZONE_SIZE.labels(zone).set(count.nodes)
            metrics.UNHEALTHY.labels(zone).set(count.unhealthy)
            metrics.ZONE_HEALTH.labels(zone).set(100.0 * (count.nodes - count.unhealthy) / count.nodes)
        metrics.forget_zones(self._zones - zones.counts.keys())
        self._zones = {*zones.counts}

    def zone_state(self, zone: str) -> ZoneState:
        """As of the last look."""
        return self.monitor.zones.states.get(zone, ZoneState.INITIAL)
