"""Objects in wire form: canonical bytes, the resource version spliced in, and frames that add up to lists and watches.

Protobuf merges the occurrences of a singular message field, so ``stored + frame(metadata{resource_version})`` parses
to the object with its resource version. That splice is for serving only: what is stored is canonical.

Everything that is listed or watched passes through here: varints come from tables, and a list's frames are made in one
loop without a call per object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from services.api.pb.ursa.meta.v1.meta_pb2 import ListMeta

_ONE_BYTE = tuple(bytes((n,)) for n in range(128))
# Varints of up to two bytes, and the two bytes that begin a longer one: 1.8 MB for all of a process, 5 ms to make. An
# object of a list costs half as much for them (docs/performance.md).
_TWO_BYTES = 1 << 14
_LOW_BITS = _TWO_BYTES - 1
_CONTINUED = tuple(bytes((n & 0x7F | 0x80, n >> 7 | 0x80)) for n in range(_TWO_BYTES))
_VARINTS = _ONE_BYTE + tuple(bytes((n & 0x7F | 0x80, n >> 7)) for n in range(0x80, _TWO_BYTES))
_LENGTH_DELIMITED = 2
_METADATA_TAG = b"\x0a"  # field 1 of every kind
_RESOURCE_VERSION_TAG = b"\x30"  # field 6 of ObjectMeta, varint
_ITEMS_TAG = b"\x12"  # field 2 of every List
_EVENTS_TAG = b"\x1a"  # field 3 of every WatchBatch
_EVENT_TYPE_TAG = b"\x08"  # field 1 of every WatchEvent
_EVENT_OBJECT_TAG = b"\x12"  # field 2 of every WatchEvent
_LIST_META_TAG = b"\x0a"  # field 1 of every List
# What stands between stored bytes and the varint of their resource version, by the varint's length.
_SPLICES = tuple(_METADATA_TAG + _ONE_BYTE[size + 1] + _RESOURCE_VERSION_TAG for size in range(11))


class Stored(Protocol):
    """What a list is made of."""

    value: bytes
    revision: int


def varint(number: int) -> bytes:
    """Base-128 varint of an integer ≥ 0."""
    return _VARINTS[number] if number < _TWO_BYTES else _CONTINUED[number & _LOW_BITS] + varint(number >> 14)


def read_varint(value: bytes, at: int) -> tuple[int, int]:
    """The base-128 varint at ``at``, and where it ends. Raises ``IndexError`` if it is cut off or too long."""
    byte = value[at]
    if byte < 0x80:
        return byte, at + 1
    number, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = value[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at + 1
        shift += 7
        if shift > 63:
            raise IndexError("a varint of more than ten bytes")


def canonical(message: Message) -> bytes:
    """The bytes that are stored: without api_version, kind and metadata.resource_version, maps in key order.

    Equal objects give equal bytes, and ``canonical(parse(with_resource_version(canonical(m), rv))) == canonical(m)``.
    The message itself is not changed. Unknown fields are kept: refuse them first (``has_unknown_fields``).
    """
    metadata = message.metadata  # type: ignore[attr-defined]
    if message.api_version or message.kind or metadata.resource_version or not metadata.name:  # type: ignore[attr-defined]
        message = _stripped(message)
    return message.SerializeToString(deterministic=True)


def _stripped(message: Message) -> Message:
    copy = type(message)()
    copy.CopyFrom(message)
    copy.ClearField("api_version")
    copy.ClearField("kind")
    if copy.HasField("metadata"):
        copy.metadata.ClearField("resource_version")  # type: ignore[attr-defined]
        if not copy.metadata.ByteSize():  # type: ignore[attr-defined]
            copy.ClearField("metadata")
    return copy


def with_resource_version(stored: bytes, resource_version: int) -> bytes:
    """Canonical bytes and the object's resource version (> 0), as they are served."""
    version = varint(resource_version)
    return b"".join((stored, _SPLICES[len(version)], version))


def frame(field_number: int, payload: bytes) -> bytes:
    """``payload`` as a length-delimited field."""
    return b"".join((varint(field_number << 3 | _LENGTH_DELIMITED), varint(len(payload)), payload))


def list_items(stored: Sequence[Stored], start: int, bytes_target: int) -> tuple[list[bytes], int]:
    """The ``items`` frames of a kind's List from ``start`` on, until they have ``bytes_target`` or there are no more;
    and where to go on. They come in pieces, to be joined once: a copy of each object first would cost as much again.
    """
    pieces: list[bytes] = []
    size = splice_size = last_revision = 0
    splice = b""
    for index in range(start, len(stored)):
        record = stored[index]
        value, revision = record.value, record.revision
        if revision != last_revision:  # what was committed together is one revision
            version = varint(revision)
            splice = _SPLICES[len(version)] + version
            splice_size, last_revision = len(splice), revision
        item_size = len(value) + splice_size
        length = _VARINTS[item_size] if item_size < _TWO_BYTES else varint(item_size)
        pieces += (_ITEMS_TAG + length, value, splice)
        size += item_size
        if size >= bytes_target:
            return pieces, index + 1
    return pieces, len(stored)


def watch_event(event_type: int, stored: bytes, resource_version: int) -> bytes:
    """One ``events`` frame of a kind's WatchBatch, and of ``ursa.watch.v1.WatchBatch``. ``event_type`` is 1, 2 or 3."""
    version = varint(resource_version)
    size = len(stored) + len(version) + 3
    length = varint(size)
    return b"".join(
        (
            _EVENTS_TAG,
            varint(size + len(length) + 3),
            _EVENT_TYPE_TAG,
            _ONE_BYTE[event_type],
            _EVENT_OBJECT_TAG,
            length,
            stored,
            _SPLICES[len(version)],
            version,
        )
    )


def list_meta(resource_version: int, continue_token: str = "", remaining: int | None = None) -> bytes:
    """The ``metadata`` frame of a kind's List."""
    meta = ListMeta(resource_version=resource_version, continue_token=continue_token, remaining_item_count=remaining)
    payload = meta.SerializeToString()
    return b"".join((_LIST_META_TAG, varint(len(payload)), payload))


def has_unknown_fields(message: Message) -> str:
    """Where the message holds a field this API does not know, e.g. ``spec.containers[0].#99``; "" if nowhere."""
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    if known.ByteSize() == message.ByteSize():
        return ""
    return _unknown_path(message, "")


def _unknown_path(message: Message, path: str) -> str:
    unknown = UnknownFieldSet(message)
    if len(unknown):
        return f"{path}#{unknown[0].field_number}"
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        name = f"{path}{field.json_name}"
        for child_path, child in _children(field, name, value):
            found = _unknown_path(child, f"{child_path}.")
            if found:
                return found
    return ""


def _children(field: FieldDescriptor, name: str, value: object) -> list[tuple[str, Message]]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entries = value.items() if hasattr(value, "items") else ()
        return [(f"{name}[{key}]", entry) for key, entry in entries if isinstance(entry, Message)]
    if isinstance(value, Message):
        return [(name, value)]
    return [(f"{name}[{index}]", item) for index, item in enumerate(value)]  # type: ignore[arg-type, var-annotated]
