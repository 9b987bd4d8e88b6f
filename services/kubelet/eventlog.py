"""Events about pods, in batches and best effort: they are bounded, sent late, and dropped rather than retried long."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from services.api.pb.ursa.core.v1.event_pb2 import Event
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.partitions import Connection
from services.kubelet import metrics
from services.kubelet.instructions import Record
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

QUEUED_MAX = 10_000
BATCH_MAX = 500
# Events gather this long, so that a burst of starts is a few messages and statuses go first.
GATHER_S = 1.0


class EventLog:
    """The events of one tenant partition."""

    def __init__(self, connection: Connection, clock: Clock, rand: Rand, *, host: str) -> None:
        self.connection = connection
        self._clock = clock
        self._rand = rand
        self._host = host
        self._queue: deque[Event] = deque()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, record: Record, node: str) -> None:
        if len(self._queue) >= QUEUED_MAX:
            metrics.EVENTS.labels(self.connection.name, "dropped").inc()
            return
        self._queue.append(self._event(record, node))
        self._wake.set()

    async def run(self) -> None:
        """Send what gathers, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._clock.sleep(GATHER_S)
            while self._queue:
                await self._send([self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))])

    async def _send(self, events: list[Event]) -> None:
        partition = self.connection.name
        try:
            outcomes = await self.connection.clientset.events.batch_create(events)
        except StatusError as error:
            metrics.EVENTS.labels(partition, "failed").inc(len(events))
            _log.info("events lost", extra={"partition": partition, "events": len(events), "cause": error.message})
            return
        failed = sum(outcome.status is not None for outcome in outcomes)
        metrics.EVENTS.labels(partition, "sent").inc(len(events) - failed)
        if failed:
            metrics.EVENTS.labels(partition, "failed").inc(failed)

    def _event(self, record: Record, node: str) -> Event:
        now = self._clock.time()
        metadata = record.pod.metadata
        event = Event(type=record.type, reason=record.reason, message=record.message, count=1)
        event.metadata.name = f"{metadata.name[:236]}.{self._rand.hexadecimal(16)}"
        event.metadata.namespace, event.metadata.tenant = metadata.namespace, metadata.tenant
        involved = event.involved_object
        involved.kind, involved.api_version = "Pod", "v1"
        involved.name, involved.namespace, involved.tenant = metadata.name, metadata.namespace, metadata.tenant
        involved.uid, involved.resource_version = metadata.uid, metadata.resource_version
        event.source.component, event.source.host = "kubelet", node
        event.reporting_component, event.reporting_instance = "kubelet", self._host
        for stamp in (event.first_timestamp, event.last_timestamp):
            stamp.seconds = int(now)
        return event
