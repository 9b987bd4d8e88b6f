"""The current state of one collection: records in key order, and an index by one selectable field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sortedcontainers import SortedList

from services.storage.items import Item
from services.storage.queries import range_end


class State:
    """``index`` names the selectable field that is indexed (None: no index)."""

    def __init__(self, prefix: str, index: str | None) -> None:
        self.prefix = prefix
        self.index = index
        self.items: dict[str, Item] = {}
        self._keys: SortedList = SortedList()
        self._by_value: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self.items)

    def load(self, items: Iterable[Item]) -> None:
        """Replace everything."""
        self.items = {item.key: item for item in items}
        self._keys = SortedList(self.items)
        self._by_value = {}
        if self.index is not None:
            for item in self.items.values():
                self._by_value.setdefault(item.indexed(self.index), set()).add(item.key)

    def put(self, item: Item) -> Item | None:
        """Returns what the key held before."""
        old = self.items.get(item.key)
        self.items[item.key] = item
        if old is None:
            self._keys.add(item.key)
        if self.index is not None:
            self._reindex(old, item)
        return old

    def remove(self, key: str) -> Item | None:
        old = self.items.pop(key, None)
        if old is not None:
            self._keys.remove(key)
            if self.index is not None:
                self._reindex(old, None)
        return old

    def _reindex(self, old: Item | None, new: Item | None) -> None:
        assert self.index is not None
        before = old.indexed(self.index) if old is not None else None
        after = new.indexed(self.index) if new is not None else None
        if before == after:
            return
        if before is not None and old is not None:
            keys = self._by_value[before]
            keys.discard(old.key)
            if not keys:
                del self._by_value[before]
        if after is not None and new is not None:
            self._by_value.setdefault(after, set()).add(new.key)

    def keys(self, prefix: str, start_key: str = "", value: str | None = None) -> Iterator[str]:
        """Keys below ``prefix`` after ``start_key`` in order; with ``value``, those whose indexed field holds it."""
        if value is not None:
            found = self._by_value.get(value, ())
            return iter(sorted(key for key in found if key.startswith(prefix) and key > start_key))
        first = start_key or prefix
        ordered: Iterator[str] = self._keys.irange(first, range_end(prefix), inclusive=(not start_key, False))
        return ordered

    def count(self, prefix: str, start_key: str = "") -> int:
        """How many keys are below ``prefix`` and after ``start_key``, in O(log n)."""
        if prefix == self.prefix and not start_key:
            return len(self.items)
        below = self._keys.bisect_right(start_key) if start_key else self._keys.bisect_left(prefix)
        return max(0, int(self._keys.bisect_left(range_end(prefix)) - below))

    def count_of(self, value: str) -> int:
        """How many items hold ``value`` in the indexed field."""
        return len(self._by_value.get(value, ()))
