"""Two etcds for everything; tp-1 and rp-1 once with watch caches and once without."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from tests.integration.semantics.world import Servers, port, servers_of
from tests.support.etcd import EtcdProcess


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """The servers live on one event loop, so all tests of this directory run on it."""
    for item in items:
        if "integration/semantics" in str(item.path) and item.get_closest_marker("asyncio"):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def semantics_etcds() -> Iterator[tuple[EtcdProcess, EtcdProcess]]:
    pair = EtcdProcess(port(), port()), EtcdProcess(port(), port())
    try:
        for process in pair:
            process.start()
        yield pair
    finally:
        for process in pair:
            process.remove()


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=["cached", "uncached"])
async def servers(request: Any, semantics_etcds: tuple[EtcdProcess, EtcdProcess]) -> AsyncIterator[Servers]:
    async with servers_of(request.param, *semantics_etcds) as running:
        yield running
