"""A kubelet host between fake partitions on a fake clock."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from services.api.kinds import LEASES, NODES, PODS, TENANT_PARTITIONS
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.api.pb.ursa.tenancy.v1 import tenancy_pb2
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.base.tasks import stop_task
from services.base.timeline import OFF, PodTimeline
from services.client.partitions import Connection
from services.kubelet.config import KubeletConfig, Pool
from services.kubelet.host import Host
from tests.support.client_world import fake_connection, pod, until
from tests.support.fake_partition import FakePartition


class Journal(logging.Handler):
    """The start journal: one (message, uid) per line."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() in ("pod started", "pod restarted"):
            self.lines.append((record.getMessage(), record.__dict__["uid"]))


class KubeletWorld:
    """Tenant partitions tp-1.. and resource partitions rp-1.., one host with one pool per resource partition."""

    def __init__(self, *, tenant: int = 2, resource: int = 1, nodes: int = 2, seed: int = 1, **pool: Any) -> None:
        self.clock = FakeClock()
        self.tps = [FakePartition(f"tp-{n}", clock=self.clock) for n in range(1, tenant + 1)]
        self.rps = [FakePartition(f"rp-{n}", clock=self.clock) for n in range(1, resource + 1)]
        self.partitions = {partition.name: partition for partition in (*self.tps, *self.rps)}
        self.config = KubeletConfig(
            name="host-1",
            pools=tuple(
                Pool(rp.name, (rp.name,), nodes=nodes, name_prefix=f"{rp.name}-n", zones=("z1", "z2"), **pool)
                for rp in self.rps
            ),
        )
        self.seed = seed
        self.timeline: PodTimeline = OFF
        self.journal = Journal()
        self.host: Host | None = None
        for rp in self.rps:
            for tp in self.tps:
                rp.put(TENANT_PARTITIONS, partition_object(tp.name))

    def _connect(self, name: str, _: Sequence[str]) -> Connection:
        return fake_connection(self.partitions[name], self.clock, self.seed)

    @contextlib.asynccontextmanager
    async def running(self, *, ready: bool = True) -> AsyncIterator[Host]:
        """One process' life: the host runs inside the block and is gone after it."""
        logger = logging.getLogger("services.kubelet.host")
        logger.setLevel(logging.INFO)
        logger.addHandler(self.journal)
        self.host = host = Host(self.config, self.clock, Rand(self.seed), connect=self._connect, timeline=self.timeline)
        task = asyncio.create_task(host.run())
        try:
            if ready:
                await self.until(lambda: all(host.ready().values()))
            yield host
            if task.done():
                task.result()
        finally:
            logger.removeHandler(self.journal)
            await stop_task(task)

    async def until(self, holds: Callable[[], bool], *, seconds: float = 60.0) -> None:
        await until(self.clock, holds, seconds=seconds)

    # Short names for what tests look at.

    def bind(self, name: str, *, tp: int = 0, node_name: str = "rp-1-n0000", tenant: str = "acme", **spec: Any) -> Pod:
        """A pod that a scheduler has bound, having claimed for it; ``claimed=False``: one that was bound by hand."""
        claimed = spec.pop("claimed", True)
        annotations = spec.pop("annotations", {})
        made = pod(name, tenant=tenant, node_name=node_name, **spec)
        made.spec.resource_partition = node_name[:4]
        made.spec.capacity_claimed = claimed
        made.metadata.annotations.update(annotations)
        return self.tps[tp].put(PODS, made)  # type: ignore[no-any-return]

    def pod(self, name: str, *, tp: int = 0, tenant: str = "acme") -> Any:
        return self.tps[tp].get(PODS, name, tenant, "default")

    def phase(self, name: str, *, tp: int = 0, tenant: str = "acme") -> str:
        found = self.pod(name, tp=tp, tenant=tenant)
        return "" if found is None else found.status.phase

    def node(self, name: str, *, rp: int = 0) -> Any:
        return self.rps[rp].get(NODES, name)

    def lease(self, name: str, *, rp: int = 0) -> Any:
        return self.rps[rp].get(LEASES, name, "system", "kube-node-lease")

    async def delete(self, name: str, *, tp: int = 0, tenant: str = "acme", grace_s: int | None = None) -> None:
        """As a user would."""
        request = meta_pb2.DeleteRequest(
            tenant=tenant, namespace="default", name=name, grace_period_seconds=grace_s
        ).SerializeToString()
        await self.tps[tp].call("/ursa.core.v1.Pods/Delete", request)

    def started(self) -> list[str]:
        return [uid for message, uid in self.journal.lines if message == "pod started"]


def partition_object(name: str) -> tenancy_pb2.TenantPartition:
    return tenancy_pb2.TenantPartition(
        metadata=meta_pb2.ObjectMeta(name=name), spec=tenancy_pb2.TenantPartitionSpec(endpoints=[name])
    )
