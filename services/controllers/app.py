"""Wires the controller manager of a resource partition: elected, it runs the controllers that need several partitions.

Candidates that are not elected hold nothing but a lease client: they start from fresh lists when their turn comes.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Mapping

from services.base import telemetry
from services.base.clock import Clock, SystemClock
from services.base.http import ProcessEndpoint
from services.base.ids import IdMaker, random_uid
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.election import Election
from services.client.partitions import Connect, Connection
from services.controllers.claims.controller import ClaimsController
from services.controllers.config import ControllersConfig
from services.controllers.nodes.controller import NodesController
from services.controllers.tenants import Tenants

LEASE = "controller-manager"


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
        self._identity = f"{config.name}_{socket.gethostname()}_{os.getpid()}_{new_uid()[:8]}"
        self.election = Election(
            resource.clientset.leases,
            name=LEASE,
            identity=self._identity,
            clock=clock,
            rand=rand,
            config=config.leader_election,
        )
        self.claims: ClaimsController | None = None
        self.nodes: NodesController | None = None

    def ready(self) -> Mapping[str, bool]:
        """A candidate is ready while it can read who leads. A tenant partition that is out of reach does not make the
        leader unready: the others go on (``ursa_claims_partition_connected`` tells them apart)."""
        if self.claims is not None:
            return {"resource-partition": self.claims.claims.connected}
        return {"resource-partition": self.election.in_touch}

    async def run(self) -> None:
        """Until cancelled."""
        async with Supervisor() as tasks:
            connection = tasks.start(self._resource.run(), name="resource-partition")
            try:
                if self._config.leader_election.enabled:
                    await self.election.run(self._lead)
                else:
                    await self._lead()
            finally:
                # Last: the lease is given back over it.
                connection.cancel()

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
                self._resource, tenants, self._config.nodes, identity=self._identity, clock=clock, rand=rand
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
    partition = config.resource_partition
    reporting = telemetry.start(config.telemetry, service="controllers", partition=partition.name)
    # Claims and pods are many and live long; the default thresholds would walk them again and again.
    gc.set_threshold(100_000, 50, 100)
    clock, rand = SystemClock(), Rand()
    gather_s = config.watch_gather_s
    resource = Connection(partition.name, partition.endpoints, clock, rand, tls=config.tls, gather_s=gather_s)
    manager = ControllerManager(config, resource, clock=clock, rand=rand)
    try:
        async with ProcessEndpoint(config.telemetry.metrics_listen, manager.ready), Supervisor() as tasks:
            tasks.start(manager.run(), name="controllers")
            await stopping.wait()
    finally:
        reporting.shutdown()
