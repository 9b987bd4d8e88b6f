"""The typed Watch: one server stream per watch, for people and for gRPC command-line clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from services.api.kinds import Kind
from services.api.pb.ursa.meta.v1.meta_pb2 import WatchRequest
from services.apiserver import frames, limits, metrics, scope
from services.apiserver.objects import parse_request
from services.apiserver.overload import Bulk, Standing
from services.apiserver.readers import Readers
from services.apiserver.reads import resource_version
from services.apiserver.resource import Resource
from services.base.clock import Clock
from services.base.rand import Rand
from services.rpc import status
from services.rpc.handlers import Context
from services.rpc.lanes import Place
from services.rpc.status import StatusError, Violation
from services.storage.errors import SlowWatcher
from services.storage.interface import Watcher, WatchQuery

_NOT_OLDER_THAN = "NotOlderThan"


class Draining:
    """Tells every open watch that the server stops, so that no one waits for them."""

    def __init__(self) -> None:
        self._wakes: set[Callable[[], None]] = set()
        self.begun = False

    def begin(self) -> None:
        self.begun = True
        for wake in tuple(self._wakes):
            wake()

    def add(self, wake: Callable[[], None]) -> None:
        self._wakes.add(wake)

    def discard(self, wake: Callable[[], None]) -> None:
        self._wakes.discard(wake)

    def check(self) -> None:
        """Raises ``StatusError`` once the server stops."""
        if self.begun:
            raise status.unavailable("the server is shutting down", retry_after_s=0.1)


async def open_watch(resource: Resource, gate: scope.TenantGate, request: Any) -> Watcher:
    """The watcher that ``request`` (a WatchRequest) asks for. Raises ``StatusError`` and storage's errors."""
    kind = resource.kind
    prefix, selection = scope.collection(kind, request)
    if kind.tenant_scoped and request.tenant != "*":
        await gate.require(request.tenant)
    _check(kind, request)
    initial = request.send_initial_events if request.HasField("send_initial_events") else None
    query = WatchQuery(prefix, selection, resource_version(request), initial, request.allow_watch_bookmarks)
    return await resource.store.watch(query)


def _check(kind: Kind, request: Any) -> None:
    violations: list[Violation] = []
    match = request.resource_version_match
    if request.send_initial_events and match != _NOT_OLDER_THAN:
        violations.append(
            Violation("resource_version_match", f"must be {_NOT_OLDER_THAN} when send_initial_events is set")
        )
    elif match and (match != _NOT_OLDER_THAN or not request.HasField("send_initial_events")):
        violations.append(
            Violation("resource_version_match", f"is for watches with send_initial_events, and {_NOT_OLDER_THAN} then")
        )
    if request.timeout_seconds < 0:
        violations.append(Violation("timeout_seconds", f"must not be negative, is {request.timeout_seconds}"))
    if violations:
        raise status.invalid(violations, subject=f"the watch of {kind.resource}")


class TypedWatch:
    """Watch of one kind."""

    def __init__(
        self,
        resource: Resource,
        gate: scope.TenantGate,
        draining: Draining,
        clock: Clock,
        rand: Rand,
        bulk: Bulk,
        standing: Standing,
        readers: Readers,
    ) -> None:
        self._resource = resource
        self._gate = gate
        self._draining = draining
        self._clock = clock
        self._rand = rand
        self._bulk = bulk
        self._standing = standing
        self._readers = readers
        self._encoder = frames.BatchEncoder()

    async def watch(self, request: bytes, context: Context, place: Place) -> None:
        wanted = parse_request(WatchRequest, request)
        with self._standing.one() as leave:
            await self._serve(wanted, context, place, leave)

    async def _serve(self, wanted: Any, context: Context, place: Place, leave: Callable[[], None]) -> None:
        watcher = await open_watch(self._resource, self._gate, wanted)
        timeout_s = float(wanted.timeout_seconds) or self._rand.uniform(*limits.WATCH_TIMEOUT_S)
        try:
            # Headers tell the client that the watch stands, long before its first event.
            await context.send_initial_metadata(())
            await self._stream(watcher, context, timeout_s, place, leave, bookmarks=wanted.allow_watch_bookmarks)
        finally:
            watcher.close()

    async def _stream(
        self,
        watcher: Watcher,
        context: Context,
        timeout_s: float,
        place: Place,
        leave: Callable[[], None],
        *,
        bookmarks: bool,
    ) -> None:
        awake = asyncio.Event()
        sent = metrics.WATCH_MESSAGES.labels("typed")
        end_s = self._clock.monotonic() + timeout_s
        timers = timeout_timers(timeout_s, watcher, awake.set, bookmarks=bookmarks)
        opening = asyncio.get_running_loop().call_later(limits.OPENING_S_MAX, place.leave)
        timers.append(opening)
        slow, revision = SlowWatcher(0), 0

        def give_up() -> None:
            nonlocal slow
            # What is on its way counts as read: whoever hears of this has read it.
            slow = SlowWatcher(revision)
            for timer in timers:
                timer.cancel()
            place.leave()
            watcher.close()

        reader = self._readers.add(give_up, leave)
        now = asyncio.get_running_loop().time
        self._draining.add(awake.set)
        watcher.set_wake(awake.set)
        try:
            while True:
                awake.clear()
                if place.left:
                    batch = watcher.take(limits.MESSAGE_BYTES_TARGET)
                    message = None if batch is None else self._encoder.encode(batch)
                else:
                    async with self._bulk:
                        batch = watcher.take(self._bulk.part_bytes)
                        message = None if batch is None else self._encoder.encode(batch)
                if batch is not None and message is not None:
                    revision = batch.revision
                    del batch
                    reader.size_bytes = len(message)
                    reader.writing_since_s = now()
                    await context.write(message)
                    reader.writing_since_s = 0.0
                    if reader.gone:
                        raise slow
                    sent.inc()
                    continue
                place.leave()
                opening.cancel()
                self._draining.check()
                if self._clock.monotonic() >= end_s:
                    return
                await awake.wait()
        finally:
            self._readers.discard(reader)
            watcher.set_wake(None)
            self._draining.discard(awake.set)
            for timer in timers:
                timer.cancel()


def timeout_timers(
    timeout_s: float, watcher: Watcher, end: Callable[[], None], *, bookmarks: bool
) -> list[asyncio.TimerHandle]:
    """Call ``end`` after ``timeout_s``; 2 s before that a watch that takes bookmarks is told where it is."""
    loop = asyncio.get_running_loop()
    timers = [loop.call_later(timeout_s, end)]
    if bookmarks:
        timers.append(loop.call_later(max(0.0, timeout_s - limits.BOOKMARK_BEFORE_TIMEOUT_S), watcher.request_bookmark))
    return timers


def as_status(error: StatusError | None, failure: Exception) -> StatusError:
    """``error``, or an internal error that names ``failure``."""
    return error if error is not None else status.internal(f"internal error: {type(failure).__name__}: {failure}")
