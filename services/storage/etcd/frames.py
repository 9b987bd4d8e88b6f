"""Transactions in wire form: built as message objects, the hundreds of writes of a batch cost more than all else.

Sources: etcd ``api/etcdserverpb/rpc.proto`` (field numbers), protobuf's encoding. Each function returns bytes that can
be joined; ``tests/unit/storage/test_frames.py`` parses them back with etcd's own messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.api.wire import varint

# Tags of length-delimited fields: number << 3 | 2.
_FIELD_1, _FIELD_2, _FIELD_3, _FIELD_4 = b"\x0a", b"\x12", b"\x1a", b"\x22"
_PUT_LEASE = b"\x18"  # PutRequest.lease, varint
_TARGET_MOD_KEY = b"\x10\x02\x1a"  # Compare.target = MOD, then the tag of Compare.key
_MOD_REVISION = b"\x30"  # Compare.mod_revision, varint


def _framed(tag: bytes, body: bytes) -> bytes:
    return b"".join((tag, varint(len(body)), body))


def compare_revision(key: bytes, revision: int) -> bytes:
    """``TxnRequest.compare``: the key's last write was ``revision``; 0: it does not exist."""
    return _framed(_FIELD_1, b"".join((_TARGET_MOD_KEY, varint(len(key)), key, _MOD_REVISION, varint(revision))))


def put(key: bytes, value: bytes, lease_id: int = 0) -> bytes:
    """A ``RequestOp`` without its frame."""
    parts = (_FIELD_1, varint(len(key)), key, _FIELD_2, varint(len(value)), value)
    body = b"".join((*parts, _PUT_LEASE, varint(lease_id)) if lease_id else parts)
    return _framed(_FIELD_2, body)


def delete(key: bytes) -> bytes:
    """A ``RequestOp`` without its frame."""
    return _framed(_FIELD_3, _framed(_FIELD_1, key))


def read(key: bytes) -> bytes:
    """A ``RequestOp`` without its frame: the key's present record."""
    return _framed(_FIELD_1, _framed(_FIELD_1, key))


def nested(transaction: bytes) -> bytes:
    """A ``RequestOp`` without its frame."""
    return _framed(_FIELD_4, transaction)


def success(operation: bytes) -> bytes:
    """``TxnRequest.success``."""
    return _framed(_FIELD_2, operation)


def failure(operation: bytes) -> bytes:
    """``TxnRequest.failure``."""
    return _framed(_FIELD_3, operation)


def sparing(put_operation: bytes) -> bytes:
    """``TxnRequest.success`` with one put, in a form that etcd takes even when its database is full.

    etcd's quota counts the puts of a transaction's own level (``server/etcdserver/quota.go``, ``costTxn``).
    For what must go on then, and takes no room to speak of: keys that are overwritten in place.
    """
    return success(nested(success(put_operation)))


def conditional_put(key: bytes, revision: int, value: bytes, lease_id: int = 0) -> bytes:
    """``TxnRequest.success`` of an outer transaction: put if the key's last write was ``revision``, else read it.

    The same as of the functions above, in one join: this one is called for every write.
    """
    key_size = varint(len(key))
    value_size = varint(len(value))
    wanted = varint(revision)
    lease = _PUT_LEASE + varint(lease_id) if lease_id else b""
    keyed = 1 + len(key_size) + len(key)  # the key as a field
    compare = keyed + len(wanted) + 3
    put_body = keyed + 1 + len(value_size) + len(value) + len(lease)
    put_size = varint(put_body)
    operation = 1 + len(put_size) + put_body
    compare_size, operation_size, keyed_size = varint(compare), varint(operation), varint(keyed)
    read_body = 1 + len(keyed_size) + keyed
    read_size = varint(read_body)
    transaction = (
        (1 + len(compare_size) + compare) + (1 + len(operation_size) + operation) + (1 + len(read_size) + read_body)
    )
    transaction_size = varint(transaction)
    return b"".join(
        (
            _FIELD_2,
            varint(1 + len(transaction_size) + transaction),
            _FIELD_4,
            transaction_size,
            # compare
            _FIELD_1,
            compare_size,
            _TARGET_MOD_KEY,
            key_size,
            key,
            _MOD_REVISION,
            wanted,
            # success: put
            _FIELD_2,
            operation_size,
            _FIELD_2,
            put_size,
            _FIELD_1,
            key_size,
            key,
            _FIELD_2,
            value_size,
            value,
            lease,
            # failure: read
            _FIELD_3,
            read_size,
            _FIELD_1,
            keyed_size,
            _FIELD_1,
            key_size,
            key,
        )
    )


def conditional_delete(key: bytes, revision: int) -> bytes:
    """As ``conditional_put``. Deleting what is supposed to be absent (0) writes nothing: it only asks what is there."""
    then = success(delete(key)) if revision else b""
    return success(nested(b"".join((compare_revision(key, revision), then, failure(read(key))))))


def conditional_all(writes: Sequence[tuple[bytes, int, bytes | None, int]]) -> bytes:
    """``TxnRequest.success`` of an outer transaction: all of ``writes`` (key, revision, value or None for a deletion,
    lease) if each key's last write was its revision, else nothing.

    What the keys hold is not read then: few transactions fail, and etcd would carry the reads of all of them.
    """
    compares: list[bytes] = []
    operations: list[bytes] = []
    for key, revision, value, lease_id in writes:
        size = varint(len(key))
        wanted = varint(revision)
        keyed = len(size) + len(key) + 1  # the key as a field
        compares += (_FIELD_1, varint(keyed + len(wanted) + 3), _TARGET_MOD_KEY, size, key, _MOD_REVISION, wanted)
        if value is None:
            operations.append(success(delete(key)))
            continue
        value_size = varint(len(value))
        lease = _PUT_LEASE + varint(lease_id) if lease_id else b""
        body = keyed + 1 + len(value_size) + len(value) + len(lease)
        body_size = varint(body)
        operations += (_FIELD_2, varint(1 + len(body_size) + body), _FIELD_2, body_size)
        operations += (_FIELD_1, size, key, _FIELD_2, value_size, value, lease)
    compares += operations
    transaction = b"".join(compares)
    transaction_size = varint(len(transaction))
    outer_size = varint(1 + len(transaction_size) + len(transaction))
    return b"".join((_FIELD_2, outer_size, _FIELD_4, transaction_size, transaction))


def transaction(compare: bytes, operations: Iterable[bytes]) -> bytes:
    """A whole ``TxnRequest``; ``operations`` are framed already."""
    return b"".join((compare, *operations))
