"""A peer that vanishes without a word is noticed by keepalive, not by TCP, which would take many minutes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from services.api.kinds import NODES
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.informer import Informer
from services.client.partitions import Connection
from tests.support.fake_partition import FakePartition, serve

NOTICED_S = 17.0


@contextlib.asynccontextmanager
async def proxy(target: str, silent: asyncio.Event) -> AsyncIterator[str]:
    """Forwards bytes to ``target`` until ``silent`` is set, then swallows them; connections stay open."""
    host, _, port = target.rpartition(":")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if not silent.is_set():
                    writer.write(data)
                    await writer.drain()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        accepted.extend((writer, far_writer))
        pumps.create_task(pump(reader, far_writer))
        pumps.create_task(pump(far_reader, writer))

    accepted: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with asyncio.TaskGroup() as pumps:
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for writer in accepted:
                writer.close()


async def test_a_silent_peer_is_noticed_within_seconds() -> None:
    silent = asyncio.Event()
    async with serve(FakePartition("rp-1")) as endpoint, proxy(endpoint, silent) as address, Supervisor() as tasks:
        connection = Connection("rp-1", [address], SystemClock(), Rand(1))
        tasks.start(connection.run(), name="connection")
        lost = asyncio.Event()
        informer = Informer[Any](connection.mux, NODES, on_state=lambda i: i.connected or lost.set()).start()
        await asyncio.wait_for(informer.synced.wait(), 10)
        silent.set()
        began = time.monotonic()
        await asyncio.wait_for(lost.wait(), NOTICED_S)
        assert time.monotonic() - began < NOTICED_S
        informer.close()
