"""Load clients in processes of their own, as the benchmark that runs them sees them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from typing import Any

from services.bench import processes
from services.bench.cluster import ClusterFailed
from services.bench.watchers import WatchLoad

START_DEADLINE_S = 180.0
ANSWER_DEADLINE_S = 240.0


class Worker:
    """One ``services.bench.worker``."""

    def __init__(self, process: processes.Process, log: pathlib.Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and wait for its answer. Raises ``ClusterFailed`` when the worker died."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        return await self.answer(ANSWER_DEADLINE_S)

    async def answer(self, deadline_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(deadline_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise ClusterFailed(f"a load client failed\n{self._log.read_text(errors='replace')[-3000:]}")
        document: dict[str, Any] = json.loads(line)
        return document


@contextlib.asynccontextmanager
async def worker(load: WatchLoad | Mapping[str, Any], home: pathlib.Path) -> AsyncIterator[Worker]:
    """A worker whose load stands. Raises ``ClusterFailed``."""
    document = asdict(load) if isinstance(load, WatchLoad) else dict(load)
    log = home / "worker.log"
    process = await processes.start(
        [sys.executable, "-m", "services.bench.worker", json.dumps(document)], log, piped=True
    )
    try:
        started = Worker(process, log)
        await started.answer(START_DEADLINE_S)
        yield started
    finally:
        await asyncio.shield(processes.stop(process))
