"""The stored bytes of a Lease, as far as a renewal needs them: its holder, its UID, and another ``spec.renew_time``.

A heartbeat moves one timestamp of an object of some 200 bytes, thousands of times a second: the bytes before and after
it are kept as they are, and nothing is decoded. What is stored is canonical (``services.api.wire``: fields in order,
each at most once, nothing after ``spec``), and that is checked on the way; bytes in any other form are parsed and
written anew. The result is canonical either way.
"""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from services.api import wire
from services.api.excerpts import excerpt
from services.api.pb.ursa.coordination.v1.lease_pb2 import Lease

# Tags of fields: number << 3 | wire type.
_METADATA, _SPEC = 0x0A, 0x12  # of Lease
_HOLDER, _DURATION, _ACQUIRE_TIME, _RENEW_TIME, _TRANSITIONS = 0x0A, 0x10, 0x1A, 0x22, 0x28  # of LeaseSpec
_SPEC_TAG = b"\x12"

_Identity = excerpt(Lease, ("metadata.uid",))


class NotCanonical(ValueError):
    """Bytes that are not in the form in which leases are stored."""


class Seams(NamedTuple):
    """Where a stored lease can be cut: ``value[spec_at:]`` is its spec with tag and length, ``value[body_at:]`` the
    spec itself, ``value[time_at:time_end]`` the renew time with its tag (empty: it has none, and would be there)."""

    holder: bytes
    spec_at: int
    body_at: int
    time_at: int
    time_end: int


def seams(value: bytes) -> Seams:
    """Raises ``NotCanonical``."""
    try:
        return _seams(value)
    except IndexError:
        raise NotCanonical("a field is cut off") from None


def _seams(value: bytes) -> Seams:
    end = len(value)
    at = _after_sized(value, 1) if end and value[0] == _METADATA else 0
    spec_at = at
    if at == end:
        return Seams(b"", end, end, end, end)
    if value[at] != _SPEC:
        raise NotCanonical("something else than spec follows metadata")
    size, body_at = wire.read_varint(value, at + 1)
    at = body_at
    if at + size != end:
        raise NotCanonical("spec is not the last field")
    holder = b""
    if at < end and value[at] == _HOLDER:
        size, start = wire.read_varint(value, at + 1)
        at = start + size
        holder = value[start:at]
    if at < end and value[at] == _DURATION:
        _, at = wire.read_varint(value, at + 1)
    if at < end and value[at] == _ACQUIRE_TIME:
        at = _after_sized(value, at + 1)
    time_at = at
    if at < end and value[at] == _RENEW_TIME:
        at = _after_sized(value, at + 1)
    time_end = at
    if at < end and value[at] == _TRANSITIONS:
        _, at = wire.read_varint(value, at + 1)
    if at != end:
        raise NotCanonical("spec holds what it should not, or in another order")
    return Seams(holder, spec_at, body_at, time_at, time_end)


def _after_sized(value: bytes, at: int) -> int:
    size, start = wire.read_varint(value, at)
    return start + size


def renew_time_field(time: Timestamp) -> bytes:
    """``LeaseSpec.renew_time`` with its tag, to be spliced in."""
    return wire.frame(_RENEW_TIME >> 3, time.SerializeToString(deterministic=True))


def spliced(value: bytes, found: Seams, field: bytes) -> bytes:
    """``value`` with ``field`` (``renew_time_field``) for its renew time. ``found``: its seams."""
    if found.time_end - found.time_at == len(field):
        return b"".join((value[: found.time_at], field, value[found.time_end :]))
    body_size = len(value) - found.body_at - (found.time_end - found.time_at) + len(field)
    return b"".join(
        (
            value[: found.spec_at],
            _SPEC_TAG,
            wire.varint(body_size),
            value[found.body_at : found.time_at],
            field,
            value[found.time_end :],
        )
    )


def holder_of(value: bytes) -> bytes:
    """``spec.holder_identity`` in UTF-8, of bytes in any form."""
    try:
        return seams(value).holder
    except NotCanonical:
        return Lease.FromString(value).spec.holder_identity.encode()


def uid_of(value: bytes) -> str:
    uid: str = _Identity.FromString(value).metadata.uid
    return uid


def renewed(value: bytes, field: bytes) -> bytes:
    """``value`` with ``field`` for its renew time, canonical whatever the form of ``value``."""
    try:
        return spliced(value, seams(value), field)
    except NotCanonical:
        lease = Lease.FromString(value)
        lease.spec.ClearField("renew_time")
        lease.MergeFromString(wire.frame(_SPEC >> 3, field))
        return wire.canonical(lease)
