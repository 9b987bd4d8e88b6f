"""Partition servers in this process, over real etcds, and clients of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import grpc
import grpc.aio
import pytest

from services.api import manifests
from services.api.kinds import Kind
from services.api.pb.ursa.core.v1 import pod_pb2
from services.apiserver.hosting import Host
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.client.clientset import Clientset
from services.resource_partition import app as resource_app
from services.resource_partition import config as resource_config
from services.rpc.channel import make_channel
from services.rpc.status import StatusError
from services.storage.etcd import EtcdBackend, EtcdConfig
from services.tenant_partition import app as tenant_app
from services.tenant_partition import config as tenant_config
from tests.support.etcd import free_port
from tests.support.eventually import eventually
from tests.support.tenants import make_tenant

T = TypeVar("T")

PORTS = range(17_200, 17_400)

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default}
spec:
  containers:
  - name: main
    image: nginx:1.25
    resources: {requests: {cpu: 100m, memory: 64Mi}}
"""


def pod(tenant: str, name: str = "web", *, namespace: str = "default", labels: dict[str, str] | None = None) -> Any:
    """A small valid pod."""
    obj: pod_pb2.Pod = manifests.load(POD)[0].object
    obj.metadata.name, obj.metadata.tenant, obj.metadata.namespace = name, tenant, namespace
    obj.metadata.labels.update(labels or {})
    return obj


def named(kind: Kind, name: str, *, tenant: str = "", namespace: str = "") -> Any:
    """An object of ``kind`` with nothing but its place."""
    obj: Any = kind.message()
    obj.metadata.name, obj.metadata.tenant, obj.metadata.namespace = name, tenant, namespace
    return obj


def binding(tenant: str, name: str, node: str, partition: str = "rp-1", *, uid: str = "") -> pod_pb2.Binding:
    found = pod_pb2.Binding(resource_partition=partition)
    found.metadata.name, found.metadata.tenant, found.metadata.namespace = name, tenant, "default"
    found.metadata.uid = uid
    found.target.kind, found.target.name = "Node", node
    return found


async def refused(call: Awaitable[Any]) -> StatusError:
    """The error that ``call`` fails with."""
    with pytest.raises(StatusError) as caught:
        await call
    return caught.value


@dataclass
class Partition:
    """One server and a client of it."""

    name: str
    host: Host
    channel: grpc.aio.Channel
    endpoint: str
    clients: Clientset = field(init=False)

    def __post_init__(self) -> None:
        self.clients = Clientset(self.channel)

    async def raw(self, method: str, request: bytes) -> bytes:
        """A unary call of bytes; raises ``StatusError``."""
        from services.client import calls

        answer: bytes = await calls.unary(self.channel.unary_unary(method), request, 10.0)
        return answer


@dataclass
class World:
    tp: Partition
    rp: Partition

    @property
    def pods(self) -> Any:
        return self.tp.clients.pods

    async def tenant(self, name: str) -> str:
        """A tenant of this name on ``tp``."""
        await make_tenant(self.tp.clients, name)
        return name


def resource_partition_config(etcd: str, port: int, name: str = "rp-1", **more: Any) -> resource_config.Config:
    listen = f"127.0.0.1:{port}"
    return resource_config.Config(name, listen, EtcdConfig(endpoints=(etcd,)), **{"placement_home": True, **more})


def tenant_partition_config(etcd: str, port: int, home: str, name: str = "tp-1") -> tenant_config.Config:
    listen = f"127.0.0.1:{port}"
    link = tenant_config.ResourcePartitionLink("rp-1", (home,), placement_home=True)
    return tenant_config.Config(name, listen, EtcdConfig(endpoints=(etcd,)), resource_partitions=(link,))


@contextlib.asynccontextmanager
async def running(
    config: tenant_config.Config | resource_config.Config, *, ready: bool = True, without: Collection[str] = ()
) -> AsyncIterator[Partition]:
    """A partition server of ``config`` inside the block; ``without``: work (controllers) that it leaves undone."""
    clock, rand, stopping = SystemClock(), Rand(), asyncio.Event()
    period_s = config.watch_cache.bookmark_period_s
    async with (
        EtcdBackend(config.etcd, clock=clock, rand=rand, bookmark_period_s=period_s) as backend,
        asyncio.TaskGroup() as tasks,
    ):
        if isinstance(config, tenant_config.Config):
            host = tenant_app.assemble(config, backend, clock=clock, rand=rand)
        else:
            host = resource_app.assemble(config, backend, clock=clock, rand=rand)
        assert host.work.keys() >= set(without)
        host = replace(host, work={name: work for name, work in host.work.items() if name not in without})
        tasks.create_task(host.run(stopping))
        channel = make_channel([config.listen])
        try:
            await host.started.wait()
            if ready:
                await eventually(_ready(host), within_s=20)
            yield Partition(config.name, host, channel, config.listen)
        finally:
            stopping.set()
            await channel.close()


def _ready(host: Host) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return all(host.checks().values())

    return check


def port() -> int:
    return free_port(PORTS)
