"""Events of controllers, as users of ``describe`` expect them: written at a bounded rate, repeated ones counted up."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import Counter

from services.api.pb.ursa.core.v1.event_pb2 import Event, EventSource
from services.api.pb.ursa.core.v1.pod_pb2 import ObjectReference
from services.api.pb.ursa.meta.v1.meta_pb2 import ObjectMeta
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.clientset import Outcome
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

DROPPED = Counter("ursa_controller_events_dropped", "Events that could not be written, or were too many", ["component"])

BATCH_EVENTS = 256
PENDING_MAX = 20_000
REMEMBERED_MAX = 4_096
NAME_MAX = 253
RETRY_PAUSE_S = 1.0
PACE_S = 0.25


class EventApi(Protocol):
    """As much of ``services.client.clientset.ResourceClient`` as this needs."""

    async def batch_create(self, objs: Iterable[Event], *, timeout_s: float | None = None) -> Sequence[Outcome]: ...

    async def batch_update(self, objs: Iterable[Event], *, timeout_s: float | None = None) -> Sequence[Outcome]: ...


class About(NamedTuple):
    """The object that an event is about. ``tenant`` and ``namespace`` are also the event's own."""

    kind: str
    tenant: str
    namespace: str
    name: str
    uid: str
    api_version: str = "v1"


class _Key(NamedTuple):
    about: About
    kind: str
    reason: str
    message: str


class EventRecorder:
    """``record`` never waits and never fails. What waits in too great a number, or cannot be written, is dropped and
    counted. ``events`` may be replaced while it runs (other endpoints)."""

    def __init__(self, events: EventApi, *, component: str, per_second: float, clock: Clock, rand: Rand) -> None:
        self.events = events
        self._component = component
        self._per_second = per_second
        self._clock = clock
        self._rand = rand
        # Seconds of first and last occurrence, and how many there were.
        self._pending: dict[_Key, tuple[int, int, int]] = {}
        self._written: OrderedDict[_Key, Event] = OrderedDict()
        self._wake = asyncio.Event()

    def record(self, about: About, *, kind: str, reason: str, message: str) -> None:
        """Note an event of type ``kind`` (Normal, Warning)."""
        key, now = _Key(about, kind, reason, message), int(self._clock.time())
        known = self._pending.get(key)
        if known is None and len(self._pending) >= PENDING_MAX:
            DROPPED.labels(self._component).inc()
            return
        self._pending[key] = (known[0], now, known[2] + 1) if known is not None else (now, now, 1)
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            if not self._pending:
                self._wake.clear()
                await self._wake.wait()
            size = max(1, min(BATCH_EVENTS, int(self._per_second * PACE_S)))
            taken = [(key, self._pending.pop(key)) for key in list(itertools.islice(self._pending, size))]
            await self._write(taken)
            await self._clock.sleep(len(taken) / self._per_second)

    async def _write(self, taken: Sequence[tuple[_Key, tuple[int, int, int]]]) -> None:
        fresh: dict[_Key, Event] = {}
        repeated: dict[_Key, Event] = {}
        for key, (first, last, count) in taken:
            known = self._written.get(key)
            if known is None:
                fresh[key] = self._made(key, first, last, count)
            else:
                known.count += count
                known.last_timestamp.CopyFrom(Timestamp(seconds=last))
                repeated[key] = known
        for batch, update in ((fresh, False), (repeated, True)):
            if batch:
                await self._send(batch, update=update)

    async def _send(self, batch: dict[_Key, Event], *, update: bool) -> None:
        send = self.events.batch_update if update else self.events.batch_create
        try:
            outcomes = await send(list(batch.values()))
        except StatusError as failure:
            _log.debug("events were not written", extra={"events": len(batch), "cause": failure.message})
            DROPPED.labels(self._component).inc(len(batch))
            await self._clock.sleep(RETRY_PAUSE_S)
            return
        for (key, event), outcome in zip(batch.items(), outcomes, strict=True):
            self._written.pop(key, None)
            if outcome.status is not None:
                DROPPED.labels(self._component).inc()
                continue
            self._written[key] = event
            if len(self._written) > REMEMBERED_MAX:
                self._written.popitem(last=False)

    def _made(self, key: _Key, first: int, last: int, count: int) -> Event:
        about = key.about
        suffix = f".{self._rand.hexadecimal(16)}"
        return Event(
            metadata=ObjectMeta(
                tenant=about.tenant, namespace=about.namespace, name=about.name[: NAME_MAX - len(suffix)] + suffix
            ),
            involved_object=ObjectReference(
                kind=about.kind,
                api_version=about.api_version,
                # A node is of no tenant; its events are kept with the system's.
                tenant="" if about.kind == "Node" else about.tenant,
                namespace="" if about.kind == "Node" else about.namespace,
                name=about.name,
                uid=about.uid,
            ),
            reason=key.reason,
            message=key.message,
            source=EventSource(component=self._component),
            first_timestamp=Timestamp(seconds=first),
            last_timestamp=Timestamp(seconds=last),
            count=count,
            type=key.kind,
            reporting_component=self._component,
            reporting_instance=self._component,
        )
