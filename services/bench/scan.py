"""Counting watch events and list items in wire form, without decoding: field lengths only. Pure.

Positions are hopped from field to field; what a client must know to prove that nothing was lost (how many, up to which
resource version, in order) stands at known places (see ``services.api.wire``).
"""

from __future__ import annotations

Data = bytes | bytearray

_WATCH_ID, _RESOURCE_VERSION, _EVENT, _BOOKMARK, _END, _ERROR, _CREATED, _CANCELED = (
    0x08,
    0x10,
    0x1A,
    0x20,
    0x28,
    0x32,
    0x38,
    0x40,
)
_BATCHES = 0x0A
_LIST_META, _LIST_ITEM = 0x0A, 0x12
_RESOURCE_VERSION_OF_OBJECT = 0x30


class Malformed(ValueError):
    """Bytes that this scanner does not know."""


def varint(data: Data, position: int) -> tuple[int, int]:
    """The number at ``position`` and the position after it."""
    byte = data[position]
    if byte < 0x80:
        return byte, position + 1
    number, shift = byte & 0x7F, 7
    while True:
        position += 1
        byte = data[position]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position + 1
        shift += 7


def batch(data: Data, start: int, end: int) -> tuple[int, int, int]:
    """A WatchBatch: (watch id or 0, resource version or 0, events). Raises ``Malformed``, also for an error."""
    watch_id = revision = events = 0
    position = start
    while position < end:
        tag = data[position]
        if tag == _EVENT:
            size, position = varint(data, position + 1)
            position += size
            events += 1
        elif tag == _RESOURCE_VERSION:
            revision, position = varint(data, position + 1)
        elif tag == _WATCH_ID:
            watch_id, position = varint(data, position + 1)
        elif tag in (_BOOKMARK, _END, _CREATED):
            position += 2
        else:
            raise Malformed(_what(data, position, end))
    if position != end:
        raise Malformed(f"a field ends {position - end} bytes after its batch")
    return watch_id, revision, events


def revisions(data: Data, start: int, end: int) -> list[int]:
    """The resource version of each event of a WatchBatch, in order: it stands at the end of every event's frame."""
    found = []
    position = start
    while position < end:
        tag = data[position]
        if tag == _EVENT:
            size, position = varint(data, position + 1)
            position += size
            found.append(_last_varint(data, position))
        elif tag in (_RESOURCE_VERSION, _WATCH_ID):
            _, position = varint(data, position + 1)
        elif tag in (_BOOKMARK, _END, _CREATED):
            position += 2
        else:
            raise Malformed(_what(data, position, end))
    return found


def batches(data: Data, start: int, end: int) -> list[tuple[int, int]]:
    """The extents of the WatchBatches in a WatchServerMessage."""
    found = []
    position = start
    while position < end:
        if data[position] != _BATCHES:
            raise Malformed(_what(data, position, end))
        size, position = varint(data, position + 1)
        found.append((position, position + size))
        position += size
    return found


def _last_varint(data: Data, end: int) -> int:
    """The varint that ends at ``end``, after its one-byte tag."""
    position = end - 1
    while data[position - 1] & 0x80:
        position -= 1
    if data[position - 1] != _RESOURCE_VERSION_OF_OBJECT:
        raise Malformed("an event without the resource version at its end")
    return varint(data, position)[0]


def _what(data: Data, position: int, end: int) -> str:
    text = bytes(data[position : min(end, position + 200)])
    if data[position] in (_ERROR, _CANCELED):
        return f"the watch ended: {text!r}"
    return f"unknown field at {position}: {text[:20]!r}"


class ItemCounter:
    """Counts a streamed List's items, its bytes cut anywhere. A ``Receiver`` of ``http2``."""

    def __init__(self) -> None:
        self.items = 0
        self.parts = 0
        self.item_bytes = 0
        self.complete = False
        self.end_reason = ""
        self.is_over = False
        self._message_left = 0
        self._skip = 0
        self._head = bytearray()

    def receive(self, data: bytearray, start: int, end: int) -> None:
        position = start
        while position < end:
            if self._skip:
                taken = min(self._skip, end - position)
                self._skip -= taken
                position += taken
                continue
            if not self._head and end - position >= 8 and self._message_left:
                position = self._field(data, position)
                continue
            # A field's head, or a message's, that may be cut: byte by byte.
            self._head.append(data[position])
            position += 1
            self._take_head()

    def _field(self, data: bytearray, position: int) -> int:
        began = position
        tag = data[position]
        size, position = varint(data, position + 1)
        self._account(tag, size, position - began)
        return position

    def _account(self, tag: int, size: int, head: int) -> None:
        if tag == _LIST_ITEM:
            self.items += 1
            self.item_bytes += size
        elif tag == _LIST_META:
            self.complete = True
        else:
            raise Malformed(f"unknown field {tag:#x} in a list")
        self._message_left -= head + size
        if self._message_left < 0:
            raise Malformed("a field is longer than its message")
        self._skip = size

    def _take_head(self) -> None:
        head = self._head
        if not self._message_left:
            if len(head) == 5:
                self._message_left = int.from_bytes(head[1:], "big")
                self.parts += 1
                head.clear()
        elif len(head) > 1 and head[-1] < 0x80:
            size, _ = varint(head, 1)
            self._account(head[0], size, len(head))
            head.clear()

    def opened(self) -> None:
        pass

    def ended(self, reason: str) -> None:
        self.end_reason = reason
        self.is_over = True
