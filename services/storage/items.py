"""Stored records with what selectors see of them, and the two transitions an object can make for a watch."""

from __future__ import annotations

from services.api import wire
from services.storage.interface import Attributes, AttributesOf, EventType, Record

_set = object.__setattr__


class Item(Record):
    """A record whose attributes are decoded when a selector first asks, once per revision."""

    __slots__ = ("_attributes", "_attributes_of")

    _attributes: Attributes | None
    _attributes_of: AttributesOf

    def __init__(self, key: str, value: bytes, revision: int, attributes_of: AttributesOf) -> None:
        _set(self, "key", key)
        _set(self, "value", value)
        _set(self, "revision", revision)
        _set(self, "_attributes", None)
        _set(self, "_attributes_of", attributes_of)

    @property
    def attributes(self) -> Attributes:
        found = self._attributes
        if found is None:
            found = self._attributes_of(self.value)
            _set(self, "_attributes", found)
        return found


class StoredEvent:
    """An ``interface.Event``; the frame is encoded when the first watch sends it and then shared."""

    __slots__ = ("_wire", "record", "type")

    def __init__(self, event_type: EventType, record: Record) -> None:
        self.type = event_type
        self.record = record
        self._wire = b""

    @property
    def wire(self) -> bytes:
        if not self._wire:
            self._wire = wire.watch_event(int(self.type), self.record.value, self.record.revision)
        return self._wire

    def __repr__(self) -> str:
        return f"{self.type.name} {self.record.key}@{self.record.revision}"


class Change:
    """One key's step at one revision, as the window keeps it. ``sequence`` counts all changes a cache has seen.

    ``old`` None: the key was absent before; ``new`` None: it was deleted. Never both.
    """

    __slots__ = ("_added", "_deleted", "_modified", "at_s", "key", "new", "old", "revision", "sequence")

    def __init__(self, sequence: int, revision: int, old: Item | None, new: Item | None, at_s: float) -> None:
        present = new if new is not None else old
        assert present is not None
        self.key = present.key
        self.sequence = sequence
        self.revision = revision
        self.old = old
        self.new = new
        self.at_s = at_s
        self._added: StoredEvent | None = None
        self._modified: StoredEvent | None = None
        self._deleted: StoredEvent | None = None

    def seen_by(self, was_selected: bool, is_selected: bool) -> StoredEvent | None:
        """The event for a watch that selected the old and selects the new state, or not."""
        if is_selected:
            return self._as_modified() if was_selected else self._as_added()
        return self._as_deleted() if was_selected else None

    def _as_added(self) -> StoredEvent:
        if self._added is None:
            assert self.new is not None
            self._added = StoredEvent(EventType.ADDED, self.new)
        return self._added

    def _as_modified(self) -> StoredEvent:
        if self._modified is None:
            assert self.new is not None
            self._modified = StoredEvent(EventType.MODIFIED, self.new)
        return self._modified

    def _as_deleted(self) -> StoredEvent:
        if self._deleted is None:
            assert self.old is not None
            gone = Record(self.old.key, self.old.value, self.revision)
            self._deleted = StoredEvent(EventType.DELETED, gone)
        return self._deleted
