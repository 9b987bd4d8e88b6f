"""Two etcds for all tests of this directory; servers of their own, and tenants of their own, for each test."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.apiserver.world import (
    World,
    port,
    resource_partition_config,
    running,
    tenant_partition_config,
)
from tests.support.etcd import EtcdProcess

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def tenant_etcd() -> Iterator[EtcdProcess]:
    process = EtcdProcess(port(), port())
    try:
        yield process.start()
    finally:
        process.remove()


@pytest.fixture(scope="session")
def resource_etcd() -> Iterator[EtcdProcess]:
    process = EtcdProcess(port(), port())
    try:
        yield process.start()
    finally:
        process.remove()


@pytest.fixture
async def world(tenant_etcd: EtcdProcess, resource_etcd: EtcdProcess) -> AsyncIterator[World]:
    """tp-1 and rp-1, ready."""
    resource = resource_partition_config(resource_etcd.endpoint, port())
    tenant = tenant_partition_config(tenant_etcd.endpoint, port(), resource.listen)
    async with running(resource) as rp, running(tenant) as tp:
        yield World(tp, rp)


@pytest.fixture
async def acme(world: World) -> str:
    """A tenant that no other test uses."""
    return await world.tenant(f"acme-{next(_numbers)}")
