"""The storage interface: one ``ResourceStore`` per resource type, over memory, etcd, or a watch cache before either.

Values are an object's canonical bytes (``services.api.wire.canonical``: no resource version inside). The resource
version of an object is the revision of its last write. Revisions are int64, grow with every write batch of the whole
partition, and are comparable within it. All implementations pass ``services.storage.testing``.

The rules are SEMANTICS.md's (Kubernetes apiserver ``pkg/storage``): every method below says which freshness it
promises and which errors are worth a retry.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from services.api.selectors import Attributes, HasAttributes, Selection

__all__ = [
    "Attributes",
    "AttributesOf",
    "Event",
    "EventType",
    "Lane",
    "ListQuery",
    "Match",
    "Page",
    "Record",
    "ResourceStore",
    "Transactor",
    "WatchBatch",
    "WatchQuery",
    "Watcher",
    "Write",
]


class EventType(enum.IntEnum):
    """Numbers are those of ``ursa.watch.v1.EventType``."""

    ADDED = 1
    MODIFIED = 2
    DELETED = 3


class Lane(enum.IntEnum):
    """Which queue a write waits in. Heartbeats, elections, claims and binds go before everything else.

    HEARTBEAT, for renewals alone: they may gather for up to a second first, so that thousands of nodes share few
    transactions; they are acknowledged when stored, as any write.
    """

    SYSTEM = 0
    WORKLOAD = 1
    HEARTBEAT = 2


class Match(enum.Enum):
    """How ``ListQuery.revision`` is meant (KEP-2523)."""

    UNSET = ""
    NOT_OLDER_THAN = "NotOlderThan"
    EXACT = "Exact"


AttributesOf = Callable[[bytes], HasAttributes]
"""Decodes as much of a stored value as selectors need. Called when a selector or an index first asks."""


@dataclass(slots=True, eq=False)
class Record:
    """A key, its canonical bytes, and the revision that wrote them.

    An immutable value by agreement only: a frozen one takes three times as long to make, and they are made by the
    hundred thousand. Implementations may hand out a subclass that knows its attributes.
    """

    key: str
    value: bytes
    revision: int

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return self.key == other.key and self.revision == other.revision and self.value == other.value

    def __hash__(self) -> int:
        return hash((self.key, self.revision))


@dataclass(slots=True, unsafe_hash=True)
class Write:
    """One conditional write. A value by agreement, as ``Record`` is, not frozen for speed.

    ``value``: bytes to put; None deletes the key.
    ``expected_revision``: None: unconditional; 0: the key must be absent; N: its last write must be revision N.
    ``lease_id``: etcd lease that owns the key, 0 for none.
    ``replaced_bytes``: the size of the value that the key is to lose, if the writer knows it, else 0. Watches are sent
    that value with a deletion, so what is committed together is measured by it.

    An unconditional write still goes to the store as a conditional one on what the key is found to hold, so that it
    takes effect once. A conditional delete of an absent key raises ``KeyNotFound``, as an unconditional one does.
    """

    key: str
    value: bytes | None
    expected_revision: int | None
    lane: Lane = Lane.WORKLOAD
    lease_id: int = 0
    replaced_bytes: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ListQuery:
    """``prefix`` ends with ``/``: whole path segments only.

    ``revision``: None: most recent (linearizable); 0: any age; N: by ``match`` (Exact, NotOlderThan; unset with a
    ``limit`` is the legacy exact rule, unset without one is NotOlderThan).
    ``start_key``: continue strictly after this key (requires EXACT, or ``revision=None`` for an inconsistent token).
    ``limit``: records per page, 0 for all. A page is filled with records that match ``selection``.
    """

    prefix: str
    selection: Selection
    revision: int | None = None
    match: Match = Match.UNSET
    start_key: str = ""
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """``records`` in key order, all as of ``revision``. ``more``: records that match remain after the last one.

    ``remaining`` is known only without selectors, else None.
    """

    records: Sequence[Record]
    revision: int
    more: bool
    remaining: int | None


@dataclass(frozen=True, slots=True)
class WatchQuery:
    """``revision`` and ``initial_events`` as in SEMANTICS.md's WATCH table.

    None + None/True: most recent state, then the stream; 0: a state of any age; N + True: a state ≥ N;
    N + None/False: events strictly after N; None/0 + False: from now. ``bookmarks``: opt in to bookmarks.
    """

    prefix: str
    selection: Selection
    revision: int | None = None
    initial_events: bool | None = None
    bookmarks: bool = False


class Event(Protocol):
    """A change as one watch sees it (already filtered: entering a selection is ADDED, leaving it DELETED)."""

    @property
    def type(self) -> EventType: ...
    @property
    def record(self) -> Record:
        """ADDED, MODIFIED: the new state. DELETED: the last state, with the revision of the deletion."""
        ...

    @property
    def wire(self) -> bytes:
        """``events`` field frame of an ``ursa.watch.v1.WatchBatch``; encoded once, shared by all watchers."""
        ...


@dataclass(frozen=True)
class WatchBatch:
    """Whole revisions only. ``revision`` is the position after it: resume there.

    ``bookmark``: no events, the position alone. ``initial_events_end``: the initial state is complete.
    ``revision`` is 0 while parts of an initial state are still to come: whoever breaks off there starts again.
    Watches at the same position with the same selection get the same batch object.
    """

    revision: int
    events: Sequence[Event]
    bookmark: bool = False
    initial_events_end: bool = False

    @cached_property
    def wire(self) -> bytes:
        """The frames of all events joined, once for everybody who shares the batch."""
        return b"".join([event.wire for event in self.events])


class Watcher(Protocol):
    """One watch. Never blocks its store: a watcher that is not read from is parked and catches up from the window."""

    def take(self, limit_bytes: int = 1 << 20) -> WatchBatch | None:
        """The next batch of about ``limit_bytes``, or None if there is nothing now. Never waits.

        Raises ``Expired`` (the position is gone: compaction, relist), ``SlowWatcher``; nothing follows after either.
        """
        ...

    async def wait(self) -> None:
        """Return when ``take`` may have something. Wakes in paced rounds, shared with all watchers of the store."""
        ...

    def set_wake(self, wake: Callable[[], None] | None) -> None:
        """Call ``wake`` instead (once per round), so that one task can serve thousands of watchers."""
        ...

    def catch_up(self) -> None:
        """Have ``take`` give what has happened by now, not only until the last round: for a reader that has let it
        gather."""
        ...

    def request_bookmark(self) -> None:
        """Have ``take`` end what is there now with a bookmark (for the moment before a server-side timeout)."""
        ...

    def close(self) -> None:
        """Forget the watch. Safe to call twice."""
        ...


class ResourceStore(Protocol):
    """Storage of one resource type. Raises the errors of ``services.storage.errors`` only."""

    async def get(self, key: str, revision: int | None = None) -> Record:
        """None: linearizable; 0: any age; N: not older than N (waits ≤ 3 s, then ``ResourceVersionTooLarge``).

        Raises ``KeyNotFound``, ``Unavailable``.
        """
        ...

    def peek(self, key: str) -> Record | None:
        """The record at any age without waiting, or None if unknown: where read-modify-write starts."""
        ...

    async def list(self, query: ListQuery) -> Page:
        """Raises ``InvalidQuery``, ``Expired``, ``ResourceVersionTooLarge``, ``Unavailable``."""
        ...

    def count(self, prefix: str) -> int:
        """Number of records below ``prefix`` at any age; an estimate for metrics and admission."""
        ...

    async def watch(self, query: WatchQuery) -> Watcher:
        """Raises ``InvalidQuery``, ``Expired`` (below the window), ``Unavailable`` (initialising)."""
        ...

    async def write(self, write: Write) -> Record | None:
        """Commit one write; returns what the key holds now (None after a delete), acknowledged means on disk.

        Raises ``KeyExists``, ``KeyNotFound`` (a delete of nothing), ``PreconditionFailed``, ``TooLarge``,
        ``QueueFull``, ``Unavailable`` (nothing was written), ``OutcomeUnknown``.
        """
        ...

    async def write_batch(self, writes: Sequence[Write]) -> Sequence[Record | Exception | None]:
        """Commit each write on its own terms, outcomes in order. Keys in one batch must differ."""
        ...

    @property
    def ready(self) -> bool:
        """The store can serve reads now."""
        ...


class Transactor(Protocol):
    """Writes of several keys, of any of a partition's resources, that take effect together or not at all.

    Every write says what it expects: ``expected_revision`` is never None, and never 0 for a delete. The keys of one
    transaction differ. All its writes go in the lane of the first.
    """

    async def read(self, keys: Sequence[str]) -> Sequence[Record | None]:
        """What each key holds, linearizable, in few reads of the store; None: nothing.

        Each is as of some revision after the call began, not all as of the same. Raises ``Unavailable``.
        """
        ...

    @property
    def transaction_writes_max(self) -> int:
        """How many writes one transaction may have now; a store can learn that it is fewer (``TooManyWrites``)."""
        ...

    async def transact(self, writes: Sequence[Write]) -> Sequence[Record | None]:
        """What each key holds now, in order; acknowledged means on disk, all at one revision.

        Raises for the first write in order whose expectation does not hold, and nothing is written then: ``KeyExists``
        (expected 0), ``KeyNotFound`` (a delete of nothing), ``PreconditionFailed``. Else as ``ResourceStore.write``,
        for the transaction as a whole (``OutcomeUnknown``: all of it happened or nothing), and ``TooManyWrites``.
        """
        ...

    async def transact_batch(
        self, transactions: Sequence[Sequence[Write]]
    ) -> Sequence[Sequence[Record | None] | Exception]:
        """Each on its own terms, outcomes in order; of two that share a key, the first takes effect first.

        Raises ``QueueFull`` and ``Unavailable`` for all of them: none was written.
        """
        ...
