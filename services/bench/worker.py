"""``python -m services.bench.worker LOAD``: a load client of its own process, told what to do by lines of JSON.

``LOAD`` is a JSON object: a ``WatchLoad``, ``{"mode": "lists", "endpoint": ...}``, or ``{"mode": "witness", ...}``. The
first line of output says that the load stands; each line of input is answered by one. The process ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from services.api.kinds import PODS
from services.api.pb.ursa.meta.v1.meta_pb2 import ListRequest
from services.base.clock import SystemClock
from services.base.tasks import Supervisor
from services.bench import http2
from services.bench.player import witness
from services.bench.scan import ItemCounter
from services.bench.watchers import Watchers, WatchLoad
from services.rpc import methods

LISTS = "lists"
OPEN_TIMEOUT_S = 120.0
_LIST_WINDOW_BYTES = 64 << 20

Command = dict[str, Any]
Answer = Callable[[Command], Awaitable[Command]]


async def main(text: str) -> None:
    load = json.loads(text)
    lines = await _input()
    if load["mode"] == LISTS:
        lists = Lists(load["endpoint"], ListRequest(tenant=load["tenant"], namespace=load["namespace"]))
        _say({"ready": True})
        await _serve(lines, lists.answer)
        return
    if load["mode"] == witness.MODE:
        await _witness(lines, load)
        return
    watchers = Watchers(WatchLoad(**load))
    try:
        await watchers.open(OPEN_TIMEOUT_S)
        _say({"ready": True})
        await _serve(lines, lambda command: _watch_command(watchers, command))
    finally:
        watchers.close()


async def _witness(lines: asyncio.StreamReader, load: Command) -> None:
    async with Supervisor() as tasks:
        watching = witness.Witness(load["endpoints"], tasks, SystemClock())
        await watching.open()
        _say({"ready": True})
        await _serve(lines, watching.answer)


async def _watch_command(watchers: Watchers, command: Command) -> Command:
    match command["do"]:
        case "expect":
            return await watchers.expect(command["events"], command["timeout_s"])
        case "save":
            watchers.save(command["file"])
            return {}
    raise ValueError(f"unknown command {command}")


class Lists:
    """Lists everything, so many times at once; every list on its own connection."""

    def __init__(self, endpoint: str, request: ListRequest) -> None:
        self._endpoint = endpoint
        self._request = request

    async def answer(self, command: Command) -> Command:
        """``{"lists": n, "any_age": bool}``: ``any_age`` reads at resource version 0, otherwise the most recent."""
        request = ListRequest()
        request.CopyFrom(self._request)
        if command["any_age"]:
            request.resource_version = 0
        connections = [
            await http2.connect(self._endpoint, stream_window=_LIST_WINDOW_BYTES) for _ in range(command["lists"])
        ]
        counters = [_Timed() for _ in connections]
        began = time.perf_counter()
        for connection, counter in zip(connections, counters, strict=True):
            connection.start(methods.path(PODS, "List"), counter, request.SerializeToString())
        for counter in counters:
            await counter.over.wait()
        seconds = time.perf_counter() - began
        for connection in connections:
            connection.close()
        return {
            "seconds": seconds,
            "items": [counter.items for counter in counters],
            "item_bytes": [counter.item_bytes for counter in counters],
            "complete": all(counter.complete for counter in counters),
            "ends": [counter.end_reason for counter in counters],
        }


class _Timed(ItemCounter):
    def __init__(self) -> None:
        super().__init__()
        self.over = asyncio.Event()

    def ended(self, reason: str) -> None:
        super().ended(reason)
        self.over.set()


async def _serve(lines: asyncio.StreamReader, answer: Answer) -> None:
    while line := await lines.readline():
        _say(await answer(json.loads(line)))


async def _input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _say(answer: Command) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
