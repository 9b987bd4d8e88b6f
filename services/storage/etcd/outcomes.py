"""From etcd's answer about one write, or one transaction of several, to its outcome. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.storage.checks import transaction_failure
from services.storage.errors import KeyExists, KeyNotFound, PreconditionFailed, StorageError
from services.storage.etcd import frames
from services.storage.etcd.lanes import Joint, Pending, PendingTransaction
from services.storage.interface import Lane, Record, Write


class TryAgain(Exception):
    """An unconditional write met a record it did not suppose; it goes again, supposing ``revision``."""

    def __init__(self, revision: int) -> None:
        super().__init__(revision)
        self.revision = revision


def operation(pending: Pending) -> bytes:
    """The nested transaction of one item, framed.

    A heartbeat's does not say what to read if it is refused: few are, and a third of the log would be these reads.
    """
    if isinstance(pending, PendingTransaction):
        return frames.conditional_all(
            [
                (key, write.expected_revision or 0, write.value, write.lease_id)
                for key, write in zip(pending.keys, pending.writes, strict=True)
            ]
        )
    write = pending.write
    if write.value is None:
        return frames.conditional_delete(pending.key, pending.expected)
    if write.lane is Lane.HEARTBEAT:
        return frames.conditional_all(((pending.key, pending.expected, write.value, write.lease_id),))
    return frames.conditional_put(pending.key, pending.expected, write.value, write.lease_id)


def record_of(kv: Any) -> Record:
    return Record(kv.key.decode(), kv.value, kv.mod_revision)


def stored(pending: PendingTransaction, revision: int) -> Joint:
    """What the keys of a transaction hold that happened at ``revision``."""
    return tuple(
        [Record(write.key, write.value, revision) if write.value is not None else None for write in pending.writes]
    )


def joint_failure(writes: Sequence[Write], held: Sequence[Record | None]) -> StorageError:
    """``held``: what the keys of a transaction held that was refused."""
    failure = transaction_failure(writes, held)
    assert failure is not None, "etcd refused a transaction whose expectations all hold"
    return failure


def outcome(pending: Pending, succeeded: bool, current: Record | None, revision: int) -> Record | Exception | None:
    """``current``: what the key held if the comparison failed. ``revision``: the transaction's.

    Raises ``TryAgain``.
    """
    write = pending.write
    if succeeded:
        if write.value is not None:
            return Record(write.key, write.value, revision)
        return None if pending.expected else KeyNotFound(write.key)
    if write.expected_revision is None:
        return _reconsider(write.key, write.value is None, current)
    if write.value is None and current is None:
        return KeyNotFound(write.key)
    if write.expected_revision == 0 and current is not None:
        return KeyExists(write.key, current)
    return PreconditionFailed(write.key, current)


def _reconsider(key: str, deletes: bool, current: Record | None) -> Exception:
    if current is None and deletes:
        return KeyNotFound(key)
    raise TryAgain(current.revision if current is not None else 0)
