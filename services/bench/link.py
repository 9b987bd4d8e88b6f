"""A network link that can fail: a TCP proxy on loopback between two processes."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType


class Link:
    """Listens on ``port`` and forwards to ``target_port``.

    ``sever``: every connection is reset, and none is taken until ``heal``. ``stall``: bytes wait in both directions
    until ``heal``, as behind a reader who does not read. ``lose``: what one side sends vanishes until ``heal``, which
    then resets the connections, for a stream with a hole in it is good for nothing. ``cut``: one reset, no more.
    """

    def __init__(self, port: int, target_port: int) -> None:
        self.port = port
        self._target_port = target_port
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._loses: bool | None = None
        self._server: asyncio.Server | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    def sever(self) -> None:
        self._refuses = True
        self.cut()

    def stall(self) -> None:
        self._flows.clear()

    def lose(self, *, requests: bool) -> None:
        self._loses = requests

    def heal(self) -> None:
        self._refuses = False
        self._flows.set()
        if self._loses is not None:
            self._loses = None
            self.cut()

    async def __aenter__(self) -> Link:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.heal()
        self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, up_writer}
        self._writers |= pair
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, up_writer, requests=True))
                tasks.create_task(self._pump(up_reader, writer, requests=False))
        finally:
            self._writers -= pair

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, requests: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                if self._loses is requests:
                    continue
                if writer.is_closing():
                    break  # cut while the data was held; uvloop would raise RuntimeError
                writer.write(data)
                await writer.drain()
        # The other direction has nobody left to talk to either.
        writer.transport.abort()
