"""Stored records with what selectors see of them, and the two transitions an object can make for a watch."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping

from google.protobuf.message import DecodeError

from services.api import wire
from services.storage.errors import Undecodable
from services.storage.interface import AttributesOf, EventType, Record

_FIELDS_KEPT = 8_192
_LABELS_KEPT = 16_384
_WIRES_KEPT = 8_192
_WIRE_BYTES_KEPT = 32 << 20


class Item(Record):
    """A record that knows what selectors see of it, at a price that 100,000 of them can pay.

    Labels are shared by all items that have the same ones. Fields are decoded when asked for and forgotten soon, except
    for the value of the collection's index. Each raises ``Undecodable``.
    """

    __slots__ = ("_attributes_of", "_fields", "_indexed", "_labels")

    def __init__(self, key: str, value: bytes, revision: int, attributes_of: AttributesOf) -> None:
        self.key = key
        self.value = value
        self.revision = revision
        self._attributes_of = attributes_of
        self._labels: Mapping[str, str] | None = None
        self._fields: Mapping[str, str] | None = None
        self._indexed: str | None = None

    @property
    def attributes(self) -> Item:
        """``selectors.HasAttributes``: the item itself."""
        return self

    @property
    def labels(self) -> Mapping[str, str]:
        found = self._labels
        if found is None:
            try:
                found = self._labels = _shared(self._attributes_of(self.value).labels)
            except DecodeError as failure:
                raise Undecodable(self.key, self.revision) from failure
        return found

    @property
    def fields(self) -> Mapping[str, str]:
        found = self._fields
        if found is None:
            try:
                found = self._fields = self._attributes_of(self.value).fields
            except DecodeError as failure:
                raise Undecodable(self.key, self.revision) from failure
            _with_fields.append(self)
            if len(_with_fields) > _FIELDS_KEPT:
                _with_fields.popleft()._fields = None
        return found

    def glance(self) -> Mapping[str, str]:
        """``fields``, not kept: a scan of a whole collection would only drive out what others asked for."""
        try:
            return self._fields or self._attributes_of(self.value).fields
        except DecodeError as failure:
            raise Undecodable(self.key, self.revision) from failure

    def indexed(self, index: str) -> str:
        """The value of the field by which the item's collection is indexed."""
        found = self._indexed
        if found is None:
            # Not through ``fields``: a whole collection that is loaded would only drive out what others asked for.
            try:
                found = self._indexed = sys.intern(self._attributes_of(self.value).fields.get(index, ""))
            except DecodeError as failure:
                raise Undecodable(self.key, self.revision) from failure
        return found


_with_fields: deque[Item] = deque()
_labels: dict[frozenset[tuple[str, str]], Mapping[str, str]] = {}


def _shared(labels: Mapping[str, str]) -> Mapping[str, str]:
    """The one mapping for all items with these labels (pods of one template have the same)."""
    if len(_labels) >= _LABELS_KEPT:
        _labels.clear()
    return _labels.setdefault(frozenset(labels.items()), labels)


class StoredEvent:
    """An ``interface.Event``; the frame is encoded when the first watch sends it, and kept while it is likely to be
    sent to others.
    """

    __slots__ = ("_wire", "record", "type")

    def __init__(self, event_type: EventType, record: Record) -> None:
        self.type = event_type
        self.record = record
        self._wire = b""

    @property
    def wire(self) -> bytes:
        found = self._wire
        if not found:
            found = self._wire = wire.watch_event(int(self.type), self.record.value, self.record.revision)
            _encoded.keep(self, len(found))
        return found

    def __repr__(self) -> str:
        return f"{self.type.name} {self.record.key}@{self.record.revision}"


class _Encoded:
    """The events that were encoded last: so many at most, and of so many bytes, as one may be of a megabyte."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._events: deque[StoredEvent] = deque()

    def __len__(self) -> int:
        return len(self._events)

    def keep(self, event: StoredEvent, size_bytes: int) -> None:
        events = self._events
        events.append(event)
        self.size_bytes += size_bytes
        while len(events) > _WIRES_KEPT or self.size_bytes > _WIRE_BYTES_KEPT:
            eldest = events.popleft()
            self.size_bytes -= len(eldest._wire)
            eldest._wire = b""


_encoded = _Encoded()


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
