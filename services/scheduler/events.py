"""Events about pods: repeated ones are counted instead of written again, all of them in batches, best effort.

Rules after client-go tools/record: equal events of one object become one with a count, and a rate limit holds the rest
back (kube-scheduler's own client writes 50 a second).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from services.api.pb.ursa.core.v1.event_pb2 import Event, EventSource
from services.api.pb.ursa.core.v1.pod_pb2 import ObjectReference
from services.api.pb.ursa.meta.v1.meta_pb2 import ObjectMeta
from services.base.clock import Clock
from services.base.pace import Pace
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
# The bucket holds this many seconds' worth of events, and a batch is at least so many seconds' worth of them.
BURST_S = 2.0
PACE_S = 0.25
# A batch begins so long after the one before, unless it is full: nobody waits for an event of a pod.
GATHER_S = 1.0
RETRY_PAUSE_S = 1.0


class EventApi(Protocol):
    """As much of ``services.client.clientset.ResourceClient`` as this needs."""

    async def batch_create(self, objs: Iterable[Event]) -> Sequence[Outcome]: ...

    async def batch_update(self, objs: Iterable[Event]) -> Sequence[Outcome]: ...


_Key = tuple[str, str, str]


@dataclass(slots=True, eq=False)
class _Note:
    """An event to be; the message is made when it is its turn. Times are whole seconds since the epoch."""

    pod: PodInfo
    kind: str
    reason: str
    message: str
    action: str
    component: str
    first_s: int
    last_s: int
    count: int = 1


class EventRecorder:
    """``record`` never waits and never fails. Events are written at a bounded rate, warnings first, so that a storm of
    pods does not become two; what waits in too great a number, or cannot be written, is dropped and counted."""

    def __init__(self, events: EventApi, *, per_second: float, clock: Clock, rand: Rand) -> None:
        self._events = events
        self._per_second = per_second
        self._clock = clock
        self._rand = rand
        self._tokens = per_second * BURST_S
        self._filled_at = clock.monotonic()
        # By (pod uid, reason, message): the event as last sent, newest at the end.
        self._written: OrderedDict[_Key, Event] = OrderedDict()
        self._warnings: dict[_Key, _Note] = {}
        self._others: dict[_Key, _Note] = {}
        self._pace = Pace(clock, GATHER_S)
        self._wake = asyncio.Event()

    def record(self, pod: PodInfo, *, kind: str, reason: str, message: str, action: str, component: str) -> None:
        """Note an event of type ``kind`` (Normal, Warning) about ``pod``; ``component`` says who reports it."""
        pending = self._warnings if kind == "Warning" else self._others
        key = (pod.uid, reason, message)
        now = int(self._clock.time())
        note = pending.get(key)
        if note is not None:
            note.count += 1
            note.last_s = now
            return
        if len(pending) >= PENDING_MAX:
            EVENTS_DROPPED.inc()
            return
        pending[key] = _Note(pod, kind, reason, message, action, component, now, now)
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            wanted = min(BATCH_EVENTS, len(self._warnings) + len(self._others))
            if not wanted:
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._pace.turn(full=wanted == BATCH_EVENTS)
            wanted = min(BATCH_EVENTS, len(self._warnings) + len(self._others))
            enough = min(wanted, max(1.0, self._per_second * PACE_S))
            if self._fill() < enough:
                await self._clock.sleep(max((enough - self._tokens) / self._per_second, 0.001))
                continue
            size = min(wanted, int(self._tokens))
            self._tokens -= size
            await self._write_some(size)

    async def _write_some(self, size: int) -> None:
        fresh: dict[_Key, Event] = {}
        repeated: dict[_Key, Event] = {}
        for key in list(itertools.islice(itertools.chain(self._warnings, self._others), size)):
            note = self._warnings.pop(key, None) or self._others.pop(key)
            known = self._written.get(key)
            if known is None:
                fresh[key] = self._new(note)
            else:
                known.count += note.count
                known.last_timestamp.CopyFrom(Timestamp(seconds=note.last_s))
                repeated[key] = known
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

    def _fill(self) -> float:
        """Events that may be written now."""
        now = self._clock.monotonic()
        most = max(1.0, self._per_second * BURST_S)
        self._tokens = min(most, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        return self._tokens

    def _new(self, note: _Note) -> Event:
        pod = note.pod
        suffix = f".{self._rand.hexadecimal(16)}"
        name = pod.name[: NAME_MAX - len(suffix)] + suffix
        return Event(
            metadata=ObjectMeta(tenant=pod.tenant, namespace=pod.namespace, name=name),
            involved_object=ObjectReference(
                kind="Pod", api_version="v1", tenant=pod.tenant, namespace=pod.namespace, name=pod.name, uid=pod.uid
            ),
            reason=note.reason,
            message=note.message,
            source=EventSource(component=note.component),
            first_timestamp=Timestamp(seconds=note.first_s),
            last_timestamp=Timestamp(seconds=note.last_s),
            count=note.count,
            type=note.kind,
            action=note.action,
            reporting_component=note.component,
            reporting_instance=note.component,
        )
