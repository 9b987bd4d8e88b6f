"""The watching side of the load: many watches on few connections, counted, checked and timed as they arrive."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from services.api.kinds import PODS
from services.api.pb.ursa.meta.v1.meta_pb2 import WatchRequest
from services.api.pb.ursa.watch.v1.watch_pb2 import CreateWatch, WatchClientMessage
from services.bench import http2, scan
from services.rpc import methods

WATCH = methods.path(PODS, "Watch")

OWN_STREAMS = "own-streams"
DISTINCT_LABELS = "distinct-labels"
NODE_NAMES = "node-names"

_PROBLEMS_SHOWN = 5
_OPENING_AT_ONCE = 512
# So small that the server has to wait for this reader after a few events.
_UNREAD_WINDOW_BYTES = 16_384


@dataclass(frozen=True)
class WatchLoad:
    """``mode``: ``own-streams`` (typed watches of the namespace, each its own stream), ``distinct-labels`` (one
    multiplexed stream, a selection of its own per watch, each of which selects every pod) or ``node-names`` (one
    stream, one ``spec.nodeName`` per watch). Watches begin after ``revision``. ``recorded``: about so many, spread
    evenly, keep every event's arrival. ``unread``: open the streams and never read from them.
    """

    endpoint: str
    mode: str
    watches: int
    revision: int
    tenant: str
    namespace: str
    app: str = ""
    connections: int = 8
    recorded: int = 0
    unread: bool = False


def sampled(load: WatchLoad) -> int:
    """Every so many-th watch of ``load`` keeps the arrivals, beginning with the first; 0: none does."""
    return max(1, load.watches // load.recorded) if load.recorded else 0


def node_name(number: int) -> str:
    return f"node-{number:05d}"


@dataclass
class Tally:
    """What all watches of a process have seen together."""

    events: int = 0
    messages: int = 0
    received_bytes: int = 0
    opened: int = 0
    last: float = 0.0
    problems: list[str] = field(default_factory=list)
    revisions: array[int] = field(default_factory=lambda: array("q"))
    arrivals: array[float] = field(default_factory=lambda: array("d"))
    wake: Callable[[], None] = lambda: None

    def complain(self, problem: str) -> None:
        if len(self.problems) < _PROBLEMS_SHOWN:
            self.problems.append(problem)
        self.wake()


class Watch:
    """One watch: how many events it saw, up to which resource version."""

    __slots__ = ("events", "revision", "tally")

    def __init__(self, tally: Tally, revision: int) -> None:
        self.tally = tally
        self.events = 0
        self.revision = revision

    def take(self, data: scan.Data, start: int, end: int) -> None:
        """One WatchBatch."""
        _, revision, events = scan.batch(data, start, end)
        if not events:
            return
        if revision <= self.revision:
            self.tally.complain(f"a batch at resource version {revision} after one at {self.revision}")
        self.revision = revision
        self.events += events
        self.tally.events += events
        self.tally.last = time.perf_counter()

    def take_each(self, data: scan.Data, start: int, end: int) -> None:
        """One WatchBatch, event by event: order and arrival."""
        now = time.perf_counter()
        _, revision, events = scan.batch(data, start, end)
        if not events:
            return
        tally = self.tally
        before = self.revision
        for one in (found := scan.revisions(data, start, end)):
            # Events of one transaction share a revision.
            if one < before or one > revision:
                tally.complain(f"an event at resource version {one} after one at {before} in a batch at {revision}")
            before = one
        tally.revisions.extend(found)
        tally.arrivals.extend([now] * len(found))
        self.revision = revision
        self.events += events
        tally.events += events
        tally.last = now


class TypedStream(http2.Messages):
    """A ``Receiver`` of a typed watch."""

    def __init__(self, watch: Watch, *, each: bool) -> None:
        super().__init__(self._message)
        self._watch = watch
        self._batch = watch.take_each if each else watch.take

    def _message(self, data: scan.Data, start: int, end: int) -> None:
        tally = self._watch.tally
        tally.messages += 1
        tally.received_bytes += end - start
        self._batch(data, start, end)
        tally.wake()

    def opened(self) -> None:
        self._watch.tally.opened += 1
        self._watch.tally.wake()

    def ended(self, reason: str) -> None:
        super().ended(reason)
        self._watch.tally.complain(f"a watch ended: {reason}")


class MultiplexedStream(http2.Messages):
    """A ``Receiver`` of a multiplexed stream: ``watches`` by id, from 1.

    ``every`` so many-th is checked event by event.
    """

    def __init__(self, tally: Tally, watches: list[Watch], every: int = 0) -> None:
        super().__init__(self._message)
        self._tally = tally
        self._watches = watches
        self._every = every

    def _message(self, data: scan.Data, start: int, end: int) -> None:
        tally = self._tally
        tally.messages += 1
        tally.received_bytes += end - start
        for first, last in scan.batches(data, start, end):
            watch_id, revision, events = scan.batch(data, first, last)
            if events:
                watch = self._watches[watch_id - 1]
                if self._every and not (watch_id - 1) % self._every:
                    watch.take_each(data, first, last)
                    continue
                if revision <= watch.revision:
                    tally.complain(f"watch {watch_id}: {revision} after {watch.revision}")
                watch.revision = revision
                watch.events += events
                tally.events += events
            elif not revision:
                tally.opened += 1
        tally.last = time.perf_counter()
        tally.wake()

    def ended(self, reason: str) -> None:
        super().ended(reason)
        self._tally.complain(f"the stream ended: {reason}")


class NeverReads:
    """A ``Receiver`` that throws away the little that its window lets in."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def receive(self, data: bytearray, start: int, end: int) -> None:
        pass

    def opened(self) -> None:
        self._tally.opened += 1
        self._tally.wake()

    def ended(self, reason: str) -> None:
        # A server may end a watch that has fallen out of its window.
        pass


