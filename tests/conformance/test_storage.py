"""Every store passes every scenario of ``services.storage.testing``."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from services.base.clock import SystemClock
from services.base.rand import Rand
from services.storage.backing import Backing
from services.storage.errors import Expired
from services.storage.etcd import EtcdBackend, EtcdConfig
from services.storage.memory import MemoryBackend
from services.storage.testing import SCENARIOS, World
from services.storage.testing.world import attributes_of
from services.storage.watchcache import CachedStore
from tests.support import etcd_binaries
from tests.support.etcd import EtcdProcess, find_binary, running_etcd

_numbers = itertools.count()


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdProcess]:
    if find_binary() is None:
        pytest.skip("no etcd binary")
    with running_etcd() as process:
        yield process


@pytest.fixture(scope="module")
def trusted_etcd() -> Iterator[EtcdProcess]:
    try:
        binary = etcd_binaries.trusted()
    except etcd_binaries.NotToBeHad as reason:
        pytest.skip(str(reason))
    with running_etcd(binary=binary) as process:
        yield process


@contextlib.asynccontextmanager
async def _backend(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[MemoryBackend | EtcdBackend]:
    if kind.endswith("memory"):
        async with MemoryBackend() as memory:
            yield memory
        return
    process: EtcdProcess = request.getfixturevalue("trusted_etcd" if kind.endswith("trusted-etcd") else "etcd")
    async with EtcdBackend(EtcdConfig((process.endpoint,)), clock=SystemClock(), rand=Rand()) as backend:
        await backend.wait_ready()
        yield backend


@contextlib.asynccontextmanager
async def _cached(backing: Backing, prefix: str) -> AsyncIterator[CachedStore]:
    cached = CachedStore(
        backing,
        prefix=prefix,
        attributes_of=attributes_of,
        index="spec.nodeName",
        clock=SystemClock(),
        rand=Rand(),
    )
    async with cached.running():
        await cached.wait_ready()
        yield cached


@pytest.fixture(
    params=[
        "memory",
        "cached-over-memory",
        pytest.param("etcd", marks=pytest.mark.etcd),
        pytest.param("cached-over-etcd", marks=pytest.mark.etcd),
        pytest.param("trusted-etcd", marks=pytest.mark.etcd),
        pytest.param("cached-over-trusted-etcd", marks=pytest.mark.etcd),
    ]
)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    kind: str = request.param
    prefix = f"/ursa/things{next(_numbers)}/"
    other_prefix = f"{prefix[:-1]}others/"
    async with _backend(kind, request) as backend, contextlib.AsyncExitStack() as stack:
        backing = backend.store(prefix, attributes_of)
        other = backend.store(other_prefix, attributes_of)
        if not kind.startswith("cached"):
            yield World(backing, prefix, backend.compact, backend, other, other_prefix)
            return
        cached = await stack.enter_async_context(_cached(backing, prefix))

        async def forget(revision: int) -> None:
            with contextlib.suppress(Expired):
                await backend.compact(revision)
            cached.view.compact(revision)

        yield World(cached, prefix, forget, backend, other, other_prefix)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_store(world: World, name: str) -> None:
    await SCENARIOS[name](world)


def test_there_are_enough_scenarios_to_call_it_a_suite() -> None:
    assert len(SCENARIOS) >= 90
