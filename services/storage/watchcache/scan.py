"""A search through a collection that others go on changing: what it finds is as of one revision."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping

from sortedcontainers import SortedSet

from services.api.selectors import FieldRequirement, FieldSelector, Selection
from services.storage.items import Item
from services.storage.queries import range_end
from services.storage.watchcache.state import State

CHUNK_RECORDS = 64


class Scan:
    """``step`` until ``done``; ``found`` are the items that match then, in key order, ``limit`` at most (0: all).

    It reads ``state`` as it is and undoes what has changed since: whoever changes ``state`` says so (``changed``). So
    its memory is that of the changes while it lasts. ``undone``: what keys held that have changed before it began, if
    it is of an older revision. ``sequence``: of the first change after it began. ``more``: items that match remain
    after the last one. Several may ``step`` the same scan (``users``).
    """

    def __init__(
        self,
        state: State,
        prefix: str,
        selection: Selection,
        sequence: int,
        undone: Mapping[str, Item | None],
        start_key: str,
        limit: int,
    ) -> None:
        self.state = state
        self.prefix = prefix
        self.selection = selection
        self.sequence = sequence
        self.found: list[Item] = []
        self.more = False
        self.done = False
        self.users = 0
        self._past = bool(undone)
        self._started_at = start_key
        self._at = start_key
        self._limit = limit
        self._matches = _matcher(selection, state.index)
        self._undone = dict(undone)
        # Keys to be found at the revision that the state no longer has.
        self._gone = SortedSet(key for key, item in undone.items() if item is not None and key not in state.items)

    @property
    def whole(self) -> bool:
        """It is to find all that matches, as of when it began."""
        return not self._past and not self._started_at and not self._limit

    def changed(self, key: str, old: Item | None, new: Item | None) -> None:
        """``state`` has changed at ``key``, just now."""
        if key <= self._at or self.done:
            return
        if self._undone.setdefault(key, old) is None:
            return
        if new is None:
            self._gone.add(key)
        else:
            self._gone.discard(key)

    def step(self, records_max: int, is_over: Callable[[], bool]) -> None:
        """Look at ``records_max`` records, or fewer: ``is_over`` is asked after every ``CHUNK_RECORDS``."""
        if self.done:
            return
        keys = self._keys()
        for _ in range(0, records_max, CHUNK_RECORDS):
            chunk = list(itertools.islice(keys, CHUNK_RECORDS))
            self.found += filter(self._matches, self._items(chunk))
            if self._is_full() or len(chunk) < CHUNK_RECORDS:
                self.done = True
                return
            self._at = chunk[-1]
            if is_over():
                return

    def _is_full(self) -> bool:
        # A token is worth giving only if a matching record follows.
        self.more = 0 < self._limit < len(self.found)
        if self.more:
            del self.found[self._limit :]
        return self.more

    def _keys(self) -> Iterator[str]:
        keys = self.state.keys(self.prefix, self._at)
        if not self._gone:
            return keys
        first = self._at or self.prefix
        return heapq.merge(keys, self._gone.irange(first, range_end(self.prefix), inclusive=(not self._at, False)))

    def _items(self, keys: list[str]) -> Iterator[Item]:
        items, undone = self.state.items, self._undone
        if not undone:
            return map(items.__getitem__, keys)
        held = (undone[key] if key in undone else items[key] for key in keys)
        return (item for item in held if item is not None)


def _matcher(selection: Selection, index: str | None) -> Callable[[Item], bool]:
    """``selection.matches``: the index first, which costs no parsing, and fields not kept."""
    value = selection.required(index) if index is not None else None
    label = selection.label
    # What the index has decided is not looked at again.
    decided = FieldRequirement(index or "", value or "", equal=True) if value is not None else None
    rest = tuple(requirement for requirement in selection.field.requirements if requirement != decided)
    field = FieldSelector(rest)

    def matches(item: Item) -> bool:
        return (
            (value is None or (index is not None and item.indexed(index) == value))
            and (label.everything or label.matches(item.labels))
            and (field.everything or field.matches(item.glance()))
        )

    return matches
