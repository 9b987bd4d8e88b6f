"""The collection as it was at an older revision: the current state with the window's later changes undone."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from services.storage.items import Item
from services.storage.queries import range_end
from services.storage.watchcache.ring import Ring
from services.storage.watchcache.state import State


class Snapshot:
    """Valid while ``revision`` ≥ the ring's floor. Costs memory per key changed since, not per key held.

    ``refresh`` before each use: what changed since the last time is undone too.
    """

    def __init__(self, revision: int, state: State, ring: Ring) -> None:
        self.revision = revision
        self._state = state
        self._ring = ring
        self._undone: dict[str, Item | None] = {}
        self._next = ring.sequence_after(revision)

    def refresh(self) -> None:
        for change in self._ring.feed("").between(self._next, self._ring.end):
            # The first change after the revision knows what the key held at the revision.
            self._undone.setdefault(change.key, change.old)
        self._next = self._ring.end

    def undone(self) -> dict[str, Item | None]:
        """What the keys that have changed since held at the revision; the caller's own copy."""
        return dict(self._undone)

    def items(self, prefix: str, start_key: str = "") -> Iterator[Item]:
        """Items below ``prefix`` after ``start_key`` in key order."""
        end = range_end(prefix)
        first = start_key or prefix
        changed = sorted(
            key for key, item in self._undone.items() if item is not None and first <= key < end and key != start_key
        )
        unchanged = (key for key in self._state.keys(prefix, start_key) if key not in self._undone)
        for key in heapq.merge(unchanged, changed):
            item = self._undone.get(key) or self._state.items[key]
            yield item

    def count(self, prefix: str, start_key: str = "") -> int:
        """How many items ``items`` would give."""
        found = self._state.count(prefix, start_key)
        end = range_end(prefix)
        first = start_key or prefix
        for key, item in self._undone.items():
            if first <= key < end and key != start_key:
                found += (item is not None) - (key in self._state.items)
        return found
