"""The tenant partitions of one resource partition, and the pods that each has bound here: one watch per partition and
process, shared by all controllers. Each partition is followed alone; one that is out of reach delays no other, and
what was known of it stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from services.api import kinds
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.informer import Change, Informer
from services.client.partitions import Connect, Connection, PartitionDirectory
from services.controllers.pods import POD_ACCESSORS, SeenPod, read_pod
from services.rpc.credentials import TlsConfig

_log = logging.getLogger(__name__)

_NO_PODS: Mapping[str, None] = {}


class TenantPods:
    """The pods of tenant partition ``partition`` that are bound to nodes of ``resource_partition``.

    ``pods`` by UID. ``connection`` changes when the partition's endpoints do.
    """

    def __init__(self, partition: str, resource_partition: str, connection: Connection, owner: Tenants) -> None:
        self.partition = partition
        self.connection = connection
        self._by_node: dict[str, dict[str, None]] = {}
        self._owner = owner
        self._informer: Informer[SeenPod] = Informer(
            connection.mux,
            kinds.PODS,
            tenant="*",
            field_selector=f"spec.resourcePartition={resource_partition}",
            decode=read_pod,
            accessors=POD_ACCESSORS,
            on_batch=self._changed,
            on_state=lambda _: owner._tell_state(self),
        )
        self.pods: Mapping[str, SeenPod] = self._informer.store

    @property
    def connected(self) -> bool:
        """``pods`` is current; else it is what was known last."""
        return self._informer.connected

    @property
    def has_synced(self) -> bool:
        """``pods`` has been complete once."""
        return self._informer.has_synced

    def on_node(self, node: str) -> list[SeenPod]:
        """The pods bound to it."""
        return [self.pods[uid] for uid in self._by_node.get(node, _NO_PODS)]

    def start(self) -> None:
        self._informer.start()

    def rebind(self, connection: Connection) -> None:
        """Follow the same partition over another connection."""
        self.connection = connection
        self._informer.rebind(connection.mux)

    def close(self) -> None:
        self._informer.close()

    def _changed(self, changes: Sequence[Change[SeenPod]]) -> None:
        for change in changes:
            old, new = change.old, change.new
            if old is not None and (new is None or new.node != old.node):
                here = self._by_node[old.node]
                del here[old.uid]
                if not here:
                    del self._by_node[old.node]
            if new is not None and (old is None or new.node != old.node):
                self._by_node.setdefault(new.node, {})[new.uid] = None
        self._owner._tell_pods(self, changes)


class Follower(Protocol):
    """A controller that looks at the pods of tenant partitions. Called on the event loop; must not block."""

    def tenant_added(self, tenant: TenantPods, tasks: Supervisor) -> None:
        """A partition is new; nothing is known of its pods yet. ``tasks`` end when the partitions are let go."""
        ...

    def tenant_rebound(self, tenant: TenantPods) -> None:
        """``tenant.connection`` is another one."""
        ...

    def tenant_removed(self, tenant: TenantPods) -> None:
        """Its object is gone: nobody can be asked any more. That says nothing about its pods."""
        ...

    def tenant_state(self, tenant: TenantPods) -> None:
        """``tenant.connected`` has changed, or its first list is in."""
        ...

    def pods_changed(self, tenant: TenantPods, changes: Sequence[Change[SeenPod]]) -> None:
        """``tenant`` holds them already."""
        ...


class Tenants:
    """``tenants`` by name, while ``run`` runs. ``connect`` makes the connections; without it they are made here, and
    events of their watches gather for ``gather_s``."""

    def __init__(
        self,
        resource: Connection,
        *,
        clock: Clock,
        rand: Rand,
        tls: TlsConfig | None = None,
        connect: Connect | None = None,
        gather_s: float = 0.0,
    ) -> None:
        self.tenants: dict[str, TenantPods] = {}
        self._resource = resource
        self._followers: tuple[Follower, ...] = ()
        self._tasks: Supervisor | None = None
        self._directory = PartitionDirectory(
            kinds.TENANT_PARTITIONS,
            bootstrap={},
            clock=clock,
            rand=rand,
            on_added=self._added,
            on_removed=self._removed,
            tls=tls,
            connect=connect,
            gather_s=gather_s,
        )

    def follow(self, follower: Follower) -> None:
        """Tell ``follower`` everything; before ``run``."""
        self._followers = (*self._followers, follower)

    async def run(self) -> None:
        """Until cancelled; leaves nothing behind."""
        try:
            async with Supervisor() as tasks:
                self._tasks = tasks
                tasks.start(self._directory.run(), name="tenant-partitions")
                self._directory.follow(self._resource.mux)
                await asyncio.get_running_loop().create_future()
        finally:
            self._tasks = None
            for tenant in self.tenants.values():
                tenant.close()
            self.tenants.clear()

    def _added(self, name: str, connection: Connection) -> None:
        tenant = self.tenants.get(name)
        if tenant is not None:
            tenant.rebind(connection)
            for follower in self._followers:
                follower.tenant_rebound(tenant)
            return
        assert self._tasks is not None
        tenant = self.tenants[name] = TenantPods(name, self._resource.name, connection, self)
        for follower in self._followers:
            follower.tenant_added(tenant, self._tasks)
        tenant.start()

    def _removed(self, name: str) -> None:
        tenant = self.tenants.pop(name)
        tenant.close()
        for follower in self._followers:
            follower.tenant_removed(tenant)

    def _tell_state(self, tenant: TenantPods) -> None:
        if tenant.connected:
            _log.info("tenant partition is followed", extra={"tenant_partition": tenant.partition})
        else:
            _log.warning("tenant partition is out of reach", extra={"tenant_partition": tenant.partition})
        for follower in self._followers:
            follower.tenant_state(tenant)

    def _tell_pods(self, tenant: TenantPods, changes: Sequence[Change[SeenPod]]) -> None:
        for follower in self._followers:
            follower.pods_changed(tenant, changes)
