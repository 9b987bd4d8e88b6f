"""``python -m services.bench.echo --listen HOST:PORT``: a bare grpc.aio server, what the transport alone costs."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import grpc

from services.base.tasks import run_process

METHOD = "/ursa.bench.Echo/Call"


async def _echo(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    return request


async def serve(listen: str, stopping: asyncio.Event) -> None:
    """Answer every call with its request until ``stopping`` is set."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    service, _, name = METHOD[1:].partition("/")
    handlers: dict[str, Any] = {name: grpc.unary_unary_rpc_method_handler(_echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(listen)
    await server.start()
    await stopping.wait()
    await server.stop(None)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench-echo")
    parser.add_argument("--listen", required=True, metavar="HOST:PORT")
    listen: str = parser.parse_args().listen
    run_process(lambda stopping: serve(listen, stopping))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
