"""Errors on the wire: ``StatusError`` and its translation to and from ``google.rpc.Status``.

Reasons are Kubernetes' (apimachinery ``meta/v1`` StatusReason); codes and details follow google.aip.dev/193:
``BadRequest`` carries field violations, ``ErrorInfo`` the reason and its metadata, ``RetryInfo`` when to try again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "ursa.io"
DETAILS_KEY = "grpc-status-details-bin"
WATCH_ENDED = "WatchEnded"

# gRPC carries a status in HTTP/2 trailers, which peers cap at 8 KiB (soft limit); leave room for other metadata.
_DETAILS_BYTES_MAX = 5 * 1024
_MESSAGE_CHARACTERS_MAX = 1024

_CODES = {code.value[0]: code for code in grpc.StatusCode}

# What a status without ErrorInfo means: one raised by gRPC itself (connection lost, deadline, message too large).
_REASONS_OF_CODES = {
    grpc.StatusCode.CANCELLED: "Cancelled",
    grpc.StatusCode.INVALID_ARGUMENT: "Invalid",
    grpc.StatusCode.DEADLINE_EXCEEDED: "Timeout",
    grpc.StatusCode.NOT_FOUND: "NotFound",
    grpc.StatusCode.ALREADY_EXISTS: "AlreadyExists",
    grpc.StatusCode.PERMISSION_DENIED: "Forbidden",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "RequestEntityTooLarge",
    grpc.StatusCode.FAILED_PRECONDITION: "FailedPrecondition",
    grpc.StatusCode.ABORTED: "Conflict",
    grpc.StatusCode.OUT_OF_RANGE: "Expired",
    grpc.StatusCode.UNIMPLEMENTED: "MethodNotAllowed",
    grpc.StatusCode.UNAVAILABLE: "ServiceUnavailable",
    grpc.StatusCode.UNAUTHENTICATED: "Unauthorized",
}


class Violation(NamedTuple):
    """One field that is wrong: its path ("spec.containers[0].image") and why."""

    field: str
    description: str


class StatusError(Exception):
    """A refusal or failure with everything that the other side is told about it.

    ``reason`` is Kubernetes' StatusReason; ``metadata`` holds facts by name (``resourceVersion``, ``partition``, ...);
    ``retry_after_s`` is set when trying again later may succeed.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        violations: Sequence[Violation] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"StatusError({self.code.name}, {self.reason}, {self.message!r})"

    def to_status(self) -> status_pb2.Status:
        """The ``google.rpc.Status``; violations beyond what trailers can carry are left out and counted."""
        status = status_pb2.Status(code=self.code.value[0], message=_clip(self.message, _MESSAGE_CHARACTERS_MAX))
        metadata = {_sendable(name): _sendable(value) for name, value in self.metadata.items()}
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=metadata)
        status.details.append(_pack(info))
        if self.retry_after_s is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromNanoseconds(max(0, round(self.retry_after_s * 1e9)))
            status.details.append(_pack(retry))
        if self.violations:
            status.details.append(_pack(_bad_request(self.violations)))
        return status

    @property
    def current_rv(self) -> int | None:
        """A Conflict's current resource version, if the server said it."""
        text = self.metadata.get("resourceVersion", "")
        return int(text) if text.isdecimal() else None


def from_status(status: status_pb2.Status) -> StatusError:
    """The error that ``status`` tells of; the inverse of ``StatusError.to_status``."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    reason = _REASONS_OF_CODES.get(code, "InternalError")
    metadata: dict[str, str] = {}
    violations: list[Violation] = []
    retry_after_s: float | None = None
    for detail in status.details:
        info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason, metadata = info.reason or reason, dict(info.metadata)
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
        elif detail.Unpack(bad):
            violations += [Violation(item.field, item.description) for item in bad.field_violations]
    return StatusError(
        code, reason, status.message, violations=violations, metadata=metadata, retry_after_s=retry_after_s
    )


def from_rpc_error(error: grpc.aio.AioRpcError) -> StatusError:
    """The error behind a failed call; errors that gRPC raised by itself get the reason that fits their code."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return from_status(status_pb2.Status.FromString(value))
    code = error.code()
    # Connection lost and the like: worth a retry, though no server said when.
    retry_after_s = 1.0 if code is grpc.StatusCode.UNAVAILABLE else None
    return StatusError(
        code, _REASONS_OF_CODES.get(code, "InternalError"), error.details() or code.name, retry_after_s=retry_after_s
    )


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: StatusError) -> None:
    """End the call of ``context`` with ``error`` and its details. Raises (gRPC's own way of leaving a handler)."""
    status = error.to_status()
    await context.abort(error.code, status.message, ((DETAILS_KEY, status.SerializeToString()),))


