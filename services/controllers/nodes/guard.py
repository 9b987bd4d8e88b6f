"""The last look before pods are deleted: a consistent read of their node, and what this process knows of its silence.

A watch may be behind, and this process may have slept: between what it knows and what it does stands a fact.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from services.api.pb.ursa.core.v1.node_pb2 import Node, Taint
from services.base.clock import Clock
from services.client.calls import is_retryable
from services.controllers.nodes.facts import NOT_READY, UNREACHABLE, NodeFact, Ready
from services.controllers.nodes.monitor import NodeMonitor
from services.placement.nodes import is_ready
from services.placement.tolerations import NO_EXECUTE
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

READS_AT_ONCE = 16


class NodeReads(Protocol):
    """As much of the resource partition's node client as this needs."""

    async def get(self, name: str, *, timeout_s: float | None = None) -> Node: ...


@dataclass(frozen=True)
class Reading:
    """``nodes``: by name, as they were at the second in ``at`` (monotonic) or later; those that could not be read are
    missing."""

    nodes: dict[str, Node] = field(default_factory=dict)
    at: dict[str, float] = field(default_factory=dict)


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
        """Consistent reads of these nodes, sent after this call. Raises ``StatusError`` if the partition answered none
        of them: who asks should pause before the next."""
        reading = Reading()
        refusals: list[StatusError] = []
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self._read(name, reading, refusals))
        if refusals and not reading.nodes:
            raise refusals[-1]
        return reading

    def is_fresh(self, reading: Reading) -> bool:
        """All of it justifies deletions still."""
        now = self._clock.monotonic()
        return all(now - at <= self._confirmed_for_s for at in reading.at.values())

    def taints(self, reading: Reading, name: str) -> list[Taint]:
        """The NoExecute taints of the node that justify a deletion right now; empty: none does (yet)."""
        now = self._clock.monotonic()
        node = reading.nodes.get(name)
        if node is None or now - reading.at[name] > self._confirmed_for_s:
            return []
        return [taint for taint in node.spec.taints if taint.effect == NO_EXECUTE and self._holds(taint.key, node, now)]

    def _holds(self, key: str, node: Node, now: float) -> bool:
        if key not in (NOT_READY, UNREACHABLE):
            return True
        if is_ready(node) or not self._monitor.proof.current(now):
            return False  # It has come back, or nobody can tell; the taint will go, or the eviction waits.
        return key == NOT_READY or self._monitor.is_lost(node.metadata.name, now)

    async def _read(self, name: str, reading: Reading, refusals: list[StatusError]) -> None:
        async with self._reads:
            at = self._clock.monotonic()
            try:
                # Whatever comes later than that justifies nothing any more, and others wait for the place.
                node = await self._nodes.get(name, timeout_s=self._confirmed_for_s)
            except StatusError as failure:
                _log.info("node could not be confirmed", extra={"node": name, "cause": failure.message})
                if is_retryable(failure):
                    refusals.append(failure)
            else:
                reading.nodes[name], reading.at[name] = node, at
