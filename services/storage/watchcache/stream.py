"""Dispatch: from a change to the watches it may concern, by dictionary lookups only.

Every watch follows one *feed*, the narrowest part of the window that holds all its events: an index value, a
namespace, a tenant, or the whole window. Whoever waits on a feed is woken by its next change; who is slow keeps a
position and reads on from the window. Cost per event does not grow with watches of other feeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from services.api.selectors import Selection
from services.base.clock import Clock
from services.storage.errors import Expired
from services.storage.interface import WatchBatch
from services.storage.items import Change, Item, StoredEvent
from services.storage.watchcache.hub import Hub
from services.storage.watchcache.ring import Ring, WindowBounds
from services.storage.watchcache.watcher import CacheWatcher, Joined

_EVENT_OVERHEAD_BYTES = 24
_JOINED_MAX = 4096
# A revision is never split, however large it is. Of such a message (16 MiB at most, ``services.rpc.channel``) two
# batches can be part, one of live events and one of bulk, and about 1 MiB that was there before them.
_REVISION_BYTES_MAX = 6 << 20


class Stream:
    """The window of one collection and everybody who reads from it. ``revision`` is its position."""

    def __init__(self, prefix: str, index: str | None, bounds: WindowBounds, clock: Clock) -> None:
        self._prefix = prefix
        self._index = index
        self._clock = clock
        self.revision = 0
        self.ring = Ring(bounds, self._feeds_of)
        self.hub = Hub(clock, self.release)
        self.watchers: set[CacheWatcher] = set()
        self._followers: dict[str, int] = {}
        self._idle: dict[str, dict[CacheWatcher, None]] = {}
        self._released = 0
        self._joined: dict[tuple[object, ...], Joined] = {}
        self._ancestors: dict[str, tuple[str, ...]] = {}

    # -- what happens to the collection

    def push(self, revision: int, old: Item | None, new: Item | None) -> Change:
        """One key's change. Call ``settle`` when the last one of the newest revision is in."""
        change = Change(self.ring.end, revision, old, new, self._clock.monotonic())
        for name in self.ring.append(change):
            self._rouse(name, change.sequence)
        self._rouse("", change.sequence)
        return change

    def settle(self, revision: int) -> None:
        """The collection is complete up to ``revision``."""
        self.revision = max(self.revision, revision)

    def restart(self, revision: int, *, voided: type[Expired] | None = None) -> None:
        """The collection was replaced as of ``revision``: watches that have not come so far end with ``Expired``.

        ``voided``: what was read before cannot be relied on, and every watch ends with this.
        """
        ended = [watcher for watcher in self.watchers if voided or watcher.resume_revision < revision]
        self.revision = revision
        self.ring.clear(floor=revision)
        self._joined.clear()
        for watcher in ended:
            watcher.expire(revision, voided or Expired)

    # -- what watches use

    def feed_of(self, prefix: str, selection: Selection) -> str:
        """The narrowest feed that holds every event of this watch."""
        value = selection.required(self._index) if self._index is not None else None
        if value is not None:
            return "=" + value
        return "" if prefix == self._prefix else prefix

    def add(self, watcher: CacheWatcher) -> None:
        self.watchers.add(watcher)
        self._followers[watcher.feed] = self._followers.get(watcher.feed, 0) + 1

    def idle(self, watcher: CacheWatcher) -> None:
        """Nothing is left for ``watcher``; the next change of its feed rouses it."""
        self._idle.setdefault(watcher.feed, {})[watcher] = None

    def forget(self, watcher: CacheWatcher) -> None:
        if watcher not in self.watchers:
            return
        self.watchers.discard(watcher)
        self.hub.discard(watcher)
        self._followers[watcher.feed] -= 1
        if not self._followers[watcher.feed]:
            del self._followers[watcher.feed]
        waiting = self._idle.get(watcher.feed)
        if waiting is not None:
            waiting.pop(watcher, None)
            if not waiting:
                del self._idle[watcher.feed]

    def busy(self, watcher: CacheWatcher) -> None:
        """``watcher`` has something to read in the next round, and no longer waits on its feed."""
        waiting = self._idle.get(watcher.feed)
        if waiting is not None:
            waiting.pop(watcher, None)
        self.hub.add(watcher)

    def pending(self, feed: str) -> bool:
        """The feed holds changes that no round has released yet."""
        return self.ring.feed(feed).reaches(self._released)

    def read(self, feed: str, prefix: str, selection: Selection, position: int, after: int, limit_bytes: int) -> Joined:
        """Events of the released part of the window from ``position`` on; built once for all who ask alike."""
        if self._followers.get(feed) == 1:
            return self._join(feed, prefix, selection, position, after, limit_bytes)
        key = (feed, prefix, selection, position, after, limit_bytes)
        joined = self._joined.get(key)
        if joined is None:
            if len(self._joined) >= _JOINED_MAX:
                self._joined.clear()
            joined = self._joined[key] = self._join(feed, prefix, selection, position, after, limit_bytes)
        return joined

    def release(self) -> None:
        """What has happened so far may be read."""
        self._released = self.ring.end
        self._joined.clear()

    # -- inside

    def _rouse(self, feed: str, sequence: int) -> None:
        waiting = self._idle.pop(feed, None)
        if waiting:
            for watcher in waiting:
                watcher.rouse(sequence)
                self.hub.add(watcher)

    def _feeds_of(self, change: Change) -> Iterable[str]:
        feeds = self._parents(change.key)
        index = self._index
        if index is None:
            return feeds
        old = change.old.indexed(index) if change.old is not None else None
        new = change.new.indexed(index) if change.new is not None else None
        if old == new or old is None:
            return (*feeds, f"={new}")
        return (*feeds, f"={old}") if new is None else (*feeds, f"={old}", f"={new}")

    def _parents(self, key: str) -> tuple[str, ...]:
        parent = key[: key.rfind("/") + 1]
        found = self._ancestors.get(parent)
        if found is None:
            if len(self._ancestors) > 100_000:
                self._ancestors.clear()
            found = self._ancestors[parent] = _segments(self._prefix, parent)
        return found

    def _join(
        self, feed: str, prefix: str, selection: Selection, position: int, after: int, limit_bytes: int
    ) -> Joined:
        changes = self.ring.feed(feed).between(position, self._released)
        see = _view(selection, prefix, within=prefix in (feed, self._prefix))
        events: list[StoredEvent] = []
        size = 0
        last = 0
        for index, change in enumerate(changes):
            if size >= limit_bytes and change.revision != last:
                if size > limit_bytes + _REVISION_BYTES_MAX:
                    break
                return Joined(_batch(last, events), changes[index].sequence, drained=False)
            last = change.revision
            if change.revision <= after:
                continue
            event = see(change)
            if event is not None:
                events.append(event)
                size += len(event.record.value) + _EVENT_OVERHEAD_BYTES
        if size > limit_bytes + _REVISION_BYTES_MAX:
            return Joined(None, self._released, drained=True, too_large=True)
        # Nothing more for this feed up to the collection's own position: resume there, not at the last event.
        revision = last if self.pending(feed) else self.revision
        return Joined(_batch(revision, events), self._released, drained=True)


