"""The rolling window of changes: what watches read from, and what exact reads undo.

Upstream: apiserver ``cacher/watch_cache.go`` (``resizeCacheLocked``), etcd ``cache/ringbuffer.go``.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import cast

from services.storage.items import Change

_COMPACT_AT = 1024
# What stands for a change that is dropped, until there are enough of them to move the others up.
_DROPPED = cast(Change, None)
_sequence = attrgetter("sequence")
_revision = attrgetter("revision")


@dataclass(frozen=True, slots=True)
class WindowBounds:
    """How many changes are kept: between ``low`` and ``high``, so that they span about ``span_s`` seconds."""

    low: int = 100
    high: int = 102_400
    span_s: float = 75.0


class Log:
    """Changes in order of their sequence: append at the end, drop at the front, find by position or revision."""

    __slots__ = ("_changes", "_head")

    def __init__(self) -> None:
        self._changes: list[Change] = []
        self._head = 0

    def __len__(self) -> int:
        return len(self._changes) - self._head

    def __iter__(self) -> Iterator[Change]:
        return iter(self._changes[self._head :])

    def append(self, change: Change) -> None:
        self._changes.append(change)

    @property
    def first(self) -> Change:
        return self._changes[self._head]

    @property
    def last(self) -> Change:
        return self._changes[-1]

    def at(self, offset: int) -> Change:
        """The change ``offset`` places after the first."""
        return self._changes[self._head + offset]

    def drop_first(self) -> None:
        self._changes[self._head] = _DROPPED  # its values go at once
        self._head += 1
        if self._head >= _COMPACT_AT and self._head * 2 >= len(self._changes):
            del self._changes[: self._head]
            self._head = 0

    def between(self, start: int, end: int) -> Sequence[Change]:
        """Changes whose sequence is in [start, end)."""
        low = bisect.bisect_left(self._changes, start, self._head, key=_sequence)
        high = bisect.bisect_left(self._changes, end, low, key=_sequence)
        return self._changes[low:high]

    def reaches(self, sequence: int) -> bool:
        """The log holds a change at or after ``sequence``."""
        return len(self) > 0 and self._changes[-1].sequence >= sequence

    def after_revision(self, revision: int) -> Sequence[Change]:
        low = bisect.bisect_right(self._changes, revision, self._head, key=_revision)
        return self._changes[low:]


_EMPTY = Log()


class Ring:
    """The window of one cache, with a log per *feed*: the parts of the window that whole classes of watches share.

    ``feeds_of(change)`` names the feeds a change belongs to (its tenant, its namespace, its index values). ``floor``: a
    watch from revision N can be served if N ≥ floor.
    """

    def __init__(self, bounds: WindowBounds, feeds_of: Callable[[Change], Iterable[str]]) -> None:
        self._bounds = bounds
        self._feeds_of = feeds_of
        self.capacity = bounds.low
        self.floor = 0
        self.end = 0
        self._log = Log()
        self._feeds: dict[str, Log] = {}

    def __len__(self) -> int:
        return len(self._log)

    @property
    def start(self) -> int:
        """The sequence of the oldest change kept; ``end`` if there is none."""
        return self._log.first.sequence if self._log else self.end

    def feed(self, name: str) -> Log:
        """The changes of one feed; "" is the whole window."""
        return self._log if not name else self._feeds.get(name, _EMPTY)

    def clear(self, floor: int) -> None:
        """Forget every change: the state was replaced at revision ``floor``."""
        self._log = Log()
        self._feeds.clear()
        self.floor = floor

    def append(self, change: Change) -> Iterable[str]:
        """Take in the newest change (``change.sequence`` is ``end``) and make room for it. Returns its feeds."""
        self._log.append(change)
        self.end = change.sequence + 1
        feeds = self._feeds_of(change)
        for name in feeds:
            log = self._feeds.get(name)
            if log is None:
                log = self._feeds[name] = Log()
            log.append(change)
        if len(self._log) > self.capacity:
            self._resize(change.at_s)
            self._trim()
        return feeds

    def compact(self, revision: int) -> None:
        """Forget changes up to ``revision``: reads and watches below it are refused."""
        while self._log and self._log.first.revision <= revision:
            self._evict()
        self.floor = max(self.floor, revision)

    def forget(self, sequence: int) -> Sequence[Change]:
        """Forget changes before ``sequence``, and return them: everybody who reads here has read them."""
        read = self._log.between(self.start, sequence)
        for _ in read:
            self._evict()
        return read

    def sequence_after(self, revision: int) -> int:
        """The sequence of the first change after ``revision`` (≥ floor)."""
        later = self._log.after_revision(revision)
        return later[0].sequence if later else self.end

    def _resize(self, now_s: float) -> None:
        kept = len(self._log)
        if now_s - self._log.first.at_s < self._bounds.span_s:
            self.capacity = min(self._bounds.high, self.capacity * 2)
        elif now_s - self._log.at(kept - max(1, kept // 4)).at_s > self._bounds.span_s:
            self.capacity = max(self._bounds.low, self.capacity // 2)

    def _trim(self) -> None:
        # The newest revision stays whole, whatever its size: nobody has had a chance to read it.
        newest = self._log.last.revision
        while len(self._log) > self.capacity and self._log.first.revision < newest:
            self._evict()

    def _evict(self) -> None:
        change = self._log.first
        self._log.drop_first()
        self.floor = change.revision
        for name in self._feeds_of(change):
            log = self._feeds[name]
            log.drop_first()
            if not log:
                del self._feeds[name]
