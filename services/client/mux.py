"""The client's end of ``ursa.watch.v1.WatchService/Watch``: thousands of watches of any kind on one stream.

One ``WatchMux`` per client and partition. A watch is a small object with a callback (``subscribe``) or an async
iterator (``watch``); neither costs a task. When the stream is lost, every watch that the server had accepted ends with
a retryable error and its owner resumes it from its own resource version; a watch that was not yet accepted stays and
is sent again on the next stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple, Protocol

import grpc
from prometheus_client import Counter, Gauge

from services.api.kinds import Kind
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.api.pb.ursa.watch.v1 import watch_pb2
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.clientset import watch_request
from services.client.timers import Timer, Timers
from services.rpc import methods
from services.rpc.status import StatusError, from_rpc_error, from_status, resource_exhausted, unavailable, watch_ended

_log = logging.getLogger(__name__)

WATCHES = Gauge("ursa_client_watches", "Watches open or asked for", ["partition"])
MESSAGES = Counter("ursa_client_watch_messages_total", "Messages received on multiplexed watch streams", ["partition"])
STREAMS = Counter("ursa_client_watch_streams_total", "Multiplexed watch streams begun", ["partition"])
EVENTS = Counter("ursa_client_watch_events_total", "Watch events received", ["partition"])

# Creates go out in groups with a jittered pause between: ten thousand watches that resume at once would otherwise
# stand in one long queue before the server's live events.
CREATES_PER_GROUP = 512
GROUP_PAUSE_S = 0.02

# The longest time that events may gather (the server's own limit).
GATHER_S_MAX = 1.0

# An iterator that is not read from is ended at this many events, and says so; nobody else notices.
QUEUED_EVENTS_MAX = 100_000

RECONNECT_INITIAL_S = 0.1
RECONNECT_MAX_S = 3.0

# Refusals of the whole stream that no retry will change.
_FINAL_CODES = frozenset(
    {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
)


class Batch(NamedTuple):
    """A part of one watch: whole revisions only. ``resource_version`` is the resume point after it.

    ``events``: (``ursa.watch.v1.EventType``, the object's bytes).
    """

    resource_version: int
    events: Sequence[tuple[int, bytes]]
    bookmark: bool
    initial_events_end: bool


class Sink(Protocol):
    """Where the batches of one watch go. Called on the event loop; must not block and must not raise."""

    def on_watch_batch(self, batch: Batch) -> None: ...

    def on_watch_open(self) -> None:
        """The server has accepted the watch."""
        ...

    def on_watch_end(self, error: StatusError) -> None:
        """The watch is over; nothing follows."""
        ...


class Subscription:
    """One watch of a mux; ``cancel`` ends it without a call of ``on_watch_end``."""

    __slots__ = ("_accepted", "_mux", "_request", "_resource", "_sink", "watch_id")

    def __init__(self, mux: WatchMux, watch_id: int, resource: str, request: meta_pb2.WatchRequest, sink: Sink) -> None:
        # Needed until the watch is accepted: after that its owner resumes it with another one.
        self._request: meta_pb2.WatchRequest | None = request
        self._mux = mux
        self.watch_id = watch_id
        self._resource = resource
        self._sink = sink
        self._accepted = False

    @property
    def accepted(self) -> bool:
        """The server has answered on this watch."""
        return self._accepted

    def cancel(self) -> None:
        """No more batches; idempotent."""
        self._mux._cancel(self)


class WatchMux:
    """All watches of this client on one partition. ``run`` keeps the stream while there are watches.

    ``gather_s``, 0 to ``GATHER_S_MAX``: how long the server may let events gather, so that many share one message
    (0: each comes at once).
    """

    def __init__(
        self, channel: grpc.aio.Channel, clock: Clock, rand: Rand, *, partition: str = "", gather_s: float = 0.0
    ) -> None:
        self.partition = partition
        self._gather_ms = round(gather_s * 1000)
        self.clock = clock
        self.rand = rand
        self._method: Any = channel.stream_stream(
            methods.WATCH_METHOD,
            request_serializer=watch_pb2.WatchClientMessage.SerializeToString,
            response_deserializer=watch_pb2.WatchServerMessage.FromString,
        )
        self._timers = Timers(clock)
        self._watches: dict[int, Subscription] = {}
        self._outgoing: deque[watch_pb2.WatchClientMessage | int] = deque()
        self._wake = asyncio.Event()
        self._next_id = 1
        self._sending = False
        self.connected = False

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """A timer that fires while this mux runs; for the retries of its watches."""
        return self._timers.after(seconds, callback)

    def subscribe(self, kind: Kind, request: meta_pb2.WatchRequest, sink: Sink) -> Subscription:
        """Begin a watch whose batches are handed to ``sink``. It waits for a connection as long as that takes."""
        watch = Subscription(self, self._next_id, kind.resource, request, sink)
        self._next_id += 1
        self._watches[watch.watch_id] = watch
        WATCHES.labels(self.partition).set(len(self._watches))
        if self._sending:
            self._outgoing.append(watch.watch_id)
        self._wake.set()
        return watch

    def watch(
        self,
        kind: Kind,
        *,
        tenant: str = "",
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource_version: int | None = None,
        send_initial_events: bool | None = None,
        bookmarks: bool = True,
    ) -> MuxWatch:
        """The same as an async iterator of ``Batch``; it ends by raising ``StatusError``. Close it when done."""
        request = watch_request(
            tenant=tenant,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
            send_initial_events=send_initial_events,
            bookmarks=bookmarks,
        )
        iterator = MuxWatch()
        iterator.subscription = self.subscribe(kind, request, iterator)
        return iterator

    async def run(self) -> None:
        """Keep the stream, the watches and their timers going, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._timers.run(), name=f"watch-timers-{self.partition}")
            group.create_task(self._keep_stream(), name=f"watch-stream-{self.partition}")

    async def _keep_stream(self) -> None:
        backoff = Backoff(self.rand, initial_s=RECONNECT_INITIAL_S, maximum_s=RECONNECT_MAX_S)
        while True:
            while not self._watches:
                self._wake.clear()
                await self._wake.wait()
            error = await self._one_stream()
            if self.connected:
                backoff.reset()
            self._stream_ended(error)
            await self.clock.sleep(backoff.next())

    async def _one_stream(self) -> StatusError:
        """Run one stream until it is lost, and tell why."""
        STREAMS.labels(self.partition).inc()
        call = self._method()
        self._outgoing.clear()
        self._outgoing.extend(self._watches)
        self._sending = True
        self._wake.set()
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._write(call), name=f"watch-writer-{self.partition}")
                try:
                    return await self._read(call)
                finally:
                    writer.cancel()
        finally:
            self._sending = False
            call.cancel()

    async def _read(self, call: Any) -> StatusError:
        received = MESSAGES.labels(self.partition)
        try:
            while True:
                message = await call.read()
                if message is grpc.aio.EOF:
                    code = await call.code()
                    return unavailable(f"the server ended the watch stream ({code.name})")
                self.connected = True
                received.inc()
                for batch in message.batches:
                    self._dispatch(batch)
        except grpc.aio.AioRpcError as failure:
            return from_rpc_error(failure)
        except grpc.aio.UsageError:
            return unavailable("the connection was closed")
        except asyncio.CancelledError:
            # A closed channel cancels its calls and whoever reads them; only a task asked to stop may end here.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return unavailable("the connection was closed")

    async def _write(self, call: Any) -> None:
        sent = 0
        try:
            while True:
                while self._outgoing:
                    message = self._message(self._outgoing.popleft())
                    if message is None:
                        continue
                    await call.write(message)
                    sent += 1
                    if sent % CREATES_PER_GROUP == 0 and self._outgoing:
                        await self.clock.sleep(self.rand.jitter(GROUP_PAUSE_S, 1.0))
                self._wake.clear()
                await self._wake.wait()
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            return  # The stream is lost; its reader learns why.
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise

    def _message(self, item: watch_pb2.WatchClientMessage | int) -> watch_pb2.WatchClientMessage | None:
        if not isinstance(item, int):
            return item
        watch = self._watches.get(item)
        if watch is None:
            return None  # Cancelled before it was sent.
        create = watch_pb2.CreateWatch(
            watch_id=item, resource=watch._resource, selection=watch._request, gather_ms=self._gather_ms
        )
        return watch_pb2.WatchClientMessage(create=create)

    def _dispatch(self, batch: watch_pb2.WatchBatch) -> None:
        watch = self._watches.get(batch.watch_id)
        if watch is None:
            return  # Cancelled here while the server was sending.
        sink = watch._sink
        if not watch._accepted:
            watch._accepted = True
            watch._request = None
            if not batch.HasField("error"):
                sink.on_watch_open()
        events = [(event.type, event.object) for event in batch.events]
        if events or batch.bookmark or batch.initial_events_end:
            if events:
                EVENTS.labels(self.partition).inc(len(events))
            sink.on_watch_batch(Batch(batch.resource_version, events, batch.bookmark, batch.initial_events_end))
        if batch.HasField("error"):
            self._end(watch, from_status(batch.error))
        elif batch.canceled:
            self._end(watch, watch_ended())

    def _end(self, watch: Subscription, error: StatusError) -> None:
        if self._watches.pop(watch.watch_id, None) is not None:
            WATCHES.labels(self.partition).set(len(self._watches))
            watch._sink.on_watch_end(error)

    def _stream_ended(self, error: StatusError) -> None:
        was_connected, self.connected = self.connected, False
        final = error.code in _FINAL_CODES
        lost = [watch for watch in self._watches.values() if final or watch._accepted]
        if was_connected or final:
            _log.warning(
                "watch stream lost",
                extra={"partition": self.partition, "watches": len(self._watches), "cause": error.message},
            )
        if not final:
            # No pause asked for: the stream itself comes back with backoff, and watches jitter their own return.
            error = unavailable(f"watch stream lost: {error.message}", retry_after_s=0.0)
        for watch in lost:
            self._end(watch, error)

    def _cancel(self, watch: Subscription) -> None:
        if self._watches.pop(watch.watch_id, None) is None:
            return
        WATCHES.labels(self.partition).set(len(self._watches))
        if self._sending:
            cancel = watch_pb2.CancelWatch(watch_id=watch.watch_id)
            self._outgoing.append(watch_pb2.WatchClientMessage(cancel=cancel))
            self._wake.set()


class MuxWatch:
    """A watch as an async iterator of ``Batch``. Ends by raising ``StatusError``; ``close`` ends it from this side."""

    __slots__ = ("_batches", "_error", "_queued", "_waiter", "subscription")

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque()
        self._queued = 0
        self._error: StatusError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.subscription: Subscription | None = None

    def close(self) -> None:
        if self.subscription is not None:
            self.subscription.cancel()

    async def __aenter__(self) -> MuxWatch:
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        while not self._batches:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        batch = self._batches.popleft()
        self._queued -= len(batch.events)
        return batch

    def on_watch_open(self) -> None:
        pass

    def on_watch_batch(self, batch: Batch) -> None:
        self._queued += len(batch.events)
        self._batches.append(batch)
        if self._queued > QUEUED_EVENTS_MAX:
            self.close()
            self._error = resource_exhausted("SlowWatcher", f"more than {QUEUED_EVENTS_MAX} events were not read")
        self._wake()

    def on_watch_end(self, error: StatusError) -> None:
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
