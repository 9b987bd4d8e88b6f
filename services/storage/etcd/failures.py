"""What a failed etcd call means for what was asked. Source of the texts: etcd ``api/v3rpc/rpctypes/error.go``."""

from __future__ import annotations

import enum

import grpc

from services.storage.errors import Expired, ResourceVersionTooLarge, StorageError, StorageFull, Unavailable


class Refusal(enum.Enum):
    """Why etcd took a transaction for impossible. In all these cases nothing of it was applied."""

    TOO_MANY_OPERATIONS = "too many operations"
    LEASE_NOT_FOUND = "lease not found"
    TOO_LARGE = "too large"
    NO_SPACE = "database space exceeded"
    BUSY = "too many requests"
    INVALID = "invalid"


_TEXTS = (
    ("too many operations", Refusal.TOO_MANY_OPERATIONS),
    ("lease not found", Refusal.LEASE_NOT_FOUND),
    ("request is too large", Refusal.TOO_LARGE),
    ("larger than max", Refusal.TOO_LARGE),
    ("database space exceeded", Refusal.NO_SPACE),
    ("too many requests", Refusal.BUSY),
)
_REFUSED = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.NOT_FOUND)


def refusal_of(failure: grpc.aio.AioRpcError) -> Refusal | None:
    """None: the outcome is unknown, the transaction may have been or may yet be applied."""
    if failure.code() not in _REFUSED:
        return None
    text = failure.details() or ""
    for part, refusal in _TEXTS:
        if part in text:
            return refusal
    return Refusal.INVALID


def read_failure(failure: grpc.aio.AioRpcError, revision: int = 0) -> StorageError:
    """The storage error for a failed read at ``revision`` (0: the most recent)."""
    text = failure.details() or ""
    if failure.code() is grpc.StatusCode.OUT_OF_RANGE:
        if "compacted" in text:
            return Expired(revision, revision + 1)
        return ResourceVersionTooLarge(revision, 0)
    return unavailable(failure)


def unavailable(failure: grpc.aio.AioRpcError) -> Unavailable:
    """The storage error for a call that came to nothing."""
    text = failure.details() or ""
    if refusal_of(failure) is Refusal.NO_SPACE:
        return StorageFull(text)
    return Unavailable(f"etcd: {failure.code().name}: {text}")
