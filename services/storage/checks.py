"""What is refused before a write is queued or applied."""

from __future__ import annotations

from collections.abc import Sequence

from services.storage.errors import InvalidQuery, StorageError, TooLarge
from services.storage.interface import Write

VALUE_BYTES_MAX = 1 << 20
KEY_BYTES_MAX = 1024


def check_write(write: Write, prefix: str, value_bytes_max: int = VALUE_BYTES_MAX) -> StorageError | None:
    """None if the write may be tried: its key lies in the collection and its value is not too large."""
    if not write.key.startswith(prefix) or len(write.key) <= len(prefix):
        return InvalidQuery("key", f"{write.key!r} is not below {prefix}")
    if len(write.key.encode()) > KEY_BYTES_MAX:
        return TooLarge(write.key, len(write.key.encode()), KEY_BYTES_MAX)
    if write.value is not None and len(write.value) > value_bytes_max:
        return TooLarge(write.key, len(write.value), value_bytes_max)
    return None


def check_distinct(writes: Sequence[Write]) -> None:
    """Raises ``InvalidQuery`` if a key occurs twice: items of one batch have no order among them."""
    if len({write.key for write in writes}) != len(writes):
        raise InvalidQuery("key", "the keys of one batch must differ")
