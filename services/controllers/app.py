"""Wires the controller manager of a resource partition: elected, it runs what needs several partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from services.base.clock import Clock
from services.base.ids import IdMaker, random_uid
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.partitions import Connect, Connection
from services.controllers.candidate import Candidate, serve
from services.controllers.claims.controller import ClaimsController
from services.controllers.config import ControllersConfig
from services.controllers.nodes.controller import NodesController
from services.controllers.tenants import Tenants


class ControllerManager:
    """The controllers of one resource partition. ``connect`` makes the connections to tenant partitions."""

    def __init__(
        self,
        config: ControllersConfig,
        resource: Connection,
        *,
        clock: Clock,
        rand: Rand,
        new_uid: IdMaker = random_uid,
        connect: Connect | None = None,
    ) -> None:
        self._config = config
        self._resource = resource
        self._clock = clock
        self._rand = rand
        self._connect = connect
        self.candidate = Candidate(config, resource, "resource-partition", clock=clock, rand=rand, new_uid=new_uid)
        self.claims: ClaimsController | None = None
        self.nodes: NodesController | None = None

    def ready(self) -> Mapping[str, bool]:
        """A candidate is ready while it can read who leads. A tenant partition that is out of reach does not make the
        leader unready: the others go on (``ursa_claims_partition_connected`` tells them apart)."""
        return self.candidate.ready(self.claims.claims.connected if self.claims is not None else None)

    async def run(self) -> None:
        """Until cancelled."""
        await self.candidate.run(self._lead)

    async def _lead(self) -> None:
        clock, rand = self._clock, self._rand
        tenants = Tenants(
            self._resource,
            clock=clock,
            rand=rand,
            tls=self._config.tls,
            connect=self._connect,
            gather_s=self._config.watch_gather_s,
        )
        self.claims = ClaimsController(self._resource, tenants, self._config.claims, clock=clock, rand=rand)
        if self._config.nodes.enabled:
            self.nodes = NodesController(
                self._resource, tenants, self._config.nodes, identity=self.candidate.identity, clock=clock, rand=rand
            )
        try:
            async with Supervisor() as tasks:
                tasks.start(tenants.run(), name="tenants")
                if self.nodes is not None:
                    tasks.start(self.nodes.run(), name="nodes")
                await self.claims.run()
        finally:
            self.claims = self.nodes = None


async def run(config: ControllersConfig, stopping: asyncio.Event) -> None:
    """The process, until ``stopping`` is set."""

    def make(resource: Connection, clock: Clock, rand: Rand) -> ControllerManager:
        return ControllerManager(config, resource, clock=clock, rand=rand)

    await serve(config, config.resource_partition, make, stopping)
