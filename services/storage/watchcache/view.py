"""One collection in memory: its state, its window, and every read and watch that they can serve. Synchronous.

``CachedStore`` feeds it from a store behind, ``MemoryStore`` writes to it directly.
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
        self.state.load(map(self.item, records))
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
            return
        item = Item(entry.key, entry.value, entry.revision, self._attributes_of)
        self.stream.push(entry.revision, self.state.put(item), item)

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

    def _value(self, selection: Selection) -> str | None:
        return selection.required(self._index) if self._index is not None else None

    # -- watches

    def watch(self, query: WatchQuery) -> CacheWatcher:
        """A watch that starts from what is here now. Raises ``Expired`` below the window."""
        start = self._start(query)
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
            if len(self._states) >= _STATES_MAX:
                del self._states[next(iter(self._states))]
            self._states[prefix, selection] = found
        return found


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
