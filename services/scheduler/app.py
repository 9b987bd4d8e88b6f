"""Wires a scheduler process: its tenant partition's pods, every resource partition's nodes, the loop, the endpoint."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Mapping
from typing import Any

from services.api import kinds
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.base import telemetry
from services.base.clock import Clock, SystemClock
from services.base.http import ProcessEndpoint
from services.base.rand import Rand
from services.base.tasks import Supervisor, first_of
from services.base.timeline import OFF, PodTimeline, open_timeline
from services.client.election import Election
from services.client.informer import Informer
from services.client.partitions import Connect, Connection, PartitionDirectory
from services.client.union import UnionInformer
from services.scheduler.conditions import ConditionWriter
from services.scheduler.config import SchedulerConfig
from services.scheduler.core import NodeTable, PodClasses
from services.scheduler.events import EventRecorder
from services.scheduler.ledgers import LEDGER_ACCESSORS, LedgerReader, SeenLedger
from services.scheduler.loop import SchedulerLoop
from services.scheduler.profiles import profiles_of
from services.scheduler.queue import new_queue
from services.scheduler.releaser import ClaimApi
from services.scheduler.seen import PLACED_ACCESSORS, PodReader, SeenPod
from services.scheduler.state import SchedulerState
from services.scheduler.tenancy import (
    BUDGET_ACCESSORS,
    NAMESPACE_ACCESSORS,
    SeenBudget,
    SeenNamespace,
    read_budget,
    read_namespace,
)

_log = logging.getLogger(__name__)

STALENESS_CHECK_S = 0.25
SLOW_CHECK_S = 1.0


class Scheduler:
    """One scheduler over one tenant partition. ``connect`` makes the connections to resource partitions."""

    def __init__(
        self,
        config: SchedulerConfig,
        tenant: Connection,
        *,
        clock: Clock,
        rand: Rand,
        connect: Connect | None = None,
        timeline: PodTimeline = OFF,
    ) -> None:
        self._config = config
        self._clock = clock
        self._rand = rand
        self._tenant = tenant
        scheduling = config.scheduling
        profiles = profiles_of(config)
        queue = new_queue(
            profiles,
            backoff_initial_s=scheduling.backoff_initial_s,
            backoff_max_s=scheduling.backoff_max_s,
            unschedulable_retry_s=scheduling.unschedulable_retry_s,
        )
        self.state = SchedulerState(NodeTable(scheduler=config.name, seed=config.seed), queue, profiles)
        clients = tenant.clientset
        self.loop = SchedulerLoop(
            config,
            self.state,
            clients.pods,
            self._claims_of,
            ConditionWriter(clients.pods, clock=clock, rand=rand),
            EventRecorder(
                clients.events,
                per_second=scheduling.events_per_second,
                clock=clock,
                rand=rand,
            ),
            clock=clock,
            rand=rand,
            timeline=timeline,
        )
        self.pods: Informer[SeenPod] = Informer(
            tenant.mux,
            kinds.PODS,
            tenant="*",
            decode=PodReader(profiles.by_name, PodClasses(), self.state.known),
            accessors=PLACED_ACCESSORS,
            on_batch=self.loop.pods_changed,
        )
        self.namespaces: Informer[SeenNamespace] = Informer(
            tenant.mux,
            kinds.NAMESPACES,
            tenant="*",
            decode=read_namespace,
            accessors=NAMESPACE_ACCESSORS,
            on_batch=self.loop.namespaces_changed,
        )
        self.budgets: Informer[SeenBudget] = Informer(
            tenant.mux,
            kinds.POD_DISRUPTION_BUDGETS,
            tenant="*",
            decode=read_budget,
            accessors=BUDGET_ACCESSORS,
            on_batch=self.state.budgets_changed,
        )
        self.nodes: UnionInformer[Node] = UnionInformer(
            kinds.NODES, on_batch=self.loop.nodes_changed, on_state=self._partition_state
        )
        self.ledgers: UnionInformer[SeenLedger] = UnionInformer(
            kinds.CAPACITY_LEDGERS,
            decode=LedgerReader(config.tenant_partition.name),
            accessors=LEDGER_ACCESSORS,
            on_batch=self.loop.ledgers_changed,
            on_state=self._partition_state,
        )
        self._directory = PartitionDirectory(
            kinds.RESOURCE_PARTITIONS,
            bootstrap={},
            clock=clock,
            rand=rand,
            on_added=self._partition_added,
            on_removed=self._partition_removed,
            tls=config.tls,
            connect=connect,
            gather_s=scheduling.node_watch_gather_ms / 1000,
        )
        self._state_changed = asyncio.Event()
        # When a partition that was connected once was lost, whatever the reason (its endpoints may have changed).
        self._lost_at: dict[str, float] = {}
        self.started = False

    def ready(self) -> Mapping[str, bool]:
        """A resource partition that is out of reach does not make the scheduler unready: the others go on."""
        return {"tenant-partition": self.pods.connected, "started": self.started}

    async def run(self) -> None:
        """Schedule until cancelled."""
        async with Supervisor() as tasks:
            tasks.start(self._tenant.run(), name="tenant-partition")
            tasks.start(self._directory.run(), name="resource-partitions")
            partitions = self._directory.follow(self._tenant.mux)
            followed: tuple[Informer[Any], ...] = (self.namespaces, self.budgets, self.pods)
            for informer in followed:
                informer.start()
            for informer in (partitions, *followed):
                await informer.synced.wait()
            await self._wait_for_nodes()
            gc.collect()
            # What is known now lives long: hundreds of thousands of objects that no collection need look at again.
            gc.freeze()
            self.started = True
            _log.info("scheduling", extra={"nodes": self.state.table.counts(), "pods": len(self.pods.store)})
            tasks.start(self._watch_staleness(), name="staleness")
            tasks.start(self.loop.releaser.run(), name="releases")
            await self._lead()

    async def _lead(self) -> None:
        config = self._config.leader_election
        if not config.enabled:
            await self.loop.run()
            return
        election = Election(
            self._tenant.clientset.leases,
            name=self._config.scheduler_name,
            identity=f"{self._config.name}_{socket.gethostname()}_{self._rand.hexadecimal(8)}",
            clock=self._clock,
            rand=self._rand,
            config=config,
        )
        await election.run(self.loop.run)

    async def _wait_for_nodes(self) -> None:
        """Until every resource partition is synced: however slow those are that can be reached, and only so long for
        the others."""
        deadline = self._clock.monotonic() + self._config.scheduling.start_wait_s
        while missing := [name for name in self.nodes.partitions if not self._has_synced(name)]:
            left = deadline - self._clock.monotonic()
            if left <= 0:
                slow = [name for name in missing if self._is_reachable(name)]
                if not slow:
                    _log.warning("starting without resource partitions", extra={"partitions": missing})
                    return
                _log.warning("waiting for resource partitions that are slow", extra={"partitions": slow})
                left = SLOW_CHECK_S
            self._state_changed.clear()
            await first_of(self._clock.sleep(left), self._state_changed.wait())

    def _is_reachable(self, name: str) -> bool:
        connection = self._directory.connections.get(name)
        return connection is not None and connection.reachable

    def _has_synced(self, name: str) -> bool:
        return self.nodes.has_synced(name) and self.ledgers.has_synced(name)

    async def _watch_staleness(self) -> None:
        while True:
            for name in self.nodes.partitions:
                self._check_staleness(name)
            await self._clock.sleep(STALENESS_CHECK_S)

    def _check_staleness(self, name: str) -> None:
        now = self._clock.monotonic()
        connected = self.nodes.connected(name) and self.ledgers.connected(name)
        if not self._has_synced(name):
            # Without its ledgers a node looks empty.
            stale = True
        elif connected:
            self._lost_at.pop(name, None)
            stale = False
        else:
            stale = now - self._lost_at.setdefault(name, now) >= self._config.scheduling.stale_after_s
        # Its watches may be alive while it grants no claims.
        silent = self.loop.silence.is_silent(name)
        stale = stale or silent
        if self.state.table.is_stale(name) != stale:
            _log.log(
                logging.WARNING if stale and self._has_synced(name) else logging.INFO,
                "resource partition is stale: its nodes are no candidates" if stale else "resource partition is back",
                extra={"resource_partition": name, "cause": "claims unanswered" if silent else "watches"},
            )
            self.loop.partition_stale(name, stale)

    def _partition_state(self, name: str) -> None:
        self._state_changed.set()
        self._check_staleness(name)

    def _claims_of(self, partition: str) -> ClaimApi | None:
        connection = self._directory.connections.get(partition)
        return None if connection is None else connection.clientset.capacity_claims

    def _partition_added(self, name: str, connection: Connection) -> None:
        self.ledgers.add_partition(name, connection.mux)
        self.nodes.add_partition(name, connection.mux)

    def _partition_removed(self, name: str) -> None:
        self.nodes.remove_partition(name)
        self.ledgers.remove_partition(name)
        self.loop.partition_removed(name)
        self._lost_at.pop(name, None)


async def run(config: SchedulerConfig, stopping: asyncio.Event) -> None:
    """The process, until ``stopping`` is set."""
    partition = config.tenant_partition
    reporting = telemetry.start(config.telemetry, service="scheduler", partition=partition.name)
    # Most objects here live long; the default thresholds would walk them again and again (pauses of 100 ms).
    gc.set_threshold(100_000, 50, 100)
    clock, rand = SystemClock(), Rand()
    gather_s = config.scheduling.pod_watch_gather_ms / 1000
    tenant = Connection(partition.name, partition.endpoints, clock, rand, tls=config.tls, gather_s=gather_s)
    timeline = open_timeline(config.telemetry.pod_timeline)
    scheduler = Scheduler(config, tenant, clock=clock, rand=rand, timeline=timeline)
    try:
        async with ProcessEndpoint(config.telemetry.metrics_listen, scheduler.ready), Supervisor() as tasks:
            tasks.start(timeline.run(clock), name="pod-timeline")
            tasks.start(scheduler.run(), name="scheduler")
            await stopping.wait()
    finally:
        timeline.close()
        reporting.shutdown()
