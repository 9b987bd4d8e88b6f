"""One call: errors are always ``StatusError``, the trace context travels only when it is sampled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc

from services.base import telemetry
from services.rpc import methods
from services.rpc.status import StatusError, from_rpc_error, unavailable

Metadata = tuple[tuple[str, str], ...]

# Codes after which the same request may be sent again: the server did not refuse it, it could not answer.
RETRYABLE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
    }
)


def is_retryable(error: StatusError) -> bool:
    """May the same idempotent request succeed later? False for a definite refusal (NotFound, Conflict, Invalid, …)."""
    return error.code in RETRYABLE


def trace_metadata() -> Metadata | None:
    """The W3C context of the current span, if it is sampled."""
    traceparent = telemetry.current_traceparent()
    return ((methods.TRACEPARENT, traceparent),) if traceparent else None


async def unary(method: Any, request: Any, timeout_s: float) -> Any:
    """The answer to ``request``. Raises ``StatusError``; ``CancelledError`` only when this task is cancelled."""
    try:
        return await method(request, timeout=timeout_s, metadata=trace_metadata())
    except grpc.aio.AioRpcError as failure:
        raise from_rpc_error(failure) from failure
    except grpc.aio.UsageError as failure:
        raise unavailable("the connection was closed") from failure
    except asyncio.CancelledError:
        raise _cancellation() from None


async def parts(method: Any, request: Any, timeout_s: float | None) -> AsyncGenerator[Any, None]:
    """The messages of a server stream. Raises as ``unary`` does."""
    try:
        async for part in method(request, timeout=timeout_s, metadata=trace_metadata()):
            yield part
    except grpc.aio.AioRpcError as failure:
        raise from_rpc_error(failure) from failure
    except grpc.aio.UsageError as failure:
        raise unavailable("the connection was closed") from failure
    except asyncio.CancelledError:
        raise _cancellation() from None


def _cancellation() -> BaseException:
    # grpc.aio cancels the calls of a channel that is closed, and with them the tasks that await them; a task that
    # nobody asked to stop must see an error that it can handle, not a cancellation that would end it silently.
    task = asyncio.current_task()
    if task is not None and task.cancelling() == 0:
        return unavailable("the connection was closed")
    return asyncio.CancelledError()