def not_found(kind: str, name: str) -> StatusError:
    """``kind`` and ``name`` as the person wrote them: ``not_found("pods", "web-1")``."""
    return StatusError(
        grpc.StatusCode.NOT_FOUND, "NotFound", f'{kind} "{name}" not found', metadata={"kind": kind, "name": name}
    )


def already_exists(kind: str, name: str) -> StatusError:
    return StatusError(
        grpc.StatusCode.ALREADY_EXISTS,
        "AlreadyExists",
        f'{kind} "{name}" already exists',
        metadata={"kind": kind, "name": name},
    )


def conflict(kind: str, name: str, message: str, *, current_rv: int | None = None) -> StatusError:
    """A precondition failed. ``current_rv``: what the object is at now; None: it is gone."""
    metadata = {"kind": kind, "name": name}
    if current_rv is not None:
        metadata["resourceVersion"] = str(current_rv)
    return StatusError(
        grpc.StatusCode.ABORTED,
        "Conflict",
        f'operation cannot be fulfilled on {kind} "{name}": {message}',
        metadata=metadata,
    )


def invalid(violations: Sequence[Violation], *, subject: str = "") -> StatusError:
    """``subject`` is what is invalid ('pods "web-1"'); the message lists the first violations."""
    shown = "; ".join(f"{field}: {description}" if field else description for field, description in violations[:5])
    more = f" (and {len(violations) - 5} more)" if len(violations) > 5 else ""
    message = f"{subject} is invalid: {shown}{more}" if subject else f"{shown}{more}"
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, "Invalid", message, violations=violations)


def bad_field(field: str, description: str) -> StatusError:
    """One wrong field of a request."""
    return StatusError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "BadRequest",
        f"{field}: {description}",
        violations=(Violation(field, description),),
    )


def forbidden(message: str, *, metadata: Mapping[str, str] | None = None) -> StatusError:
    return StatusError(grpc.StatusCode.PERMISSION_DENIED, "Forbidden", message, metadata=metadata)


def expired(message: str, *, metadata: Mapping[str, str] | None = None) -> StatusError:
    return StatusError(grpc.StatusCode.OUT_OF_RANGE, "Expired", message, metadata=metadata)


def resource_exhausted(reason: str, message: str, *, retry_after_s: float | None = None) -> StatusError:
    """``reason``: RequestEntityTooLarge, TooManyRequests, SlowWatcher."""
    return StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, message, retry_after_s=retry_after_s)


def unavailable(message: str, *, retry_after_s: float = 1.0) -> StatusError:
    return StatusError(grpc.StatusCode.UNAVAILABLE, "ServiceUnavailable", message, retry_after_s=retry_after_s)


def watch_ended() -> StatusError:
    """A watch has come to its end without a fault (``timeout_seconds``, or the server's own limit)."""
    return StatusError(grpc.StatusCode.UNAVAILABLE, WATCH_ENDED, "the server ended the watch", retry_after_s=0.0)


def internal(message: str) -> StatusError:
    return StatusError(grpc.StatusCode.INTERNAL, "InternalError", message)


def wrong_partition(tenant: str, right: str, endpoint: str) -> StatusError:
    """``tenant`` lives on partition ``right``, reached at ``endpoint`` ("" if this server does not know it)."""
    where = f" ({endpoint})" if endpoint else ""
    return StatusError(
        grpc.StatusCode.FAILED_PRECONDITION,
        "WrongPartition",
        f'tenant "{tenant}" lives on tenant partition "{right}"{where}: ask there',
        metadata={"tenant": tenant, "partition": right, "endpoint": endpoint},
    )


def _pack(message: Any) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def _bad_request(violations: Sequence[Violation]) -> Any:
    bad = error_details_pb2.BadRequest()
    size = 0
    for position, (field, description) in enumerate(violations):
        field, description = _clip(field, 256), _clip(description, 512)
        size += len(field.encode()) + len(description.encode()) + 8
        if position and size > _DETAILS_BYTES_MAX - _MESSAGE_CHARACTERS_MAX:
            bad.field_violations.add(field="", description=f"and {len(violations) - position} more")
            break
        bad.field_violations.add(field=field, description=description)
    return bad


def _clip(text: str, characters: int) -> str:
    return _sendable(text if len(text) <= characters else text[: characters - 1] + "…")


def _sendable(text: str) -> str:
    # Messages quote what they refuse, and that may be no text: half a surrogate pair has no encoding.
    return text if text.isascii() else text.encode(errors="replace").decode()
