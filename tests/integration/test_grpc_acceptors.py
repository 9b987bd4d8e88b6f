"""What is urgent is accepted before what came earlier, on the same connection too: gRPC itself knows no lanes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc

from services.rpc.channel import make_channel
from services.rpc.server import Server

_STORM = 1_000
_SERVICE = "ursa.test.Storm"


async def _storm_then_urgent(urgent: tuple[str, ...]) -> int:
    """How many calls of a storm were accepted before the urgent one, which was sent after all of them."""
    accepted = 0
    ahead: list[int] = []

    async def bulk(_request: bytes, _context: Any) -> bytes:
        nonlocal accepted
        accepted += 1
        return b""

    async def renew(_request: bytes, _context: Any) -> bytes:
        ahead.append(accepted)
        return b""

    server = Server("127.0.0.1:0")
    table = {"Bulk": grpc.unary_unary_rpc_method_handler(bulk), "Renew": grpc.unary_unary_rpc_method_handler(renew)}
    server.add(_SERVICE, table, urgent)
    await server.start()
    channel = make_channel([f"127.0.0.1:{server.port}"])
    try:
        await channel.channel_ready()
        method: Any = channel.unary_unary(f"/{_SERVICE}/Bulk")
        storm = [asyncio.ensure_future(method(b"", timeout=30)) for _ in range(_STORM)]
        late = asyncio.ensure_future(channel.unary_unary(f"/{_SERVICE}/Renew")(b"", timeout=30))
        # Client and server share one loop. All calls are sent, and gRPC's threads take them in while nobody accepts
        # any: what is asked here is what is accepted first of that which has arrived.
        await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251
        await late
        await asyncio.gather(*storm)
    finally:
        await channel.close()
        await server.stop(0)
    assert accepted == _STORM
    return ahead[0]


async def test_an_urgent_call_overtakes_a_storm_on_its_own_connection() -> None:
    assert await _storm_then_urgent(("Renew",)) < _STORM // 10


async def test_without_it_the_storm_goes_first() -> None:
    assert await _storm_then_urgent(()) > _STORM // 2
