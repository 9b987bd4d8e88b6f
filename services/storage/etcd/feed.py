"""A watch on one resource that outlives its connections: it resumes after the last complete revision."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

import grpc
from aetcd import rpc

from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.storage.backing import FeedBatch, FeedEntry
from services.storage.errors import Expired, HistoryReplaced, Unavailable
from services.storage.etcd import metrics, requests
from services.storage.etcd.assembly import Assembler
from services.storage.etcd.calls import Calls
from services.storage.etcd.resumption import Resumption

_log = logging.getLogger(__name__)

_ASK_S_MAX = 1.0
_NOTHING: Sequence[FeedEntry] = ()
_BROKEN = (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError)


class Start(Protocol):
    """Makes a task that has an owner."""

    def __call__(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]: ...


class Feed:
    """One etcd watch stream at a time over [``key``, ``end``).

    ``current_revision`` is a quorum read: it tells a member that lags from a history that was replaced.
    ``progress_trusted`` says whether etcd's progress responses can be believed. Changes of keys that do not begin with
    ``only`` (the marker) count as positions. ``running`` holds this feed while it runs.
    """

    def __init__(
        self,
        calls: Calls,
        key: bytes,
        end: bytes,
        *,
        clock: Clock,
        rand: Rand,
        current_revision: Callable[[], Awaitable[int]],
        progress_trusted: Callable[[], bool],
        start: Start,
        previous: bool = False,
        only: str = "",
        running: set[Feed] | None = None,
    ) -> None:
        self._calls = calls
        self._key = key
        self._end = end
        self._clock = clock
        self._rand = rand
        self._current_revision = current_revision
        self._progress_trusted = progress_trusted
        self._start = start
        self._previous = previous
        self.only = only
        self._running = running if running is not None else set()
        self.position = 0  # everything up to here was handed out
        self._stream: Any = None
        self._broken = False
        self._asking: asyncio.Task[None] | None = None
        self._seen = 0  # the highest revision this feed knows to have existed

    async def run(
        self, revision: int, prove: Callable[[], Awaitable[bool]] | None = None
    ) -> AsyncGenerator[FeedBatch, None]:
        """Everything after ``revision``. Raises ``Expired``: compacted; ``HistoryReplaced``: restored from a backup.

        A history that was replaced may by now have gone beyond our position, so every resumption is checked: the watch
        begins with the last revision it has seen, which must come again as it was, and nothing new before the
        position. Where there is none to compare with, ``prove`` says whether what was read up to the position, every
        batch handed out so far, is what etcd holds.
        """
        self.position = revision
        self._running.add(self)
        try:
            async with contextlib.aclosing(self._resuming(prove)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            self._running.discard(self)

    async def _resuming(self, prove: Callable[[], Awaitable[bool]] | None) -> AsyncGenerator[FeedBatch, None]:
        witness = _NOTHING
        backoff = Backoff(self._rand, initial_s=0.05, maximum_s=2.0)
        first = True
        while True:
            check = None if first or witness else prove
            try:
                async for batch in self._connected(self.position, witness, check):
                    backoff.reset()
                    self.position = batch.revision
                    witness = batch.entries or witness
                    yield self._visible(batch)
            except _WitnessCompacted:
                witness, first = _NOTHING, False
                continue
            except (Unavailable, *_BROKEN) as failure:
                self._note_broken(self.position, failure)
            first = False
            metrics.RECONNECTS.labels(self._key.decode()).inc()
            await self._clock.sleep(backoff.next())

    def _visible(self, batch: FeedBatch) -> FeedBatch:
        if all(entry.key.startswith(self.only) for entry in batch.entries):
            return batch
        return FeedBatch(batch.revision, [entry for entry in batch.entries if entry.key.startswith(self.only)])

    def _note_broken(self, position: int, failure: BaseException) -> None:
        if not self._broken:  # once per outage, not once per try
            _log.info("the watch on %r broke at revision %d: %s", self._key, position, _text(failure))
        self._broken = True

    async def request_progress(self) -> None:
        """Have etcd say how far the stream is. Silently does nothing while there is no stream."""
        stream = self._stream
        if stream is None:
            return
        if self._asking is None or self._asking.done():
            self._asking = self._start(_ask(stream), name="etcd-progress")
        # All who ask meanwhile share it: two writes at a time break a call, and one that is cancelled ends it.
        await asyncio.wait([self._asking], timeout=_ASK_S_MAX)

    async def _connected(
        self, position: int, witness: Sequence[FeedEntry], check: Callable[[], Awaitable[bool]] | None
    ) -> AsyncGenerator[FeedBatch, None]:
        resumed = Resumption(position, witness)
        assembler = Assembler(resumed.start - 1)
        stream = self._calls.watch()
        try:
            await stream.write(requests.watch(self._key, self._end, resumed.start, previous=self._previous))
            while (response := await stream.read()) is not grpc.aio.EOF:
                if response.canceled:
                    self._end_of(response, resumed)
                    return
                if response.created:
                    await self._check_history(response.header.revision, position)
                    if check is not None and not await check():
                        raise HistoryReplaced(position, response.header.revision)
                    self._stream, self._broken = stream, False
                    continue
                batch = self._take(assembler, response)
                fresh = resumed.fresh(batch) if batch is not None else None
                if fresh is not None:
                    yield fresh
        finally:
            self._stream = None
            stream.cancel()
            if self._asking is not None:
                self._asking.cancel()

    def _take(self, assembler: Assembler, response: Any) -> FeedBatch | None:
        self._seen = max(self._seen, response.header.revision)
        if response.events:
            entry = _entry if self._previous else _entry_alone
            entries = [entry(event) for event in response.events]
            return assembler.add(entries, more_follows=response.fragment)
        if self._progress_trusted() and not response.fragment:
            return assembler.progress(response.header.revision)
        return None

    def _end_of(self, response: Any, resumed: Resumption) -> None:
        if response.compact_revision:
            if resumed.start <= resumed.position and response.compact_revision <= resumed.position + 1:
                raise _WitnessCompacted
            raise Expired(resumed.position, response.compact_revision)
        _log.info("etcd ended the watch on %s: %s", self._key.decode(), response.cancel_reason)

    async def _check_history(self, server_revision: int, position: int) -> None:
        """A server that is behind what was seen either lags, or has lost what was seen (restored from a backup)."""
        if server_revision < self._seen:
            current = await self._current_revision()
            if current < self._seen:
                _log.error("etcd's revision fell from %d to %d: its history was replaced", self._seen, current)
                self._seen = current
                raise HistoryReplaced(position, current)
        self._seen = max(self._seen, server_revision)


async def _ask(stream: Any) -> None:
    try:
        await stream.write(requests.progress())
    except _BROKEN:
        _log.debug("progress not asked for: the stream is broken")


class _WitnessCompacted(Exception):
    """The last revision seen cannot be seen again, though the position is not below etcd's oldest revision."""


def _entry_alone(event: Any) -> FeedEntry:
    kv = event.kv
    return FeedEntry(kv.key.decode(), None if event.type else kv.value, kv.mod_revision)  # type 0: a put


def _entry(event: Any) -> FeedEntry:
    kv = event.kv
    previous = event.prev_kv
    return FeedEntry(
        kv.key.decode(),
        kv.value if event.type == rpc.Event.PUT else None,
        kv.mod_revision,
        previous.value if previous.mod_revision else None,
        previous.mod_revision,
    )


def _text(failure: BaseException) -> str:
    if isinstance(failure, grpc.aio.AioRpcError):
        return f"{failure.code().name}: {failure.details()}"
    return repr(failure)
