"""One partition server as a process: start what serves, then what works; stop in two stages with a deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.apiserver.servicer import ApiServer
from services.base.clock import Clock
from services.base.http import ProcessEndpoint
from services.base.tasks import Supervisor
from services.rpc.server import Server

_LOG = logging.getLogger(__name__)

WAITING_PERIOD_S = 0.1
READY_PERIOD_S = 1.0
STOP_GRACE_S = 3.0

Work = Callable[[], Coroutine[Any, Any, None]]


@dataclass
class Host:
    """``checks``: readiness by name. ``work``: long-running coroutines by name, ended when the server stops.

    ``on_first_ready``: called once, when everything that is stored has been loaded.
    """

    api: ApiServer
    server: Server
    metrics_listen: str
    checks: Callable[[], Mapping[str, bool]]
    work: Mapping[str, Work]
    clock: Clock
    on_first_ready: Callable[[], None] | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until ``stopping`` is set. gRPC is served from the start, whether or not the store can be reached."""
        async with ProcessEndpoint(self.metrics_listen, self.checks), Supervisor() as tasks:
            await self.server.start()
            try:
                for name, work in self.work.items():
                    tasks.start(work(), name=name)
                tasks.start(self._report_readiness(), name="readiness")
                _LOG.info("serving", extra={"port": self.server.port})
                self.started.set()
                await stopping.wait()
            finally:
                _LOG.info("stopping")
                # Watches never end by themselves: tell them, so that the grace is for requests under way.
                self.api.drain()
                await self.server.stop(STOP_GRACE_S)

    async def _report_readiness(self) -> None:
        was: bool | None = None
        while True:
            checks = self.checks()
            ready = all(checks.values())
            if ready != was:
                waiting = [name for name, holds in checks.items() if not holds]
                _LOG.info("ready" if ready else "not ready", extra={"waiting_for": waiting})
                was = ready
                if ready and self.on_first_ready is not None:
                    self.on_first_ready()
                    self.on_first_ready = None
            await self.server.set_ready(ready)
            # An idle server should be idle: looking ten times a second took 1 % of a core.
            await self.clock.sleep(READY_PERIOD_S if ready else WAITING_PERIOD_S)
