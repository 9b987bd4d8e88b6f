"""Objects in wire form: canonical bytes, the resource version spliced in, and frames that add up to lists and watches.

Protobuf merges the occurrences of a singular message field, so ``stored + frame(metadata{resource_version})`` parses
to the object with its resource version. That splice is for serving only: what is stored is canonical.

Kept free of loops and allocations on purpose: every object that is listed or watched passes through here once.
"""

from __future__ import annotations

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from services.api.pb.ursa.meta.v1.meta_pb2 import ListMeta

_ONE_BYTE = tuple(bytes((n,)) for n in range(128))
_LENGTH_DELIMITED = 2
_METADATA_TAG = b"\x0a"  # field 1 of every kind
_RESOURCE_VERSION_TAG = b"\x30"  # field 6 of ObjectMeta, varint
_ITEMS_TAG = b"\x12"  # field 2 of every List
_EVENTS_TAG = b"\x1a"  # field 3 of every WatchBatch
_EVENT_TYPE_TAG = b"\x08"  # field 1 of every WatchEvent
_EVENT_OBJECT_TAG = b"\x12"  # field 2 of every WatchEvent
_LIST_META_TAG = b"\x0a"  # field 1 of every List


def varint(number: int) -> bytes:
    """Base-128 varint of an integer ≥ 0."""
    if number < 0x80:
        return _ONE_BYTE[number]
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    if number < 0x200000:
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    if number < 0x10000000:
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14 & 0x7F | 0x80, number >> 21))
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


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
    return b"".join((stored, _METADATA_TAG, _ONE_BYTE[len(version) + 1], _RESOURCE_VERSION_TAG, version))


def frame(field_number: int, payload: bytes) -> bytes:
    """``payload`` as a length-delimited field."""
    return b"".join((varint(field_number << 3 | _LENGTH_DELIMITED), varint(len(payload)), payload))


def list_item_around(stored_size: int, resource_version: int) -> tuple[bytes, bytes]:
    """What stands before and after stored bytes in an ``items`` frame of a kind's List: a large list is joined from its
    pieces once, without a copy of each item first."""
    version = varint(resource_version)
    splice = len(version) + 1
    before = _ITEMS_TAG + varint(stored_size + splice + 2)
    return before, _METADATA_TAG + _ONE_BYTE[splice] + _RESOURCE_VERSION_TAG + version


def list_item(stored: bytes, resource_version: int) -> bytes:
    """One ``items`` frame of a kind's List."""
    before, after = list_item_around(len(stored), resource_version)
    return b"".join((before, stored, after))


def watch_event(event_type: int, stored: bytes, resource_version: int) -> bytes:
    """One ``events`` frame of a kind's WatchBatch, and of ``ursa.watch.v1.WatchBatch``. ``event_type`` is 1, 2 or 3."""
    version = varint(resource_version)
    splice = len(version) + 1
    size = len(stored) + splice + 2
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
            _METADATA_TAG,
            _ONE_BYTE[splice],
            _RESOURCE_VERSION_TAG,
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
