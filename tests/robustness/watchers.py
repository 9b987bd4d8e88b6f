"""Clients that watch, each with one selection for life.

They break off and resume, begin anew when told to, and read slowly.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from services.base.rand import Rand
from services.client.clientset import watch_request
from services.client.mux import Batch as MuxBatch
from services.client.mux import Subscription
from services.client.partitions import Connection
from services.rpc import methods
from services.rpc.status import StatusError, from_rpc_error
from tests.robustness.calling import stated
from tests.robustness.history import Batch, Ended, Opened, Recorder, Selection, Stands
from tests.robustness.objects import KINDS, digest, key_of

_OPEN_S_MAX = 8.0


class Stream(Protocol):
    """One watch: messages with ``resource_version``, ``events``, ``bookmark``, ``initial_events_end``."""

    def __call__(self, selection: Selection, request: Any, stands: Callable[[], None]) -> AsyncGenerator[Any, None]: ...


@dataclass
class Position:
    """Where a watcher is. ``revision`` None: nowhere, it begins anew. ``session``: the watch that brought it there."""

    revision: int | None = None
    session: str = ""


class Watcher:
    """``run`` follows its selection from watch to watch until ``stop``; ``standing``: its present watch was accepted.

    While ``resting`` is set it no longer breaks off or reads slowly by itself.
    """

    def __init__(
        self,
        name: str,
        connections: Sequence[Connection],
        selection: Selection,
        recorder: Recorder,
        rand: Rand,
        *,
        typed: bool,
        slow: bool,
        noted: Callable[[int], None],
    ) -> None:
        self.name = name
        self.standing = False
        self._connections = connections
        self._selection = selection
        self._recorder = recorder
        self._rand = rand
        self._typed = typed
        self._slow = slow
        self._noted = noted
        self._numbers = itertools.count(1)
        self._position = Position()

    async def run(self, resting: asyncio.Event, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._session(resting, stop)
            self.standing = False
            if not stop.is_set():
                await asyncio.sleep(self._rand.uniform(0.02, 0.4))

    async def _session(self, resting: asyncio.Event, stop: asyncio.Event) -> None:
        opened = self._opening()
        self._recorder.add(opened)
        seconds = self._rand.uniform(0.5, _OPEN_S_MAX)
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read(opened, resting))
            await self._until(reading, seconds, resting, stop)
            reading.cancel()
        by = "rest" if stop.is_set() else "client"
        if reading.cancelled():
            self._recorder.add(Ended(opened.session, time.monotonic(), by))

    async def _until(
        self, reading: asyncio.Task[None], seconds: float, resting: asyncio.Event, stop: asyncio.Event
    ) -> None:
        """Until the watch is over, or it is time to break off."""
        end = time.monotonic() + seconds
        while not reading.done() and not stop.is_set():
            if time.monotonic() > end and not resting.is_set():
                return
            await asyncio.wait([reading], timeout=0.1)

    def _opening(self) -> Opened:
        session = f"{self.name}-{next(self._numbers)}"
        asked, initial = self._position.revision, None
        resumes = self._position.session if asked is not None else ""
        if asked is None:
            asked, initial = self._rand.choice(((None, True), (None, None), (0, True), (0, None), (None, False)))
        elif self._rand.uniform(0, 1) < 0.1:
            initial, resumes = True, ""
        return Opened(
            session=session,
            watcher=self.name,
            selection=self._selection,
            at=time.monotonic(),
            asked=asked,
            initial=initial,
            bookmarks=self._rand.uniform(0, 1) < 0.7,
            transport="typed" if self._typed else "mux",
            resumes=resumes,
        )

    async def _read(self, opened: Opened, resting: asyncio.Event) -> None:
        """Record everything until the watch is over. Being cancelled is the client's own breaking off."""
        if opened.resumes == "":
            self._position = Position()
        selection = opened.selection
        request = watch_request(
            tenant=selection.tenant,
            namespace=selection.namespace,
            label_selector=selection.labels,
            field_selector=selection.fields,
            resource_version=opened.asked,
            send_initial_events=opened.initial,
            bookmarks=opened.bookmarks,
        )
        connection = self._rand.choice(self._connections)
        stream = typed_stream(connection) if self._typed else mux_stream(connection)

        def stands() -> None:
            self.standing = True
            self._recorder.add(Stands(opened.session, time.monotonic()))

        try:
            async with contextlib.aclosing(stream(selection, request, stands)) as messages:
                async for message in messages:
                    self._note(opened, message)
                    if self._slow and self._rand.uniform(0, 1) < 0.05:
                        # Not reading; but once all comes to rest it catches up.
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(resting.wait(), self._rand.uniform(0.5, 5.0))
            self._recorder.add(Ended(opened.session, time.monotonic(), "server"))
        except StatusError as error:
            self._over(opened, error)

    def _note(self, opened: Opened, message: Any) -> None:
        kind = KINDS[opened.selection.kind]
        events = []
        for event in message.events:
            event_type, obj = event if isinstance(event, tuple) else (event.type, event.object)
            if isinstance(obj, bytes):
                obj = kind.message.FromString(obj)
            metadata = obj.metadata
            key = key_of(opened.selection.kind, metadata)
            events.append((int(event_type), key, metadata.resource_version, digest(obj)))
        revision = message.resource_version
        self._recorder.add(
            Batch(opened.session, time.monotonic(), revision, events, message.bookmark, message.initial_events_end)
        )
        self._noted(len(events))
        if revision:
            self._position = Position(revision, opened.session)

    def _over(self, opened: Opened, error: StatusError) -> None:
        # On the multiplexed stream a status of the server's has no call behind it; a lost stream is UNAVAILABLE.
        said = stated(error) or (error.__cause__ is None and error.code is not grpc.StatusCode.UNAVAILABLE)
        resume = int(error.metadata.get("resourceVersion", "0")) if error.reason == "SlowWatcher" else 0
        self._recorder.add(
            Ended(
                opened.session,
                time.monotonic(),
                "server" if said else "lost",
                error.code.name,
                error.reason,
                error.message[:200],
                resume,
                int(error.metadata.get("oldestResourceVersion", "0")),
            )
        )
        if resume:
            self._position = Position(resume, opened.session)
        elif error.reason == "Expired":
            self._position = Position()


