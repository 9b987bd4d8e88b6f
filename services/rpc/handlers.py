"""Method handlers: one wrapper around every call, in place of interceptors (each costs a unary call about 20 µs).

A behaviour takes the request's bytes and gives (or writes) bytes; whatever it raises becomes a status here, and an
observer hears of the outcome.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from services.base.clock import Clock
from services.rpc.status import StatusError, abort, internal

_LOG = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
UnaryBehaviour = Callable[[bytes, Context], Awaitable[bytes]]
StreamBehaviour = Callable[[bytes, Context], Awaitable[None]]
BidiBehaviour = Callable[[Any, Context], Awaitable[None]]
Translate = Callable[[Exception], StatusError | None]
"""Turns a room's own errors into a ``StatusError``; None: this is not one of them, it is a bug."""

Observe = Callable[[str, float], None]
"""Called with the name of the status code ("OK", "ABORTED", ...) and the call's duration in seconds."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def unary(behaviour: UnaryBehaviour, *, translate: Translate, observe: Observe, clock: Clock) -> Handler:
    """bytes → bytes."""
    now = clock.monotonic

    async def call(request: bytes, context: Context) -> bytes:
        started = now()
        try:
            response = await behaviour(request, context)
        except Exception as failure:
            error = _status_error(failure, translate)
            observe(error.code.name, now() - started)
            await abort(context, error)
            raise
        observe("OK", now() - started)
        return response

    return grpc.unary_unary_rpc_method_handler(call)


def server_stream(behaviour: StreamBehaviour, *, translate: Translate, observe: Observe, clock: Clock) -> Handler:
    """bytes → a stream of bytes, which the behaviour writes to the context."""
    return grpc.unary_stream_rpc_method_handler(_streaming(behaviour, translate, observe, clock))


def bidi_stream(behaviour: BidiBehaviour, *, translate: Translate, observe: Observe, clock: Clock) -> Handler:
    """A stream of bytes (an async iterator) → a stream of bytes, which the behaviour writes to the context."""
    return grpc.stream_stream_rpc_method_handler(_streaming(behaviour, translate, observe, clock))


def _streaming(
    behaviour: Callable[[Any, Context], Awaitable[None]], translate: Translate, observe: Observe, clock: Clock
) -> Callable[[Any, Context], Awaitable[None]]:
    async def call(request: Any, context: Context) -> None:
        started = clock.monotonic()
        try:
            await behaviour(request, context)
        except asyncio.CancelledError:
            observe("CANCELLED", clock.monotonic() - started)
            raise
        except Exception as failure:
            if context.done():
                # The peer left while a message was on its way: there is nobody to tell.
                observe("CANCELLED", clock.monotonic() - started)
                return
            error = _status_error(failure, translate)
            observe(error.code.name, clock.monotonic() - started)
            await abort(context, error)
        else:
            observe("OK", clock.monotonic() - started)

    return call


def _status_error(failure: Exception, translate: Translate) -> StatusError:
    if isinstance(failure, StatusError):
        return failure
    if isinstance(failure, ExceptionGroup) and len(failure.exceptions) == 1:
        return _status_error(failure.exceptions[0], translate)
    error = translate(failure)
    if error is None:
        _LOG.error("a request failed on a bug", exc_info=failure)
        return internal(f"internal error: {type(failure).__name__}: {failure}")
    return error
