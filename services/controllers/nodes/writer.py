"""Writes what the monitor finds to nodes, in batches: first who is lost, then taints and annotations."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import grpc

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import first_of
from services.client.calls import is_retryable
from services.client.clientset import Outcome
from services.controllers.nodes import metrics
from services.controllers.nodes.config import NodesConfig
from services.controllers.nodes.monitor import NodeMonitor, Write
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)


# The node has changed, or is gone: the event that says so is under way, and what is to be written is decided anew then.
# Among thousands of nodes one of each batch has always just reported: nobody waits for that.
_OUTDATED = frozenset((grpc.StatusCode.ABORTED, grpc.StatusCode.NOT_FOUND))

REFUSED_PAUSE_S = 30.0


class NodeApi(Protocol):
    """As much of the resource partition's node client as this needs."""

    async def batch_update(self, objs: Iterable[Node], *, timeout_s: float | None = None) -> Sequence[Outcome]: ...

    async def batch_update_status(
        self, objs: Iterable[Node], *, timeout_s: float | None = None
    ) -> Sequence[Outcome]: ...


class NodeWriter:
    """``wake`` when the monitor has something to write.

    Every write has the resource version as its precondition, and is made of what is known at the moment it is sent: a
    process that slept in between writes nothing that has become untrue.
    """

    def __init__(self, nodes: NodeApi, monitor: NodeMonitor, config: NodesConfig, *, clock: Clock, rand: Rand) -> None:
        self._nodes = nodes
        self._monitor = monitor
        self._config = config
        self._clock = clock
        self._backoff = Backoff(rand, initial_s=0.1, maximum_s=config.backoff_max_s)
        self._wake = asyncio.Event()
        # Nodes whose write was refused for good, by when they are tried again, in its order.
        self._aside: dict[str, float] = {}

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._take_back()
            if self._monitor.idle:
                self._wake.clear()
                await self._wait()
                continue
            settled = await self._write("status", self._monitor.take_lost)
            settled &= await self._write("spec", self._monitor.take_revisions)
            if settled:
                self._backoff.reset()
            else:
                await self._clock.sleep(self._backoff.next())

    async def _wait(self) -> None:
        due = next(iter(self._aside.values()), None)
        if due is None:
            await self._wake.wait()
        else:
            await first_of(self._wake.wait(), self._clock.sleep(max(0.0, due - self._clock.monotonic())))

    def _take_back(self) -> None:
        now = self._clock.monotonic()
        due = list(itertools.takewhile(lambda name: self._aside[name] <= now, self._aside))
        for name in due:
            del self._aside[name]
        self._monitor.not_written(due)

    async def _write(self, what: str, take: Callable[[int, float, float], list[Write]]) -> bool:
        """False: some have to be looked at again."""
        writes = take(self._config.batch_nodes, self._clock.monotonic(), self._clock.time())
        if not writes:
            return True
        messages = [write.node for write in writes]
        batch = self._nodes.batch_update_status if what == "status" else self._nodes.batch_update
        try:
            outcomes = await batch(messages, timeout_s=self._config.call_timeout_s)
        except StatusError as failure:
            _log.warning("nodes not written", extra={"what": what, "nodes": len(writes), "cause": failure.message})
            metrics.WRITES.labels(what, failure.reason).inc(len(writes))
            self._monitor.not_written([write.fact.name for write in writes])
            return False
        failed: list[str] = []
        for write, outcome in zip(writes, outcomes, strict=True):
            metrics.WRITES.labels(what, "ok" if outcome.status is None else outcome.status.reason).inc()
            if outcome.status is None:
                if write.evicts:
                    metrics.ZONE_EVICTIONS.labels(write.fact.zone).inc()
            elif outcome.status.code in _OUTDATED:
                pass
            elif is_retryable(outcome.status):
                failed.append(write.fact.name)
            else:
                self._set_aside(write.fact.name, what, outcome.status)
        self._monitor.not_written(failed)
        return not failed

    def _set_aside(self, name: str, what: str, refusal: StatusError) -> None:
        """Only a change of the node will make it possible: it is tried now and then, and no other waits for it."""
        _log.warning("a node cannot be written", extra={"node": name, "what": what, "cause": refusal.message})
        self._aside.pop(name, None)
        self._aside[name] = self._clock.monotonic() + REFUSED_PAUSE_S
