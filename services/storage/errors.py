"""What storage can refuse or fail to do.

StorageError
├── KeyNotFound            the key holds nothing
├── KeyExists              a create found the key taken
├── PreconditionFailed     the key changed since the caller read it; carries the current record
├── InvalidQuery           the query contradicts itself; names the field
├── Expired                the revision is older than the oldest kept (compacted, or below the window)
│   └── HistoryReplaced    the store was restored from a backup: what was read before may never have happened
├── ResourceVersionTooLarge the revision is ahead of the store; try again shortly
├── TooLarge               one item exceeds the size limit
├── TooManyWrites          a transaction has more writes than the store takes at once; make smaller ones
├── QueueFull              a bounded queue is full; try again after ``retry_after_s``
├── Unavailable            the back end cannot be reached or the cache is initialising; nothing was written
│   ├── StorageFull        the store has no space left: only deletions are taken
│   └── LeaseNotFound      the etcd lease that was to own the key is gone: try again with a new one
├── OutcomeUnknown         a write may or may not have happened, and re-reading could not tell
└── SlowWatcher            a watch fell out of the window; resume at ``resume_revision``
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.storage.interface import Record


class StorageError(Exception):
    """Base of all storage errors."""


class KeyNotFound(StorageError):
    def __init__(self, key: str) -> None:
        super().__init__(f"{key}: not found")
        self.key = key


class KeyExists(StorageError):
    def __init__(self, key: str, record: Record | None = None) -> None:
        super().__init__(f"{key}: exists")
        self.key = key
        self.record = record


class PreconditionFailed(StorageError):
    """``record`` is what the key holds now; None: the key holds nothing."""

    def __init__(self, key: str, record: Record | None) -> None:
        super().__init__(f"{key}: changed, now at revision {record.revision if record else 'none (deleted)'}")
        self.key = key
        self.record = record


class InvalidQuery(StorageError):
    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class Expired(StorageError):
    """``continue_key``, if set: a list may go on from here at the most recent revision (an inconsistent token)."""

    def __init__(self, revision: int, oldest: int, continue_key: str = "") -> None:
        super().__init__(f"revision {revision} is too old: the oldest kept is {oldest}")
        self.revision = revision
        self.oldest = oldest
        self.continue_key = continue_key


class HistoryReplaced(Expired):
    """Every position before this moment is void, whatever its number."""

    def __str__(self) -> str:
        return (
            f"the store's history was replaced (restored from a backup): revision {self.revision} is not what it was; "
            "list again"
        )


class ResourceVersionTooLarge(StorageError):
    def __init__(self, revision: int, current: int) -> None:
        super().__init__(f"revision {revision} is ahead of the current revision {current}")
        self.revision = revision
        self.current = current
        self.retry_after_s = 1.0


class TooLarge(StorageError):
    def __init__(self, key: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"{key}: {size_bytes} bytes, the limit is {limit_bytes}")
        self.key = key
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class TooManyWrites(StorageError):
    def __init__(self, writes: int, limit: int) -> None:
        super().__init__(f"{writes} writes in one transaction, the limit is {limit}")
        self.writes = writes
        self.limit = limit


class QueueFull(StorageError):
    def __init__(self, what: str, retry_after_s: float = 1.0) -> None:
        super().__init__(f"{what} is full")
        self.retry_after_s = retry_after_s


class Unavailable(StorageError):
    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StorageFull(Unavailable):
    def __init__(self, message: str) -> None:
        super().__init__(f"no space left: {message}; only deletions are taken", retry_after_s=10.0)


class LeaseNotFound(Unavailable):
    def __init__(self, key: str, lease_id: int) -> None:
        super().__init__(f"{key}: lease {lease_id} does not exist")
        self.key = key
        self.lease_id = lease_id


class OutcomeUnknown(StorageError):
    def __init__(self, key: str, cause: str) -> None:
        super().__init__(f"{key}: the write may or may not have happened: {cause}")
        self.key = key


class Undecodable(StorageError):
    """What is stored is no object of its kind: somebody else has written it, or it was damaged."""

    def __init__(self, key: str, revision: int) -> None:
        super().__init__(f"{key}@{revision}: what is stored there cannot be read")
        self.key = key


class SlowWatcher(StorageError):
    def __init__(self, resume_revision: int) -> None:
        super().__init__(f"the watch fell out of the window; resume at revision {resume_revision}")
        self.resume_revision = resume_revision