def typed_stream(connection: Connection) -> Stream:
    """The kind's own Watch, a stream for each; gRPC's flow control makes a slow reader felt by the server."""

    async def stream(selection: Selection, request: Any, stands: Callable[[], None]) -> AsyncGenerator[Any, None]:
        kind = KINDS[selection.kind]
        method: Any = connection.channel.unary_stream(
            methods.path(kind, "Watch"),
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=kind.watch_batch_message.FromString,
        )
        call = method(request)
        try:
            await call.wait_for_connection()
            stands()
            while (message := await call.read()) is not grpc.aio.EOF:
                yield message
            await _check(call)
        except grpc.aio.AioRpcError as failure:
            raise from_rpc_error(failure) from failure
        finally:
            call.cancel()

    return stream


async def _check(call: Any) -> None:
    code = await call.code()
    if code is not grpc.StatusCode.OK:
        metadata = grpc.aio.Metadata(*(await call.trailing_metadata() or ()))
        raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, await call.details())


def mux_stream(connection: Connection) -> Stream:
    """A watch on the client's one multiplexed stream."""

    async def stream(selection: Selection, request: Any, stands: Callable[[], None]) -> AsyncGenerator[Any, None]:
        sink = _Queue(stands)
        subscription: Subscription = connection.mux.subscribe(KINDS[selection.kind], request, sink)
        try:
            while True:
                found = await sink.queue.get()
                if isinstance(found, StatusError):
                    raise found
                yield found
        finally:
            subscription.cancel()

    return stream


class _Queue:
    """A sink of the mux."""

    def __init__(self, stands: Callable[[], None]) -> None:
        self.queue: asyncio.Queue[MuxBatch | StatusError] = asyncio.Queue()
        self._stands = stands

    def on_watch_open(self) -> None:
        self._stands()

    def on_watch_batch(self, batch: MuxBatch) -> None:
        self.queue.put_nowait(batch)

    def on_watch_end(self, error: StatusError) -> None:
        self.queue.put_nowait(error)
