"""The last look before pods are deleted: a consistent read of their node, and what this process knows of its silence.

A watch may be behind, and this process may have slept: between what it knows and what it does stands a fact.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from services.api.pb.ursa.core.v1.node_pb2 import Node, Taint
from services.base.clock import Clock
from services.controllers.nodes.facts import NOT_READY, UNREACHABLE, NodeFact, Ready
from services.controllers.nodes.monitor import NodeMonitor
from services.placement.nodes import is_ready
from services.placement.tolerations import NO_EXECUTE
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

READS_AT_ONCE = 16


class NodeReads(Protocol):
    """As much of the resource partition's node client as this needs."""

    async def get(
        self, name: str, *, tenant: str = "", namespace: str = "", resource_version: int | None = None
    ) -> Node: ...


@dataclass(frozen=True)
class Reading:
    """Nodes by name as they were at ``at`` (monotonic seconds) or later; those that could not be read are missing."""

    at: float
    nodes: dict[str, Node]


class NodeGuard:
    """Shared by the workers of all tenant partitions. ``confirmed_for_s``: how long a reading is good."""

    def __init__(self, nodes: NodeReads, monitor: NodeMonitor, clock: Clock, *, confirmed_for_s: float) -> None:
        self._nodes = nodes
        self._monitor = monitor
        self._clock = clock
        self._confirmed_for_s = confirmed_for_s
        self._reads = asyncio.Semaphore(READS_AT_ONCE)

    @property
    def sees(self) -> bool:
        """What is known of the nodes is provably how they are."""
        return self._monitor.proof.current(self._clock.monotonic())

    def is_unready(self, fact: NodeFact) -> bool:
        """The node is not ready right now, as far as this can be seen. One that was lost may have come back: its lease
        tells so first, its status follows."""
        if fact.ready is Ready.UNKNOWN:
            return self._monitor.is_lost(fact.name, self._clock.monotonic())
        return fact.ready is Ready.FALSE and self.sees

    async def read(self, names: Iterable[str]) -> Reading:
        """Consistent reads of these nodes, sent after this call."""
        at = self._clock.monotonic()
        found: dict[str, Node] = {}
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self._read(name, found))
        return Reading(at, found)

    def is_fresh(self, reading: Reading) -> bool:
        """It justifies deletions still."""
        return self._clock.monotonic() - reading.at <= self._confirmed_for_s

    def taints(self, reading: Reading, name: str) -> list[Taint]:
        """The NoExecute taints of the node that justify a deletion right now; empty: none does (yet)."""
        now = self._clock.monotonic()
        node = reading.nodes.get(name)
        if node is None or not self.is_fresh(reading):
            return []
        return [taint for taint in node.spec.taints if taint.effect == NO_EXECUTE and self._holds(taint.key, node, now)]

    def _holds(self, key: str, node: Node, now: float) -> bool:
        if key not in (NOT_READY, UNREACHABLE):
            return True
        if is_ready(node) or not self._monitor.proof.current(now):
            return False  # It has come back, or nobody can tell; the taint will go, or the eviction waits.
        return key == NOT_READY or self._monitor.is_lost(node.metadata.name, now)

    async def _read(self, name: str, found: dict[str, Node]) -> None:
        async with self._reads:
            try:
                found[name] = await self._nodes.get(name)
            except StatusError as failure:
                _log.info("node could not be confirmed", extra={"node": name, "cause": failure.message})
