"""One etcd per partition; two servers of tp-1 over the same etcd, with watch caches of their own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from services.client.clientset import Clientset
from tests.integration.apiserver.world import pod, resource_partition_config, running, tenant_partition_config
from tests.support.etcd import EtcdProcess, free_port
from tests.support.tenants import make_tenant

PORTS = range(24_000, 24_300)

_numbers = itertools.count(1)


@dataclass
class Pair:
    """Clients of two servers of one tenant partition, and a tenant that no other test uses."""

    one: Clientset
    other: Clientset
    tenant: str

    async def create(self, name: str = "web", **fields: Any) -> Any:
        return await self.one.pods.create(pod(self.tenant, name, **fields))

    async def get(self, name: str = "web", *, through: Clientset | None = None) -> Any:
        return await (through or self.other).pods.get(name, tenant=self.tenant, namespace="default")


@pytest.fixture(scope="session")
def etcds() -> Iterator[tuple[EtcdProcess, EtcdProcess]]:
    pair = tuple(EtcdProcess(free_port(PORTS), free_port(PORTS)) for _ in range(2))
    try:
        for process in pair:
            process.start()
        yield pair[0], pair[1]
    finally:
        for process in pair:
            process.remove()


@pytest.fixture
async def pair(etcds: tuple[EtcdProcess, EtcdProcess]) -> AsyncIterator[Pair]:
    resource = resource_partition_config(etcds[1].endpoint, free_port(PORTS))
    first = tenant_partition_config(etcds[0].endpoint, free_port(PORTS), resource.listen)
    second = tenant_partition_config(etcds[0].endpoint, free_port(PORTS), resource.listen)
    async with running(resource), running(first) as one, running(second) as other:
        tenant = f"acme-{next(_numbers)}"
        await make_tenant(one.clients, tenant)
        yield Pair(one.clients, other.clients, tenant)
