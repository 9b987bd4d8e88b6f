"""What is refused before a write is queued or applied."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from services.storage.errors import (
    InvalidQuery,
    KeyExists,
    KeyNotFound,
    PreconditionFailed,
    StorageError,
    TooLarge,
    TooManyWrites,
)
from services.storage.interface import Record, Write

# An object of 1 MiB and 64 KiB for what the server itself adds to it; a request of etcd's may have 1.5 MiB.
VALUE_BYTES_MAX = (1 << 20) + (64 << 10)
KEY_BYTES_MAX = 1024


def check_write(write: Write, prefix: str, value_bytes_max: int = VALUE_BYTES_MAX) -> StorageError | None:
    """None if the write may be tried: its key lies in the collection and its value is not too large."""
    if not write.key.startswith(prefix) or len(write.key) <= len(prefix):
        return InvalidQuery("key", f"{write.key!r} is not below {prefix}")
    if len(write.key) > KEY_BYTES_MAX // 4 and len(write.key.encode()) > KEY_BYTES_MAX:
        return TooLarge(write.key, len(write.key.encode()), KEY_BYTES_MAX)
    if write.value is not None and len(write.value) > value_bytes_max:
        return TooLarge(write.key, len(write.value), value_bytes_max)
    return None


def check_distinct(writes: Sequence[Write]) -> None:
    """Raises ``InvalidQuery`` if a key occurs twice: items of one batch have no order among them."""
    if len({write.key for write in writes}) != len(writes):
        raise InvalidQuery("key", "the keys of one batch must differ")


def check_transaction(
    writes: Sequence[Write],
    prefixes: Collection[str],
    *,
    writes_max: int,
    bytes_max: int,
    value_bytes_max: int = VALUE_BYTES_MAX,
) -> StorageError | None:
    """None if the transaction may be tried. ``prefixes``: of the partition's collections."""
    if not writes:
        return InvalidQuery("writes", "a transaction writes something")
    if len(writes) > writes_max:
        return TooManyWrites(len(writes), writes_max)
    if len({write.key for write in writes}) != len(writes):
        return InvalidQuery("key", "the keys of one transaction must differ")
    size_bytes = 0
    prefix = ""
    for write in writes:
        key, value = write.key, write.value
        if value is not None and write.expected_revision is not None and len(key) <= KEY_BYTES_MAX // 4:
            # The usual write first, in few steps: its collection is /<root>/<resource>/.
            collection = key[: key.find("/", key.find("/", 1) + 1) + 1]
            if collection in prefixes and collection != key and len(value) <= value_bytes_max:
                size_bytes += len(value)
                continue
        if not prefix or not write.key.startswith(prefix):  # the next write is mostly of the same collection
            prefix = next((prefix for prefix in prefixes if write.key.startswith(prefix)), "")
        if not prefix:
            return InvalidQuery("key", f"{write.key!r} is in none of the collections")
        fault = check_write(write, prefix, value_bytes_max)
        if fault is None and (write.expected_revision is None or (write.value is None and not write.expected_revision)):
            fault = InvalidQuery("expected_revision", f"{write.key}: every write of a transaction says what it expects")
        if fault is not None:
            return fault
        size_bytes += len(write.value or b"")
    return TooLarge(writes[0].key, size_bytes, bytes_max) if size_bytes > bytes_max else None


def transaction_failure(writes: Sequence[Write], held: Sequence[Record | None]) -> StorageError | None:
    """Why a transaction cannot be, given what its keys hold: its first write whose expectation does not hold."""
    for write, record in zip(writes, held, strict=True):
        if (record.revision if record is not None else 0) == write.expected_revision:
            continue
        if write.value is None and record is None:
            return KeyNotFound(write.key)
        if write.expected_revision == 0 and record is not None:
            return KeyExists(write.key, record)
        return PreconditionFailed(write.key, record)
    return None


def spares_space(writes: Iterable[Write]) -> bool:
    """Afterwards the store holds less: something is deleted, and what is put replaces a record."""
    deletes = False
    for write in writes:
        if write.value is None:
            deletes = True
        elif not write.expected_revision:
            return False
    return deletes
