"""Wires pod garbage collection of one tenant partition: its pods, the nodes of every resource partition, rounds."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence

import grpc

from services.api import kinds
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.informer import Informer
from services.client.partitions import Connect, Connection, PartitionDirectory
from services.controllers.podgc import metrics
from services.controllers.podgc.decide import Held, Quarantine, Reason, Round, look, stuck
from services.controllers.podgc.facts import (
    NODE_ACCESSORS,
    NodesView,
    Place,
    PodBook,
    SeenNode,
    read_node,
)
from services.controllers.podgc.removal import READS_AT_ONCE, PodRemover
from services.controllers.tenant_config import PodGcConfig
from services.controllers.tenantpods import TenantPod
from services.rpc.credentials import TlsConfig
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)


class PodGarbageCollector:
    """``tenant`` and ``pods`` (all pods of it) are run by their owner. ``connect`` makes the connections to resource
    partitions; without it they are made here, and events of their watches gather for ``gather_s``."""

    def __init__(
        self,
        tenant: Connection,
        pods: Informer[TenantPod],
        config: PodGcConfig,
        *,
        clock: Clock,
        rand: Rand,
        tls: TlsConfig | None = None,
        connect: Connect | None = None,
        gather_s: float = 0.0,
    ) -> None:
        self._tenant = tenant
        self._pods = pods
        self._config = config
        self._clock = clock
        self._remover = PodRemover(tenant.clientset.pods, clock, batch_pods=config.batch_pods)
        self._quarantine = Quarantine(config.quarantine_s)
        self._book = PodBook()
        self._nodes: dict[str, Informer[SeenNode]] = {}
        self._held: Counter[tuple[str, Held]] = Counter()
        self._directory = PartitionDirectory(
            kinds.RESOURCE_PARTITIONS,
            bootstrap={},
            clock=clock,
            rand=rand,
            on_added=self._added,
            on_removed=self._removed,
            tls=tls,
            connect=connect,
            gather_s=gather_s,
        )

    async def run(self) -> None:
        """Until cancelled; leaves nothing behind."""
        self._pods.add_handler(self._book.see)
        try:
            async with Supervisor() as tasks:
                tasks.start(self._directory.run(), name="resource-partitions")
                self._directory.follow(self._tenant.mux)
                while True:
                    await self._clock.sleep(self._config.period_s)
                    if self._pods.connected and self._directory.synced:
                        with metrics.ROUND_SECONDS.time():
                            await self.once()
        finally:
            for informer in self._nodes.values():
                informer.close()
            for partition, cause in self._held:
                metrics.HELD.remove(partition, cause.value)

    async def once(self) -> None:
        """One round."""
        found = look(self._book, self.partitions(), self._config.terminated_pod_threshold)
        self._tell(found)
        await self._remover.remove(found.deletions)
        ripe = self._quarantine.ripe(found.missing, self._clock.monotonic())
        metrics.QUARANTINED.set(len(self._quarantine))
        if ripe:
            await self._orphans(ripe)

    def partitions(self) -> dict[str, NodesView]:
        """What is known of the nodes of each resource partition that has an object."""
        return {name: NodesView(informer.store, informer.connected) for name, informer in self._nodes.items()}

    async def _orphans(self, places: Sequence[Place]) -> None:
        """Ask the partitions of ``places``; what was bound at a place before its partition said that there is no such
        node is an orphan. (A node of that name that comes later is the same place, as it is upstream.)"""
        asked = frozenset(places)
        bound = [pod for pod in self._pods.store.values() if (pod.partition, pod.node) in asked and not stuck(pod)]
        by_partition: dict[str, list[str]] = {}
        for partition, node in places:
            by_partition.setdefault(partition, []).append(node)
        answers = await asyncio.gather(*(self._gone(partition, nodes) for partition, nodes in by_partition.items()))
        gone = frozenset(place for answer in answers for place in answer)
        if not gone:
            return
        orphans = [(pod, Reason.ORPHANED) for pod in bound if (pod.partition, pod.node) in gone]
        removed = await self._remover.remove(orphans)
        _log.info("pods of deleted nodes removed", extra={"nodes": len(gone), "pods": removed})

    async def _gone(self, partition: str, nodes: Sequence[str]) -> list[Place]:
        """Those of ``nodes`` that a consistent read of their partition does not find. After the first read that gets
        no answer nothing more is asked in this round: the others wait for nobody who hangs."""
        connection = self._directory.connections.get(partition)
        if connection is None:
            return []
        limit, silent = asyncio.Semaphore(READS_AT_ONCE), False

        async def is_gone(node: str) -> bool:
            nonlocal silent
            async with limit:
                if silent:
                    return False
                try:
                    async with asyncio.timeout(self._config.call_timeout_s):
                        await connection.clientset.nodes.get(node)
                except (StatusError, TimeoutError) as failure:
                    if isinstance(failure, StatusError) and failure.code is grpc.StatusCode.NOT_FOUND:
                        metrics.DOUBTS.labels(partition, "absent").inc()
                        return True
                    silent = True
                    metrics.DOUBTS.labels(partition, "none").inc()
                    return False
                metrics.DOUBTS.labels(partition, "present").inc()
                return False

        answers = await asyncio.gather(*map(is_gone, nodes))
        return [(partition, node) for node, gone in zip(nodes, answers, strict=True) if gone]

    def _tell(self, found: Round) -> None:
        """Pods that are held: as gauges, and in the log when that begins or ends."""
        for (partition, cause), pods in found.held.items():
            metrics.HELD.labels(partition, cause.value).set(pods)
            if (partition, cause) not in self._held:
                _log.warning(
                    "nothing can be said about the nodes of pods; they stay",
                    extra={"resource_partition": partition, "cause": cause.value, "pods": pods},
                )
        for partition, cause in self._held.keys() - found.held.keys():
            metrics.HELD.remove(partition, cause.value)
            _log.info("nodes are known again", extra={"resource_partition": partition, "was": cause.value})
        self._held = found.held

    def _added(self, name: str, connection: Connection) -> None:
        known = self._nodes.get(name)
        if known is not None:
            known.rebind(connection.mux)
            return
        informer = Informer(connection.mux, kinds.NODES, decode=read_node, accessors=NODE_ACCESSORS)
        self._nodes[name] = informer.start()

    def _removed(self, name: str) -> None:
        self._nodes.pop(name).close()
