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
from services.rpc.lanes import Lane, Place, place_in
from services.rpc.status import StatusError, abort, bad_field, internal

_LOG = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
UnaryBehaviour = Callable[[bytes, Context], Awaitable[bytes]]
StreamBehaviour = Callable[[bytes, Context], Awaitable[None]]
OpeningBehaviour = Callable[[bytes, Context, Place], Awaitable[None]]
BidiBehaviour = Callable[[Any, Context], Awaitable[None]]
Translate = Callable[[Exception], StatusError | None]
"""Turns a room's own errors into a ``StatusError``; None: this is not one of them, it is a bug."""

Observe = Callable[[str, float], None]
"""Called with the name of the status code ("OK", "ABORTED", ...) and the call's duration in seconds."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def unary(behaviour: UnaryBehaviour, *, translate: Translate, observe: Observe, clock: Clock, lane: Lane) -> Handler:
    """bytes → bytes. To gRPC it is a stream of requests, so that the request is read only once ``lane`` has a place."""
    now = clock.monotonic

    async def call(_requests: Any, context: Context) -> bytes:
        started = now()
        if not lane.enter() and not await lane.wait():
            await _refuse(context, lane, observe)
        size_bytes = 0
        try:
            request = await _request(context, lane)
            size_bytes = len(request)
            response = await behaviour(request, context)
        except Exception as failure:
            error = _status_error(failure, translate)
            observe(error.code.name, now() - started)
            await abort(context, error)
            raise
        finally:
            lane.budget.give(size_bytes)
            lane.leave()
        observe("OK", now() - started)
        return response

    return grpc.stream_unary_rpc_method_handler(call)


def server_stream(
    behaviour: StreamBehaviour, *, translate: Translate, observe: Observe, clock: Clock, lane: Lane
) -> Handler:
    """bytes → a stream of bytes, which the behaviour writes to the context. It has its place in ``lane`` throughout."""

    async def placed(request: bytes, context: Context, _: Place) -> None:
        await behaviour(request, context)

    return placed_stream(placed, translate=translate, observe=observe, clock=clock, lane=lane)


def placed_stream(
    behaviour: OpeningBehaviour, *, translate: Translate, observe: Observe, clock: Clock, lane: Lane
) -> Handler:
    """As ``server_stream``, but the behaviour may leave its place while it has no use for it."""

    async def admitted(_requests: Any, context: Context) -> None:
        place = await place_in(lane)
        size_bytes = 0
        try:
            request = await _request(context, lane)
            size_bytes = len(request)
            await behaviour(request, context, place)
        finally:
            lane.budget.give(size_bytes)
            place.leave()

    return grpc.stream_stream_rpc_method_handler(_streaming(admitted, translate, observe, clock))


def opening_stream(
    behaviour: OpeningBehaviour, *, translate: Translate, observe: Observe, clock: Clock, lane: Lane
) -> Handler:
    """As ``server_stream``, but the behaviour leaves its place when it has begun, and lives on without one."""

    async def admitted(_requests: Any, context: Context) -> None:
        place = await place_in(lane)
        try:
            request = await _request(context, lane)
            lane.budget.give(len(request))  # it is parsed at once, and never large
            await behaviour(request, context, place)
        finally:
            place.leave()

    return grpc.stream_stream_rpc_method_handler(_streaming(admitted, translate, observe, clock))


def bidi_stream(behaviour: BidiBehaviour, *, translate: Translate, observe: Observe, clock: Clock) -> Handler:
    """A stream of bytes (an async iterator) → a stream of bytes, which the behaviour writes to the context."""
    return grpc.stream_stream_rpc_method_handler(_streaming(behaviour, translate, observe, clock))


async def _request(context: Context, lane: Lane) -> bytes:
    """The one request of a call, taken from the lane's budget. Raises ``StatusError``."""
    request = await lane.arrivals.read(context)
    if request is grpc.aio.EOF:
        raise bad_field("request", "the call brought no request")
    if not lane.budget.take(len(request)):
        lane.refused += 1
        raise lane.refusal()
    return bytes(request)


async def _refuse(context: Context, lane: Lane, observe: Observe) -> None:
    error = lane.refusal()
    observe(error.code.name, 0.0)
    await abort(context, error)


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
            if context.done() or _is_broken_send(failure):
                # The peer left while a message was on its way: there is nobody to tell.
                observe("CANCELLED", clock.monotonic() - started)
                return
            error = _status_error(failure, translate)
            observe(error.code.name, clock.monotonic() - started)
            await abort(context, error)
        else:
            observe("OK", clock.monotonic() - started)

    return call


def _is_broken_send(failure: BaseException) -> bool:
    """gRPC could not send a message. It may say so a moment before the call itself is known to be over."""
    if isinstance(failure, BaseExceptionGroup):
        return all(_is_broken_send(inner) for inner in failure.exceptions)
    return isinstance(failure, grpc.aio.InternalError)


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
