"""Wires the controller manager of a tenant partition: elected, it runs the controllers of pods and workloads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from services.base.clock import Clock
from services.base.ids import IdMaker, random_uid
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.informer import Informer
from services.client.partitions import Connect, Connection
from services.controllers import tenantpods
from services.controllers.candidate import Candidate, serve
from services.controllers.podgc.controller import PodGarbageCollector
from services.controllers.replicasets.controller import ReplicaSetController
from services.controllers.tenant_config import TenantControllersConfig
from services.controllers.tenantpods import TenantPod


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
        self.candidate = Candidate(config, tenant, "tenant-partition", clock=clock, rand=rand, new_uid=new_uid)
        self.pods: Informer[TenantPod] | None = None

    def ready(self) -> Mapping[str, bool]:
        """A candidate is ready while it can read who leads. A resource partition that is out of reach does not make the
        leader unready (``ursa_pod_gc_held_pods`` tells of it)."""
        return self.candidate.ready(self.pods.connected if self.pods is not None else None)

    async def run(self) -> None:
        """Until cancelled."""
        await self.candidate.run(self._lead)

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

    def make(tenant: Connection, clock: Clock, rand: Rand) -> TenantControllerManager:
        return TenantControllerManager(config, tenant, clock=clock, rand=rand)

    await serve(config, config.tenant_partition, make, stopping)
