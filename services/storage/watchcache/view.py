"""One collection in memory: its state, its window, and every read and watch that they can serve. Synchronous.

``CachedStore`` feeds it from a store behind, ``MemoryStore`` writes to it directly. Both read through ``Scans``, which
does in slices what would take long here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from services.api.selectors import Selection
from services.base.clock import Clock
from services.storage.backing import FeedEntry
from services.storage.errors import Expired
from services.storage.interface import AttributesOf, ListQuery, Page, Record, WatchQuery
from services.storage.items import Item
from services.storage.queries import wants_state
from services.storage.watchcache.ring import WindowBounds
from services.storage.watchcache.scan import Scan
from services.storage.watchcache.snapshot import Snapshot
from services.storage.watchcache.state import State
from services.storage.watchcache.stream import Stream
from services.storage.watchcache.watcher import CacheWatcher, Start

_SNAPSHOTS_MAX = 8
# Answers to whole lists and to new watches, kept until the next change: clients that come back all ask the same.
_STATES_MAX = 16


class View:
    """``index``: the selectable field whose ``=`` selections are answered by lookup. Times come from ``clock``."""

    def __init__(
        self, prefix: str, attributes_of: AttributesOf, index: str | None, bounds: WindowBounds, clock: Clock
    ) -> None:
        self.prefix = prefix
        self._attributes_of = attributes_of
        self._index = index
        self.state = State(prefix, index)
        self.stream = Stream(prefix, index, bounds, clock)
        self._snapshots: dict[int, Snapshot] = {}
        self._states: dict[tuple[str, Selection], Sequence[Item]] = {}
        self._scans: set[Scan] = set()

    @property
    def revision(self) -> int:
        return self.stream.revision

    @property
    def floor(self) -> int:
        """Reads and watches at or above this revision can be served."""
        return self.stream.ring.floor

    # -- what happens to the collection

    def replace(self, records: Iterable[Record], revision: int, *, voided: type[Expired] | None = None) -> None:
        """The whole collection as of ``revision``, at once; watches not so far end (``voided``: all)."""
        # Not into the state that there is: scans under way go on with that one.
        state = State(self.prefix, self._index)
        state.load(map(self.item, records))
        self.state = state
        self._scans.clear()
        self._snapshots.clear()
        self._states.clear()
        self.stream.restart(revision, voided=voided)

    def item(self, record: Record) -> Item:
        """``record`` as this collection keeps it, with the value of its index: the costly part of ``replace``."""
        if not isinstance(record, Item):
            record = Item(record.key, record.value, record.revision, self._attributes_of)
        if self._index is not None:
            record.indexed(self._index)
        return record

    def apply(self, revision: int, entries: Sequence[FeedEntry]) -> None:
        """Changes in order, complete up to ``revision``. Keys outside the collection count as positions only."""
        if entries:
            self._states.clear()
        for entry in entries:
            if entry.key.startswith(self.prefix):
                self._apply(entry)
        self.stream.settle(revision)

    def _apply(self, entry: FeedEntry) -> None:
        if entry.value is None:
            old = self.state.remove(entry.key)
            if old is not None:
                self.stream.push(entry.revision, old, None)
                self._tell_scans(entry.key, old, None)
            return
        item = Item(entry.key, entry.value, entry.revision, self._attributes_of)
        old = self.state.put(item)
        self.stream.push(entry.revision, old, item)
        self._tell_scans(entry.key, old, item)

    def _tell_scans(self, key: str, old: Item | None, new: Item | None) -> None:
        for scan in self._scans:
            scan.changed(key, old, new)

    def compact(self, revision: int) -> None:
        """Forget history up to ``revision``."""
        self.stream.ring.compact(min(revision, self.revision))

    # -- reads

    def page(self, query: ListQuery) -> Page:
        """The page as of now."""
        if not query.limit and not query.start_key:
            everything = self._selected(query.prefix, query.selection)
            return Page(everything, self.revision, False, 0 if query.selection.everything else None)
        state = self.state
        value = self._value(query.selection)
        keys = state.keys(query.prefix, query.start_key, value)
        items = map(state.items.__getitem__, keys)
        return _page(query, items, self.revision, state.count(query.prefix, query.start_key))

    def page_at(self, query: ListQuery, revision: int) -> Page:
        """The page as of ``revision`` ≤ now. Raises ``Expired`` below the window."""
        if revision == self.revision:
            return self.page(query)
        snapshot = self._snapshot(revision)
        items = snapshot.items(query.prefix, query.start_key)
        return _page(query, items, revision, snapshot.count(query.prefix, query.start_key))

    def _snapshot(self, revision: int) -> Snapshot:
        if revision < self.floor:
            self._snapshots.pop(revision, None)
            raise Expired(revision, self.floor)
        snapshot = self._snapshots.pop(revision, None) or Snapshot(revision, self.state, self.stream.ring)
        self._snapshots[revision] = snapshot
        if len(self._snapshots) > _SNAPSHOTS_MAX:
            del self._snapshots[next(iter(self._snapshots))]
        snapshot.refresh()
        return snapshot

    # -- scans: the same answers, a slice at a time

    def to_look_at(self, prefix: str, selection: Selection, start_key: str = "", revision: int | None = None) -> int:
        """About how many records ``page`` (``page_at`` if there is a ``revision``) has to look at one by one."""
        if selection.everything:
            return 0
        value = self._value(selection) if revision in (None, self.revision) else None
        found = self.state.count(prefix, start_key)
        return found if value is None else min(found, self.state.count_of(value))

    def known(self, prefix: str, selection: Selection) -> Sequence[Item] | None:
        """What a whole list or a new watch begins with, if it was found out since the last change."""
        return self._states.get((prefix, selection))

    def scan(self, prefix: str, selection: Selection, revision: int, *, start_key: str = "", limit: int = 0) -> Scan:
        """A scan of the collection as of ``revision`` ≤ now; ``end`` it. Raises ``Expired``."""
        undone = self._snapshot(revision).undone() if revision != self.revision else {}
        scan = Scan(self.state, prefix, selection, self.stream.ring.end, undone, start_key, limit)
        if scan.whole:
            scan = self._alike(scan) or scan
        scan.users += 1
        self._scans.add(scan)
        return scan

    def _alike(self, scan: Scan) -> Scan | None:
        """A scan for the same that began at the same point: clients that come back all ask the same."""
        asked = (scan.prefix, scan.selection, scan.sequence)
        alike = (s for s in self._scans if s.whole and (s.prefix, s.selection, s.sequence) == asked)
        return next(alike, None)

    def end(self, scan: Scan) -> None:
        """Of those who asked for ``scan``, one needs it no more. What it has found may be of use to others."""
        scan.users -= 1
        if not scan.users:
            self._scans.discard(scan)
        if scan.done and scan.whole and self.holds(scan) and scan.sequence == self.stream.ring.end:
            self._share(scan.prefix, scan.selection, scan.found)

    def holds(self, scan: Scan) -> bool:
        """The collection was not replaced since ``scan`` began."""
        return scan.state is self.state

    def _value(self, selection: Selection) -> str | None:
        return selection.required(self._index) if self._index is not None else None

    # -- watches

    def watch(self, query: WatchQuery) -> CacheWatcher:
        """A watch that starts from what is here now. Raises ``Expired`` below the window."""
        return self.watch_from(query, self._start(query))

    def watch_from(self, query: WatchQuery, start: Start) -> CacheWatcher:
        return CacheWatcher(self.stream, query.prefix, query.selection, start, bookmarks=query.bookmarks)

    def _start(self, query: WatchQuery) -> Start:
        ring = self.stream.ring
        if wants_state(query):
            return Start(self.revision, ring.end, state=self._selected(query.prefix, query.selection))
        if not query.revision:
            return Start(self.revision, ring.end)
        if query.revision < ring.floor:
            raise Expired(query.revision, ring.floor)
        return Start(query.revision, ring.sequence_after(query.revision), after=query.revision)

    def _selected(self, prefix: str, selection: Selection) -> Sequence[Item]:
        """A whole list, or what a new watch begins with; shared by all that ask alike before the next change."""
        found = self._states.get((prefix, selection))
        if found is None:
            keys = self.state.keys(prefix, "", self._value(selection))
            items = map(self.state.items.__getitem__, keys)
            found = list(items) if selection.everything else [i for i in items if selection.matches(i.attributes)]
            self._share(prefix, selection, found)
        return found

    def _share(self, prefix: str, selection: Selection, found: Sequence[Item]) -> None:
        if (prefix, selection) not in self._states and len(self._states) >= _STATES_MAX:
            del self._states[next(iter(self._states))]
        self._states[prefix, selection] = found


def _page(query: ListQuery, items: Iterator[Item], revision: int, total: int) -> Page:
    if query.selection.everything:
        limit = query.limit or total
        records = list(itertools.islice(items, limit))
        remaining = total - len(records)
        return Page(records, revision, remaining > 0, remaining)
    matching = (item for item in items if query.selection.matches(item.attributes))
    if not query.limit:
        return Page(list(matching), revision, False, None)
    records = list(itertools.islice(matching, query.limit))
    # A token is worth giving only if a matching record follows.
    return Page(records, revision, next(matching, None) is not None, None)
