"""Events about pods: repeated ones are counted instead of written again, all of them in batches, best effort.

Rules after client-go tools/record: equal events of one object become one with a count, and a rate limit drops the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from services.api.pb.ursa.core.v1.event_pb2 import Event, EventSource
from services.api.pb.ursa.core.v1.pod_pb2 import ObjectReference
from services.api.pb.ursa.meta.v1.meta_pb2 import ObjectMeta
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.clientset import Outcome
from services.rpc.status import StatusError
from services.scheduler.core import PodInfo
from services.scheduler.metrics import EVENTS_DROPPED

_log = logging.getLogger(__name__)

BATCH_EVENTS = 256
PENDING_MAX = 20_000
REMEMBERED_MAX = 8_192
NAME_MAX = 253
# The bucket holds this many seconds' worth of events.
BURST_S = 10.0
RETRY_PAUSE_S = 1.0


class EventApi(Protocol):
    """As much of ``services.client.clientset.ResourceClient`` as this needs."""

    async def batch_create(self, objs: Iterable[Event]) -> Sequence[Outcome]: ...

    async def batch_update(self, objs: Iterable[Event]) -> Sequence[Outcome]: ...


_Key = tuple[str, str, str]


class EventRecorder:
    """``record`` never waits and never fails; what cannot be written is dropped and counted."""

    def __init__(self, events: EventApi, *, component: str, per_second: float, clock: Clock, rand: Rand) -> None:
        self._events = events
        self._component = component
        self._per_second = per_second
        self._clock = clock
        self._rand = rand
        self._tokens = per_second * BURST_S
        self._filled_at = clock.monotonic()
        # By (pod uid, reason, message): the event as last sent, newest at the end.
        self._written: OrderedDict[_Key, Event] = OrderedDict()
        self._pending: dict[_Key, Event] = {}
        self._wake = asyncio.Event()

    def record(self, pod: PodInfo, *, kind: str, reason: str, message: str, action: str) -> None:
        """Note an event of type ``kind`` (Normal, Warning) about ``pod``."""
        key = (pod.uid, reason, message)
        pending = self._pending.get(key)
        if pending is not None:
            self._again(pending)
            return
        if len(self._pending) >= PENDING_MAX or not self._take_token():
            EVENTS_DROPPED.inc()
            return
        known = self._written.get(key)
        if known is None:
            self._pending[key] = self._new(pod, kind, reason, message, action)
        else:
            self._again(known)
            self._pending[key] = known
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            if not self._pending:
                self._wake.clear()
                await self._wake.wait()
            keys = list(self._pending)[:BATCH_EVENTS]
            batch = {key: self._pending.pop(key) for key in keys}
            repeated = {key: event for key, event in batch.items() if key in self._written}
            fresh = {key: event for key, event in batch.items() if key not in repeated}
            await self._write(fresh, update=False)
            await self._write(repeated, update=True)

    async def _write(self, batch: dict[_Key, Event], *, update: bool) -> None:
        if not batch:
            return
        try:
            send = self._events.batch_update if update else self._events.batch_create
            outcomes = await send(list(batch.values()))
        except StatusError as failure:
            _log.debug("events were not written", extra={"events": len(batch), "cause": failure.message})
            EVENTS_DROPPED.inc(len(batch))
            await self._clock.sleep(RETRY_PAUSE_S)
            return
        for (key, event), outcome in zip(batch.items(), outcomes, strict=True):
            if outcome.status is None:
                self._remember(key, event)
            else:
                EVENTS_DROPPED.inc()
                self._written.pop(key, None)

    def _remember(self, key: _Key, event: Event) -> None:
        self._written[key] = event
        self._written.move_to_end(key)
        if len(self._written) > REMEMBERED_MAX:
            self._written.popitem(last=False)

    def _take_token(self) -> bool:
        now = self._clock.monotonic()
        full = self._per_second * BURST_S
        self._tokens = min(full, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _again(self, event: Event) -> None:
        event.count += 1
        event.last_timestamp.CopyFrom(self._now())

    def _new(self, pod: PodInfo, kind: str, reason: str, message: str, action: str) -> Event:
        now = self._now()
        suffix = f".{self._rand.hexadecimal(16)}"
        name = pod.name[: NAME_MAX - len(suffix)] + suffix
        return Event(
            metadata=ObjectMeta(tenant=pod.tenant, namespace=pod.namespace, name=name),
            involved_object=ObjectReference(
                kind="Pod", api_version="v1", tenant=pod.tenant, namespace=pod.namespace, name=pod.name, uid=pod.uid
            ),
            reason=reason,
            message=message,
            source=EventSource(component=self._component),
            first_timestamp=now,
            last_timestamp=now,
            count=1,
            type=kind,
            action=action,
            reporting_component=self._component,
            reporting_instance=self._component,
        )

    def _now(self) -> Timestamp:
        return Timestamp(seconds=int(self._clock.time()))
