"""Errors of storage, selectors and keys as statuses: the one table (SEMANTICS.md, Errors)."""

from __future__ import annotations

import grpc

from services.api.keys import InvalidKey
from services.api.kinds import Kind
from services.api.selectors import SelectorError
from services.rpc import status
from services.rpc.status import StatusError, Violation
from services.storage import errors as storage


def translate(kind: Kind | None, failure: Exception) -> StatusError | None:
    """What the client is told of ``failure``; None: it is no error of storage's or of the request, but a bug."""
    match failure:
        case StatusError():
            return failure
        case storage.KeyNotFound():
            return status.not_found(_resource(kind), _name(failure.key))
        case storage.KeyExists():
            return status.already_exists(_resource(kind), _name(failure.key))
        case storage.PreconditionFailed(record=record):
            return status.conflict(
                _resource(kind),
                _name(failure.key),
                "the object has been modified; please apply your changes to the latest version and try again",
                current_rv=record.revision if record else None,
            )
        case storage.InvalidQuery():
            return status.bad_field(_REQUEST_FIELDS.get(failure.field, failure.field), failure.message)
        case storage.HistoryReplaced():
            return status.expired(str(failure), metadata={"oldestResourceVersion": str(failure.oldest)})
        case storage.Expired():
            return status.expired(
                f"the resource version {failure.revision} is too old; the oldest kept is {failure.oldest}",
                metadata={"oldestResourceVersion": str(failure.oldest)},
            )
        case storage.ResourceVersionTooLarge():
            return StatusError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                "ResourceVersionTooLarge",
                f"too large resource version: {failure.revision}, current: {failure.current}",
                metadata={"resourceVersion": str(failure.current)},
                retry_after_s=failure.retry_after_s,
            )
        case storage.TooLarge():
            return too_large("object", failure.size_bytes, failure.limit_bytes)
        case storage.TooManyWrites():
            return status.resource_exhausted("TooManyWrites", str(failure), retry_after_s=0.0)
        case storage.QueueFull():
            return status.resource_exhausted("TooManyRequests", str(failure), retry_after_s=failure.retry_after_s)
        case storage.StorageFull():
            # etcd's own code for it; "unavailable" would say that trying again soon is worth while.
            return status.resource_exhausted("StorageFull", str(failure), retry_after_s=failure.retry_after_s)
        case storage.Unavailable():
            return status.unavailable(str(failure), retry_after_s=failure.retry_after_s)
        case storage.OutcomeUnknown():
            return StatusError(grpc.StatusCode.UNKNOWN, "OutcomeUnknown", str(failure))
        case storage.Undecodable():
            return status.internal(str(failure))
        case storage.SlowWatcher():
            return StatusError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "SlowWatcher",
                str(failure),
                metadata={"resourceVersion": str(failure.resume_revision)},
                retry_after_s=0.0,
            )
        case SelectorError():
            return status.bad_field(failure.field, failure.message)
        case InvalidKey():
            return status.bad_field("name", str(failure))
        case _:
            return None


def too_large(field: str, size_bytes: int, limit_bytes: int) -> StatusError:
    """``field`` ("object", "request") holds more bytes than the API takes."""
    message = f"{field} is {size_bytes} bytes, the limit is {limit_bytes} bytes"
    return StatusError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "RequestEntityTooLarge",
        message,
        violations=(Violation(field, message),),
        metadata={"limitBytes": str(limit_bytes)},
    )


# The names that storage's queries give to fields of requests.
_REQUEST_FIELDS = {
    "revision": "resource_version",
    "match": "resource_version_match",
    "start_key": "continue",
    "initial_events": "send_initial_events",
}


def _resource(kind: Kind | None) -> str:
    return kind.resource if kind else "objects"


def _name(key: str) -> str:
    return key.rsplit("/", 1)[-1]
