"""The link that fails on demand: what passes, waits, vanishes or breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.bench.link import Link
from tests.robustness.ports import port_block


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """A link to a server that echoes."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            writer.write(data)
        writer.close()

    with port_block() as ports:
        target = ports.take()
        async with await asyncio.start_server(echo, "127.0.0.1", target), Link(ports.take(), target) as link:
            yield link


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def echoes(self, text: bytes, within_s: float = 5.0) -> bytes:
        self.writer.write(text)
        return await asyncio.wait_for(self.reader.readexactly(len(text)), within_s)


async def connect(link: Link) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", link.port))


async def test_passes_bytes_both_ways(link: Link) -> None:
    assert await (await connect(link)).echoes(b"hello") == b"hello"


async def test_cut_resets_connections_and_takes_new_ones(link: Link) -> None:
    client = await connect(link)
    await client.echoes(b"hello")

    link.cut()

    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await client.echoes(b"again")
    assert await (await connect(link)).echoes(b"hello") == b"hello"


async def test_severed_takes_no_connection_until_healed(link: Link) -> None:
    link.sever()

    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await (await connect(link)).echoes(b"hello")
    link.heal()
    assert await (await connect(link)).echoes(b"hello") == b"hello"


async def test_stalled_bytes_wait_and_arrive(link: Link) -> None:
    client = await connect(link)
    await client.echoes(b"hello")

    link.stall()
    with pytest.raises(TimeoutError):
        await client.echoes(b"first", within_s=0.1)
    link.heal()

    assert await asyncio.wait_for(client.reader.readexactly(5), 5.0) == b"first"


@pytest.mark.parametrize("requests", [True, False])
async def test_lost_bytes_never_arrive_and_healing_resets(link: Link, requests: bool) -> None:
    client = await connect(link)
    await client.echoes(b"hello")

    link.lose(requests=requests)
    with pytest.raises(TimeoutError):
        await client.echoes(b"lost", within_s=0.1)
    link.heal()

    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await client.echoes(b"again")
    assert await (await connect(link)).echoes(b"hello") == b"hello"
