"""What a kubelet process serves itself: one gRPC server at ``listen``, with the services that are given to it.

Nobody is asked who they are: whoever reaches the port may read the logs of every pod here (and disturb hollow nodes),
so it belongs on loopback or on a network of the cluster's own; with ``[tls]`` and ``client_ca_file`` it lets only
holders of a client certificate in.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from services.kubelet import metrics
from services.rpc.credentials import TlsConfig
from services.rpc.server import Server
from services.rpc.status import StatusError, abort, bad_field

STOP_GRACE_S = 0.5

Context = grpc.aio.ServicerContext[Any, Any]
Handlers = Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]


def unary(method: str, request: type[Any], answer: Callable[[Any], Awaitable[Any]]) -> Any:
    """A method that takes and gives one message. ``answer`` may raise ``StatusError``."""

    async def call(data: bytes, context: Context) -> bytes:
        try:
            response = await answer(_parse(request, data))
        except StatusError as error:
            _count(method, error)
            await abort(context, error)
            raise
        _count(method, None)
        return bytes(response.SerializeToString())

    return grpc.unary_unary_rpc_method_handler(call)


def stream(method: str, request: type[Any], answer: Callable[[Any], AsyncIterator[Any]]) -> Any:
    """A method that takes one message and gives any number. ``answer`` may raise ``StatusError``."""

    async def call(data: bytes, context: Context) -> None:
        try:
            async with contextlib.aclosing(answer(_parse(request, data))) as parts:  # type: ignore[type-var]
                async for part in parts:
                    await context.write(part.SerializeToString())
        except StatusError as error:
            _count(method, error)
            await abort(context, error)
            raise
        _count(method, None)

    return grpc.unary_stream_rpc_method_handler(call)


@contextlib.asynccontextmanager
async def serving(listen: str, services: Mapping[str, Handlers], tls: TlsConfig | None = None) -> AsyncIterator[int]:
    """Serve ``services`` (handlers by method name, by service name) inside the block; its port, 0 without ``listen``.

    Raises ``OSError`` when the address is taken.
    """
    if not listen:
        yield 0
        return
    server = Server(listen, tls=tls)
    for name, handlers in services.items():
        server.add(name, handlers)
    await server.start()
    await server.set_ready(True)
    try:
        yield server.port
    finally:
        await server.stop(STOP_GRACE_S)


def _parse(request: type[Any], data: bytes) -> Any:
    try:
        return request.FromString(data)
    except DecodeError as failure:
        raise bad_field("request", f"is no {request.DESCRIPTOR.full_name}: {failure}") from failure


def _count(method: str, error: StatusError | None) -> None:
    metrics.SERVED.labels(method, "OK" if error is None else error.code.name).inc()
