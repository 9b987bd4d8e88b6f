"""Several endpoints over real sockets: one that starts late, one that is nobody's name, one that goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from services.rpc.channel import make_channel
from tests.support.etcd import free_port

PORTS = range(17_900, 18_000)
PATH = "/test.Names/Tell"


class _Names(grpc.GenericRpcHandler):
    def __init__(self, name: bytes) -> None:
        self._name = name

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._tell)

    async def _tell(self, request: bytes, context: Any) -> bytes:
        return self._name


@contextlib.asynccontextmanager
async def serving(name: bytes, port: int) -> AsyncIterator[None]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Names(name),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


async def answers(channel: grpc.aio.Channel, wanted: set[bytes], tell: Any = None) -> None:
    """Call until ``wanted``, and no other, have answered in turn; failures do not matter."""
    tell = tell or channel.unary_unary(PATH)
    async with asyncio.timeout(20):
        found: list[bytes] = []
        while set(found[-4:]) != wanted or len(found) < 4:
            try:
                found.append(await tell(b"", timeout=2.0))
            except grpc.aio.AioRpcError:
                found.clear()
            await asyncio.sleep(0.02)


async def test_a_server_that_starts_late_is_found_and_one_that_goes_is_left() -> None:
    early, late = free_port(PORTS), free_port(PORTS)
    async with serving(b"early", early), make_channel([f"127.0.0.1:{late}", f"127.0.0.1:{early}"]) as channel:
        tell = channel.unary_unary(PATH)
        await answers(channel, {b"early"}, tell)
        async with serving(b"late", late):
            await answers(channel, {b"early", b"late"}, tell)
        await answers(channel, {b"early"}, tell)


async def test_a_name_that_does_not_resolve_is_named_and_does_not_matter(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port(PORTS)
    async with serving(b"here", port), make_channel(["nowhere.invalid:1", f"localhost:{port}"]) as channel:
        async with asyncio.timeout(20):
            await channel.channel_ready()
            while "endpoint nowhere.invalid:1 cannot be reached" not in caplog.text:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await channel.unary_unary(PATH)(b"", timeout=2.0)
        await answers(channel, {b"here"})


async def test_it_is_ready_once_one_is_and_no_longer_when_closed() -> None:
    port, other = free_port(PORTS), free_port(PORTS)
    channel = make_channel([f"127.0.0.1:{other}", f"127.0.0.1:{port}"])
    waiting = asyncio.create_task(channel.channel_ready())
    async with serving(b"here", port), asyncio.timeout(20):
        await waiting
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        await channel.close()
    assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
    with pytest.raises(grpc.aio.UsageError):
        await channel.channel_ready()
