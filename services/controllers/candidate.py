"""What every controller manager is: one of several candidates, of which the elected one runs its controllers.

Candidates that are not elected hold nothing but a lease client: they start from fresh lists when their turn comes.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from services.base import telemetry
from services.base.clock import Clock, SystemClock
from services.base.http import ProcessEndpoint
from services.base.ids import IdMaker
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.base.telemetry import TelemetryConfig
from services.client.election import Election, ElectionConfig
from services.client.partitions import Connection
from services.controllers.config import PartitionAddress
from services.rpc.credentials import TlsConfig

LEASE = "controller-manager"


class ManagerConfig(Protocol):
    """What the configuration files of all managers have."""

    @property
    def name(self) -> str: ...

    @property
    def watch_gather_s(self) -> float: ...

    @property
    def leader_election(self) -> ElectionConfig: ...

    @property
    def telemetry(self) -> TelemetryConfig: ...

    @property
    def tls(self) -> TlsConfig | None: ...


class Candidate:
    """``home``: the partition whose Lease ``controller-manager`` says who leads; ``role``: what to call it."""

    def __init__(
        self, config: ManagerConfig, home: Connection, role: str, *, clock: Clock, rand: Rand, new_uid: IdMaker
    ) -> None:
        self._elects = config.leader_election.enabled
        self._home = home
        self._role = role
        self.identity = f"{config.name}_{socket.gethostname()}_{os.getpid()}_{new_uid()[:8]}"
        self.election = Election(
            home.clientset.leases,
            name=LEASE,
            identity=self.identity,
            clock=clock,
            rand=rand,
            config=config.leader_election,
        )

    def ready(self, connected: bool | None) -> Mapping[str, bool]:
        """``connected``: whether the leader's watches are; None: it does not lead, and is ready while it can read who
        does."""
        return {self._role: self.election.in_touch if connected is None else connected}

    async def run(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """``lead`` whenever it is elected (always, without an election), until cancelled."""
        async with Supervisor() as tasks:
            connection = tasks.start(self._home.run(), name=self._role)
            try:
                if self._elects:
                    await self.election.run(lead)
                else:
                    await lead()
            finally:
                # Last: the lease is given back over it.
                connection.cancel()


class Manager(Protocol):
    def ready(self) -> Mapping[str, bool]: ...

    async def run(self) -> None: ...


MakeManager = Callable[[Connection, Clock, Rand], Manager]


async def serve(config: ManagerConfig, partition: PartitionAddress, make: MakeManager, stopping: asyncio.Event) -> None:
    """The process of a manager, until ``stopping`` is set. ``make`` gets the connection to its own ``partition``."""
    reporting = telemetry.start(config.telemetry, service="controllers", partition=partition.name)
    # Claims and pods are many and live long; the default thresholds would walk them again and again.
    gc.set_threshold(100_000, 50, 100)
    clock, rand = SystemClock(), Rand()
    gather_s = config.watch_gather_s
    home = Connection(partition.name, partition.endpoints, clock, rand, tls=config.tls, gather_s=gather_s)
    manager = make(home, clock, rand)
    try:
        async with ProcessEndpoint(config.telemetry.metrics_listen, manager.ready), Supervisor() as tasks:
            tasks.start(manager.run(), name="controllers")
            await stopping.wait()
    finally:
        reporting.shutdown()