def _batch(revision: int, events: Sequence[StoredEvent]) -> WatchBatch | None:
    return WatchBatch(revision, events) if events else None


def _seen(change: Change) -> StoredEvent | None:
    return change.seen_by(change.old is not None, change.new is not None)


def _view(selection: Selection, prefix: str, *, within: bool) -> Callable[[Change], StoredEvent | None]:
    """How one selection sees changes. ``within``: all changes it will be asked about are below ``prefix``."""
    if selection.everything and within:
        return _seen
    matches = _matcher(selection)

    def see(change: Change) -> StoredEvent | None:
        if not within and not change.key.startswith(prefix):
            return None
        old, new = change.old, change.new
        return change.seen_by(old is not None and matches(old), new is not None and matches(new))

    return see


def _matcher(selection: Selection) -> Callable[[Item], bool]:
    if selection.field.requirements:
        return selection.matches
    # Items of one template share their labels' mapping, so most changes of a round are decided by one comparison.
    known: dict[int, bool] = {}
    decide = selection.label.matches

    def matches(item: Item) -> bool:
        labels = item.labels
        found = known.get(id(labels))
        if found is None:
            found = known[id(labels)] = decide(labels)
        return found

    return matches


def _segments(root: str, parent: str) -> tuple[str, ...]:
    """``/ursa/pods/a/b/`` below ``/ursa/pods/``: ``/ursa/pods/a/`` and ``/ursa/pods/a/b/``."""
    found = []
    at = parent.find("/", len(root))
    while at >= 0:
        found.append(parent[: at + 1])
        at = parent.find("/", at + 1)
    return tuple(found)
