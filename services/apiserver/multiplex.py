"""``ursa.watch.v1.WatchService/Watch``: thousands of watches of any kinds on one stream.

One writer per stream joins what its watches have to say into messages of at most about 1 MB: live events first, then at
most 64 kB of bulk (initial states and catch-up), so that nothing large stands in front of a live event. Live events
of watches that are in no hurry gather before a message is made (``gathering.py``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

import grpc

from services.api.pb.ursa.watch.v1.watch_pb2 import WatchClientMessage
from services.apiserver import frames, limits, metrics, scope
from services.apiserver.errors import translate
from services.apiserver.gathering import Gathering
from services.apiserver.objects import parse_request
from services.apiserver.opening import Openings
from services.apiserver.overload import Overload, too_many_watches
from services.apiserver.resource import Resource
from services.apiserver.watching import Draining, as_status, open_watch, timeout_timers
from services.apiserver.wheel import Wheel
from services.base.rand import Rand
from services.rpc import status
from services.rpc.handlers import Context
from services.rpc.lanes import Place, place_in
from services.rpc.status import StatusError
from services.storage.errors import StorageError
from services.storage.interface import Watcher


class _Watch:
    """One watch of a stream. ``live``: it has caught up once, so what it has now is news, which may gather for
    ``gather_s``. ``bookmark_due``: it is to be told where it is before it ends."""

    __slots__ = (
        "bookmark_due",
        "encoder",
        "gather_s",
        "live",
        "place",
        "prefix",
        "queued",
        "resource",
        "stream",
        "task",
        "timers",
        "watch_id",
        "watcher",
    )

    def __init__(
        self, stream: WatchStream, watch_id: int, resource: Resource, encoder: frames.BatchEncoder, gather_s: float
    ) -> None:
        self.stream = stream
        self.watch_id = watch_id
        self.resource = resource
        self.encoder = encoder
        self.gather_s = gather_s
        self.prefix = frames.prefix_of(watch_id)
        self.watcher: Watcher | None = None
        self.task: asyncio.Task[None] | None = None
        self.timers: list[asyncio.TimerHandle] = []
        self.place: Place | None = None
        self.bookmark_due = False
        self.live = False
        self.queued = False

    def wake(self) -> None:
        if not self.queued:
            self.queue()
            self.stream.gathering.ask(self.gather_s if self.live else 0.0)

    def queue(self) -> None:
        self.queued = True
        (self.stream.live if self.live else self.stream.bulk).append(self)

    def opened(self) -> None:
        """Its initial state is sent, or it has ended: others may open."""
        if self.place is not None:
            self.stream.openings.leave(self.place)
            self.place = None

    def close(self) -> None:
        self.opened()
        metrics.WATCHES.labels(self.resource.kind.resource).dec()
        if self.task is not None:
            self.task.cancel()
        for timer in self.timers:
            timer.cancel()
        self.stream.ends.discard(self)
        if self.watcher is not None:
            self.watcher.set_wake(None)
            self.watcher.close()


class WatchService:
    """The multiplexed watch over all kinds of a partition."""

    def __init__(
        self,
        resources: Mapping[str, Resource],
        gate: scope.TenantGate,
        draining: Draining,
        overload: Overload,
        rand: Rand,
    ) -> None:
        self.resources = resources
        self.gate = gate
        self.draining = draining
        self.rand = rand
        self.openings = overload.openings
        self.streams = overload.multiplexed_streams
        self.readers = overload.watch_readers
        self.watches_max = overload.config.multiplexed_watches_max
        self.retry_after_s = overload.config.retry_after_s
        self.encoders = {name: frames.BatchEncoder() for name in resources}

    async def watch(self, requests: AsyncIterator[bytes], context: Context) -> None:
        with self.streams.one() as leave:
            await context.send_initial_metadata(())
            await WatchStream(self, leave).serve(requests, context)


class WatchStream:
    """One client's stream."""

    def __init__(self, service: WatchService, leave: Callable[[], None]) -> None:
        self._service = service
        self._watches: dict[int, _Watch] = {}
        self._control: list[bytes] = []
        self._read_on = asyncio.Event()
        self._half_closed = False
        self._at_once = asyncio.Semaphore(limits.OPENINGS_PER_STREAM_MAX)
        self.openings = Openings(limits.OPENING_S_MAX)
        self.live: deque[_Watch] = deque()
        self.bulk: deque[_Watch] = deque()
        self.ends: Wheel[_Watch] = Wheel(self._time_out)
        self.awake = asyncio.Event()
        self.gathering = Gathering(asyncio.get_running_loop(), self.awake.set)
        self._reader = service.readers.add(self._close, leave)

    async def serve(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """Until the client cancels, or has closed its side and its last watch has ended, or the server stops
        (UNAVAILABLE)."""
        self._service.draining.add(self.awake.set)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write(context))
                await self._read(requests, tasks)
                self._half_closed = True
                self.awake.set()
        finally:
            self._service.draining.discard(self.awake.set)
            self._service.readers.discard(self._reader)
            self._close()

    def _close(self) -> None:
        """Free everything that the stream holds; it may be done twice."""
        for watch in self._watches.values():
            watch.close()
        self._watches.clear()
        self._control.clear()
        self.live.clear()
        self.bulk.clear()
        self.openings.close()
        self.ends.close()
        self.gathering.close()

    # The client's side

    async def _read(self, requests: AsyncIterator[bytes], tasks: asyncio.TaskGroup) -> None:
        async for raw in requests:
            if self._reader.gone:
                return
            message = parse_request(WatchClientMessage, raw)
            match message.WhichOneof("request"):
                case "create":
                    await self._create(message.create, tasks)
                case "cancel":
                    self._cancel(message.cancel.watch_id)
                case _:
                    raise status.bad_field("request", "neither create nor cancel is set")
            await self._answered()

    async def _answered(self) -> None:
        """A client that does not read what it is told is not told more, and so not read from."""
        while len(self._control) >= limits.ANSWERS_PER_STREAM_MAX:
            self._read_on.clear()
            await self._read_on.wait()

    async def _create(self, create: Any, tasks: asyncio.TaskGroup) -> None:
        watch_id = create.watch_id
        if watch_id <= 0:
            raise status.bad_field("create.watch_id", f"must be positive, is {watch_id}")
        if watch_id in self._watches:
            raise status.bad_field("create.watch_id", f"{watch_id} is in use on this stream")
        gather_ms = create.gather_ms
        if not 0 <= gather_ms <= limits.GATHER_MS_MAX:
            reason = f"must be between 0 and {limits.GATHER_MS_MAX}, is {gather_ms}"
            self._say(frames.failed(watch_id, status.bad_field("create.gather_ms", reason)))
            return
        resource = self._service.resources.get(create.resource)
        if resource is None:
            served = ", ".join(sorted(self._service.resources))
            self._say(frames.failed(watch_id, _no_resource(create.resource, served)))
            return
        if len(self._watches) >= self._service.watches_max:
            message = f"{self._service.watches_max} watches on one stream are the limit"
            self._say(frames.failed(watch_id, too_many_watches(message, self._service.retry_after_s)))
            return
        await self._at_once.acquire()
        if self._reader.gone:
            return
        watch = _Watch(self, watch_id, resource, self._service.encoders[create.resource], gather_ms / 1000)
        self._watches[watch_id] = watch
        metrics.WATCHES.labels(create.resource).inc()
        # Opening may wait for a quorum read; no other watch waits for that.
        watch.task = tasks.create_task(self._open(watch, create.selection))
        watch.task.add_done_callback(lambda _: self._at_once.release())

    async def _open(self, watch: _Watch, selection: Any) -> None:
        try:
            watch.place = await place_in(self._service.openings)
            watcher = await open_watch(watch.resource, self._service.gate, selection)
        except (StatusError, StorageError, ValueError) as failure:
            self._end(watch, failure)
            return
        watch.task = None
        watch.watcher = watcher
        self._say(frames.created(watch.watch_id))
        self.openings.hold(watch.place)
        if 0 < selection.timeout_seconds < limits.WATCH_TIMEOUT_EXACT_S_MAX:
            watch.timers = timeout_timers(
                selection.timeout_seconds,
                watcher,
                partial(self._expire, watch),
                bookmarks=selection.allow_watch_bookmarks,
            )
        else:
            watch.bookmark_due = selection.allow_watch_bookmarks
            timeout_s = float(selection.timeout_seconds) or self._service.rand.uniform(*limits.WATCH_TIMEOUT_S)
            self.ends.add(watch, timeout_s - limits.BOOKMARK_BEFORE_TIMEOUT_S)
        watcher.set_wake(watch.wake)
        watch.wake()

    def _time_out(self, watch: _Watch) -> None:
        if watch.bookmark_due and watch.watcher is not None:
            watch.bookmark_due = False
            self.ends.add(watch, limits.BOOKMARK_BEFORE_TIMEOUT_S)
            watch.watcher.request_bookmark()
        else:
            self._expire(watch)

    def _expire(self, watch: _Watch) -> None:
        if self._watches.pop(watch.watch_id, None) is not None:
            watch.close()
            self._say(frames.canceled(watch.watch_id))

    def _cancel(self, watch_id: int) -> None:
        watch = self._watches.pop(watch_id, None)
        if watch is not None:
            watch.close()
        self._say(frames.canceled(watch_id))

    def _end(self, watch: _Watch, failure: Exception) -> None:
        watch.task = None
        if self._watches.pop(watch.watch_id, None) is not None:
            watch.close()
            error = as_status(translate(watch.resource.kind, failure), failure)
            self._say(frames.failed(watch.watch_id, error))

    def _say(self, frame: bytes) -> None:
        self._control.append(frame)
        self.awake.set()

    # The server's side

    async def _write(self, context: Context) -> None:
        sent = metrics.WATCH_MESSAGES.labels("multiplexed")
        reader, now = self._reader, asyncio.get_running_loop().time
        while True:
            await self.awake.wait()
            self.awake.clear()
            self._service.draining.check()
            self.gathering.sent()
            message = self._message()
            if self.live or self.bulk:
                # More than one message holds: the next one follows it, however patient its watches are.
                self.awake.set()
            if message:
                reader.size_bytes = len(message)
                reader.writing_since_s = now()
                await context.write(message)
                reader.writing_since_s = 0.0
                if reader.gone:
                    raise self._slow()
                sent.inc()
            if self._half_closed and not self._watches and not self._control:
                return

    def _slow(self) -> StatusError:
        message = f"nothing was read for {self._service.readers.patience_s:g} s: resume each watch where it is"
        return status.resource_exhausted("SlowWatcher", message, retry_after_s=0.0)

    def _message(self) -> bytes:
        """Live events up to 1 MB, then bulk up to 64 kB; "" when no watch has anything to say.

        What a watch says follows what was said about it before: control frames go first.
        """
        parts = self._control
        self._control = []
        self._read_on.set()
        self._collect(self.live, limits.MESSAGE_BYTES_TARGET - limits.BULK_BYTES_TARGET, parts)
        self._collect(self.bulk, limits.BULK_BYTES_TARGET, parts)
        # An error found while collecting ends its watch; it goes last, after all its events.
        parts += self._control
        self._control = []
        return b"".join(parts)

    def _collect(self, queue: deque[_Watch], room: int, parts: list[bytes]) -> None:
        for _ in range(len(queue)):
            if room <= 0:
                return
            room -= self._take(queue.popleft(), room, parts)

    def _take(self, watch: _Watch, room: int, parts: list[bytes]) -> int:
        """Everything that ``watch`` has, as far as there is room; how many bytes that is."""
        watch.queued = False
        watcher = watch.watcher
        if watcher is None or self._watches.get(watch.watch_id) is not watch:
            return 0
        if watch.live and watch.gather_s:
            watcher.catch_up()
        taken = 0
        while taken < room:
            try:
                batch = watcher.take(room - taken)
            except StorageError as failure:
                self._end(watch, failure)
                return taken
            if batch is None:
                watch.live = True
                watch.opened()
                return taken
            frame = frames.sub_batch(watch.prefix, watch.encoder.encode(batch))
            parts.append(frame)
            taken += len(frame)
        watch.queue()
        return taken


def _no_resource(name: str, served: str) -> StatusError:
    return StatusError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "BadRequest",
        f'no resource "{name}" is served here; served are {served}',
        violations=(status.Violation("create.resource", f'"{name}" is not served by this partition'),),
    )
