"""One watch on a collection: the initial state, then a position in the window."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from services.api.selectors import Selection
from services.storage.errors import Expired, SlowWatcher, StorageError
from services.storage.interface import EventType, Record, WatchBatch
from services.storage.items import StoredEvent

if TYPE_CHECKING:
    from services.storage.watchcache.stream import Stream


class Joined(NamedTuple):
    """A part of the window as one selection sees it.

    ``batch`` None: nothing in it concerns the selection. ``next``: the position after it. ``drained``: that is as far
    as the last round released the window. ``too_large``: a revision is next that no message can hold.
    """

    batch: WatchBatch | None
    next: int
    drained: bool
    too_large: bool = False


class Phase(enum.Enum):
    """IDLE: nothing to read, a change of the feed rouses it. READY: waits for the next round. AWAKE: may read now."""

    IDLE = "idle"
    READY = "ready"
    AWAKE = "awake"


@dataclass(frozen=True, slots=True)
class Start:
    """Where a watch begins: ``state`` as of ``revision`` (None: no initial state), then changes after ``after``."""

    revision: int
    sequence: int
    after: int = 0
    state: Sequence[Record] | None = None


class CacheWatcher:
    """An ``interface.Watcher``. Use ``Stream``'s owner to make one; a new watch is AWAKE.

    It buffers nothing: what it has yet to see is in the window. About 300 bytes, idle or far behind, beside its
    selection (about 1 kB if it shares that with no other); an initial state is a list of references until it is read.
    """

    def __init__(self, stream: Stream, prefix: str, selection: Selection, start: Start, *, bookmarks: bool) -> None:
        self.feed = stream.feed_of(prefix, selection)
        self.bookmarks = bookmarks
        self._stream = stream
        self._prefix = prefix
        self._selection = selection
        self._after = start.after
        self._position = start.sequence
        self._state = start.state
        self._state_at = 0
        self._state_revision = start.revision
        self._revision = 0 if start.state is not None else start.revision
        self._phase = Phase.AWAKE
        self._bookmark_due = False
        self._failure: StorageError | None = None
        self._closed = False
        self._wake: Callable[[], None] | None = None
        self._waiting: asyncio.Future[None] | None = None
        stream.add(self)

    # -- the reader's side

    def take(self, limit_bytes: int = 1 << 20) -> WatchBatch | None:
        if self._failure is not None:
            raise self._failure
        if self._closed:
            return None
        if self._state is not None:
            return self._take_state(self._state, limit_bytes)
        if self._phase is not Phase.AWAKE:
            return None
        batch = self._take_window(limit_bytes)
        return batch if batch is not None else self._pause()

    async def wait(self) -> None:
        if self._failure is not None or self._closed or self._phase is Phase.AWAKE:
            return
        if self._waiting is None or self._waiting.done():
            self._waiting = asyncio.get_running_loop().create_future()
        # One reader may be cancelled while another goes on waiting for the same round.
        await asyncio.shield(self._waiting)

    def set_wake(self, wake: Callable[[], None] | None) -> None:
        self._wake = wake
        if wake is not None and (self._phase is Phase.AWAKE or self._failure is not None):
            wake()

    def catch_up(self) -> None:
        if self._phase is Phase.AWAKE and not self.closed and self._stream.pending(self.feed):
            self._stream.release()

    def request_bookmark(self) -> None:
        self._bookmark_due = True
        if self._phase is Phase.IDLE:
            self.rouse(self._stream.ring.end)
            self._stream.busy(self)

    def close(self) -> None:
        self._closed = True
        self._state = None
        self._stream.forget(self)
        self._signal()

    # -- the stream's side

    @property
    def resume_revision(self) -> int:
        """Everything up to here was handed out; 0 while the initial state was not."""
        if self._phase is Phase.IDLE and self._state is None:
            return max(self._stream.revision, self._after)
        return max(self._revision, self._after) if self._state is None else 0

    @property
    def position(self) -> int:
        """The sequence of the first change that may not have been handed out."""
        return self._position

    @property
    def closed(self) -> bool:
        return self._closed or self._failure is not None

    def rouse(self, sequence: int) -> None:
        """The feed has a change at ``sequence``, the first since the watch became idle."""
        self._revision = max(self._revision, self._stream.revision)
        self._position = sequence
        self._phase = Phase.READY

    def awaken(self) -> None:
        self._phase = Phase.AWAKE
        self._signal()

    def expire(self, oldest: int, failure: type[Expired] = Expired) -> None:
        """The window no longer holds what this watch has yet to see."""
        self.fail(failure(self.resume_revision, oldest))

    def fail(self, failure: StorageError) -> None:
        """End the watch with ``failure``."""
        self._failure = failure
        self._state = None
        self._stream.forget(self)
        self._signal()

    # -- inside

    def _take_state(self, state: Sequence[Record], limit_bytes: int) -> WatchBatch | None:
        events: list[StoredEvent] = []
        size = 0
        while self._state_at < len(state) and size < limit_bytes:
            record = state[self._state_at]
            self._state_at += 1
            size += len(record.value)
            events.append(StoredEvent(EventType.ADDED, record))
        if self._state_at < len(state):
            return WatchBatch(0, events)
        if events:
            if self.bookmarks:
                # The bookmark that ends the initial state is a message of its own and comes next.
                return WatchBatch(0, events)
            self._end_state()
            return WatchBatch(self._state_revision, events)
        self._end_state()
        if self.bookmarks:
            return WatchBatch(self._state_revision, (), bookmark=True, initial_events_end=True)
        return self.take(limit_bytes)

    def _end_state(self) -> None:
        self._state = None
        self._revision = self._state_revision

    def _take_window(self, limit_bytes: int) -> WatchBatch | None:
        """The next batch of what the last round released, or None at its end."""
        while True:
            if self._position < self._stream.ring.start:
                self._failure = SlowWatcher(self._revision)
                self._stream.forget(self)
                raise self._failure
            joined = self._stream.read(
                self.feed, self._prefix, self._selection, self._position, self._after, limit_bytes
            )
            if joined.too_large:
                # The message would fail, and with it the whole stream of watches; so would every try to resume.
                self.expire(self._stream.revision)
                raise self._failure or AssertionError("it has just expired")
            self._position = max(self._position, joined.next)
            if joined.batch is not None:
                self._revision = joined.batch.revision
                if joined.drained and not self._bookmark_due:
                    # Now, not at the next call, which would only look for what is known not to be there.
                    self._rest()
                return joined.batch
            if joined.drained:
                return None

    def _rest(self) -> None:
        """All that the last round released is handed out."""
        if self._stream.pending(self.feed):
            self._phase = Phase.READY
            self._stream.hub.add(self)
        else:
            self._phase = Phase.IDLE
            self._stream.idle(self)

    def _pause(self) -> WatchBatch | None:
        """Nothing is released for this watch. With a bookmark due, that is told if the feed holds nothing at all."""
        self._rest()
        if self._phase is Phase.READY or not self._bookmark_due or self._stream.revision < self._after:
            return None
        self._bookmark_due = False
        self._revision = max(self._revision, self._stream.revision)
        return WatchBatch(self._revision, (), bookmark=True)

    def _signal(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
        if self._wake is not None:
            self._wake()