class Watchers:
    """All watches of a load. ``open`` them, then ``expect`` events."""

    def __init__(self, load: WatchLoad) -> None:
        self._load = load
        self.tally = Tally()
        self.watches: list[Watch] = []
        self._connections: list[http2.Connection] = []

    async def open(self, timeout_s: float) -> None:
        """Open every watch and return when all stand. Raises ``OSError``, ``http2.CallFailed``, ``TimeoutError``."""
        load = self._load
        self.watches = [Watch(self.tally, load.revision) for _ in range(load.watches)]
        if load.mode == OWN_STREAMS:
            await self._open_streams(timeout_s)
        else:
            await self._open_multiplexed()
        await self._until(lambda: self.tally.opened >= load.watches or bool(self.tally.problems), timeout_s)
        if self.tally.opened < load.watches:
            raise http2.CallFailed(f"{self.tally.opened} of {load.watches} watches opened: {self.tally.problems}")

    async def _open_streams(self, timeout_s: float) -> None:
        load = self._load
        window = _UNREAD_WINDOW_BYTES if load.unread else http2.STREAM_WINDOW_BYTES
        count = min(load.connections, load.watches)
        self._connections = [
            await http2.connect(load.endpoint, stream_window=window, unread=load.unread) for _ in range(count)
        ]
        request = self._selection().SerializeToString()
        every = sampled(load)
        for number, watch in enumerate(self.watches):
            # Those that keep arrivals, else one of each connection, are checked event by event, the others by count and
            # last version.
            each = not number % every if every else number < count
            receiver = NeverReads(self.tally) if load.unread else TypedStream(watch, each=each)
            self._connections[number % count].start(WATCH, receiver, request)
            await self._until(lambda sent=number: self._settled(sent), timeout_s)  # type: ignore[misc]

    def _settled(self, sent: int) -> bool:
        """So few are opening that more may begin: what is measured is what a server carries, not a stampede."""
        return sent - self.tally.opened < _OPENING_AT_ONCE or bool(self.tally.problems)

    async def _open_multiplexed(self) -> None:
        connection = await http2.connect(self._load.endpoint)
        self._connections = [connection]
        receiver = MultiplexedStream(self.tally, self.watches, sampled(self._load))
        stream = connection.start(methods.WATCH_METHOD, receiver, None)
        for number in range(self._load.watches):
            create = CreateWatch(watch_id=number + 1, resource=PODS.resource, selection=self._selection(number))
            connection.send(stream, WatchClientMessage(create=create).SerializeToString())

    def _selection(self, number: int = 0) -> WatchRequest:
        load = self._load
        selection = WatchRequest(tenant=load.tenant, namespace=load.namespace, resource_version=load.revision)
        if load.mode == DISTINCT_LABELS:
            selection.label_selector = f"app in ({load.app},other-{number})"
        elif load.mode == NODE_NAMES:
            selection.field_selector = f"spec.nodeName={node_name(number)}"
            # As informers ask: an idle watch costs its bookmarks too.
            selection.allow_watch_bookmarks = True
        return selection

    async def expect(self, events: int, timeout_s: float) -> dict[str, Any]:
        """Wait for ``events`` in all since the start; what was seen, with every problem."""
        tally = self.tally
        try:
            await self._until(lambda: tally.events >= events or bool(tally.problems), timeout_s)
        except TimeoutError:
            tally.problems.append(f"{tally.events} of {events} events within {timeout_s} s")
        if tally.events > events:
            tally.problems.append(f"{tally.events} events instead of {events}")
        return {
            "events": tally.events,
            "messages": tally.messages,
            "bytes": tally.received_bytes,
            "last": tally.last,
            "problems": tally.problems,
            "fewest": min(watch.events for watch in self.watches),
            "most": max(watch.events for watch in self.watches),
            "lowest_revision": min(watch.revision for watch in self.watches),
            "highest_revision": max(watch.revision for watch in self.watches),
        }

    def save(self, file: str) -> None:
        """Write what was recorded, as two rows: resource versions and arrivals; and forget it."""
        tally = self.tally
        with open(file, "wb") as output:  # noqa: PTH123
            np.save(output, np.array([tally.revisions, tally.arrivals], dtype=np.float64))
        tally.revisions, tally.arrivals = array("q"), array("d")

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    async def _until(self, holds: Callable[[], bool], timeout_s: float) -> None:
        changed = asyncio.Event()
        self.tally.wake = changed.set
        async with asyncio.timeout(timeout_s):
            while not holds():
                await changed.wait()
                changed.clear()
