"""A TCP proxy that can lose what one side sends: the only way to have a request applied and its answer lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType


class TcpProxy:
    """Listens on ``port`` and forwards to ``target_port``, both on 127.0.0.1.

    ``swallow_answers``: what the server sends is lost. ``swallow_requests``: what the client sends is lost.
    ``cut()`` closes every connection; new ones are accepted. ``refuse(first bytes from the client)``: those it is true
    of are closed, at once and when ``cut_refused`` is called.
    """

    def __init__(self, port: int, target_port: int) -> None:
        self.port = port
        self.swallow_answers = False
        self.swallow_requests = False
        self.refuse: Callable[[bytes], bool] = lambda first: False
        self.swallowed = asyncio.Event()
        self.bytes_swallowed = 0
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._firsts: dict[asyncio.StreamWriter, bytes] = {}

    def cut(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    def cut_refused(self) -> None:
        for writer, first in tuple(self._firsts.items()):
            if self.refuse(first):
                writer.transport.abort()

    async def __aenter__(self) -> TcpProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        pair = {writer, up_writer}
        self._writers |= pair
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, up_writer, requests=True))
                tasks.create_task(self._pump(up_reader, writer, requests=False))
        finally:
            self._writers -= pair
            self._firsts.pop(up_writer, None)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, requests: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if requests and writer not in self._firsts:
                    self._firsts[writer] = data
                    if self.refuse(data):
                        break
                if self.swallow_requests if requests else self.swallow_answers:
                    self.bytes_swallowed += len(data)
                    self.swallowed.set()
                    continue
                writer.write(data)
                await writer.drain()
        writer.close()
