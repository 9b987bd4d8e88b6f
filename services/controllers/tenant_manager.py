"""Wires the controller manager of a tenant partition: elected, it runs the controllers of pods and workloads.

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
from services.client.informer import Informer
from services.client.partitions import Connect, Connection
from services.controllers import tenantpods
from services.controllers.podgc.controller import PodGarbageCollector
from services.controllers.replicasets.controller import ReplicaSetController
from services.controllers.tenant_config import TenantControllersConfig
from services.controllers.tenantpods import TenantPod

LEASE = "controller-manager"


class TenantControllerManager:
    """The controllers of one tenant partition. ``connect`` makes the connections to resource partitions."""

    def __init__(
        self,
        config: TenantControllersConfig,
        tenant: Connection,
        *,
        clock: Clock,
        rand: Rand,
        new_uid: IdMaker = random_uid,
        connect: Connect | None = None,
    ) -> None:
        self._config = config
        self._tenant = tenant
        self._clock = clock
        self._rand = rand
        self._connect = connect
        self.election = Election(
            tenant.clientset.leases,
            name=LEASE,
            identity=f"{config.name}_{socket.gethostname()}_{os.getpid()}_{new_uid()[:8]}",
            clock=clock,
            rand=rand,
            config=config.leader_election,
        )
        self.pods: Informer[TenantPod] | None = None

    def ready(self) -> Mapping[str, bool]:
        """A candidate is ready while it can read who leads. A resource partition that is out of reach does not make the
        leader unready (``ursa_pod_gc_held_pods`` tells of it)."""
        if self.pods is not None:
            return {"tenant-partition": self.pods.connected}
        return {"tenant-partition": self.election.in_touch}

    async def run(self) -> None:
        """Until cancelled."""
        async with Supervisor() as tasks:
            connection = tasks.start(self._tenant.run(), name="tenant-partition")
            try:
                if self._config.leader_election.enabled:
                    await self.election.run(self._lead)
                else:
                    await self._lead()
            finally:
                # Last: the lease is given back over it.
                connection.cancel()

    async def _lead(self) -> None:
        pods = self.pods = tenantpods.follow(self._tenant.mux)
        clock, rand = self._clock, self._rand
        garbage = PodGarbageCollector(
            self._tenant,
            pods,
            self._config.pod_gc,
            clock=clock,
            rand=rand,
            tls=self._config.tls,
            connect=self._connect,
            gather_s=self._config.watch_gather_s,
        )
        sets = ReplicaSetController(self._tenant, pods, self._config.replica_sets, clock=clock, rand=rand)
        try:
            async with Supervisor() as tasks:
                tasks.start(garbage.run(), name="pod-gc")
                tasks.start(sets.run(), name="replica-sets")
                pods.start()
                await asyncio.get_running_loop().create_future()
        finally:
            self.pods = None
            pods.close()


async def run(config: TenantControllersConfig, stopping: asyncio.Event) -> None:
    """The process, until ``stopping`` is set."""
    partition = config.tenant_partition
    reporting = telemetry.start(config.telemetry, service="controllers", partition=partition.name)
    # Pods are many and live long; the default thresholds would walk them again and again.
    gc.set_threshold(100_000, 50, 100)
    clock, rand = SystemClock(), Rand()
    gather_s = config.watch_gather_s
    tenant = Connection(partition.name, partition.endpoints, clock, rand, tls=config.tls, gather_s=gather_s)
    manager = TenantControllerManager(config, tenant, clock=clock, rand=rand)
    try:
        async with ProcessEndpoint(config.telemetry.metrics_listen, manager.ready), Supervisor() as tasks:
            tasks.start(manager.run(), name="controllers")
            await stopping.wait()
    finally:
        reporting.shutdown()
