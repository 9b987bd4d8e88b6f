"""Rows of the table of errors that take an etcd away, or a cache that has not begun."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from services.api import kinds
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.client.clientset import Clientset
from services.resource_partition import app
from services.rpc.channel import make_channel
from services.rpc.status import StatusError
from services.storage.etcd import EtcdBackend
from tests.integration.apiserver.world import eventually, named, refused, resource_partition_config
from tests.integration.semantics.world import ALL_KINDS, SORTS, Servers, history_of, port, servers_of
from tests.support.etcd import EtcdProcess

pytestmark = [pytest.mark.etcd, pytest.mark.asyncio(loop_scope="session")]

CLIENT_DEADLINE_S = 10.0


@pytest.fixture(scope="module")
def etcds() -> Iterator[tuple[EtcdProcess, EtcdProcess]]:
    """Etcds that may be killed."""
    pair = EtcdProcess(port(), port()), EtcdProcess(port(), port())
    try:
        for process in pair:
            process.start()
        yield pair
    finally:
        for process in pair:
            process.remove()


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["cached", "uncached"])
async def mortal(request: Any, etcds: tuple[EtcdProcess, EtcdProcess]) -> AsyncIterator[Servers]:
    for process in etcds:
        if process.running:
            process.resume()
        else:
            await asyncio.to_thread(process.start)
    # The timing of the defaults is tried once; it does not depend on caches.
    impatient = {"request_timeout_s": 3.0, "outcome_timeout_s": 6.0} if request.param == "uncached" else {}
    async with servers_of(request.param, *etcds, **impatient) as servers:
        yield servers


async def test_etcd_down(mortal: Servers) -> None:
    """Silence first: the write under way is answered before a client's deadline. Then what every kind answers."""
    histories = [await history_of(mortal, kind) for kind in ALL_KINDS]
    for history in histories:
        if mortal.cached(history.subject.kind):
            # What a cache is asked for below is what it has heard of.
            await history.subject.list(resource_version=history.latest)
    for etcd in (mortal.tenant_etcd, mortal.resource_etcd):
        etcd.pause()
    loop = asyncio.get_running_loop()
    started = loop.time()
    # One that waits for nothing else first: a placement's own partition, a lease of tenant "system".
    first = await asyncio.gather(
        refused(mortal.rp.clients.tenant_placements.create(_placement("first"))),
        refused(mortal.rp.clients.nodes.create(named(kinds.NODES, "first"))),
        refused(mortal.tp.clients.resource_partitions.create(_partition("first"))),
    )
    assert loop.time() - started < CLIENT_DEADLINE_S
    for error in first:
        assert error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN), error
        assert error.reason in ("ServiceUnavailable", "OutcomeUnknown"), "the server answers, not the deadline"
    for etcd in (mortal.tenant_etcd, mortal.resource_etcd):
        etcd.kill()

    async def unavailable(call: Any) -> None:
        error = await refused(call)
        assert (error.code, bool(error.retry_after_s)) == (grpc.StatusCode.UNAVAILABLE, True), error

    async with asyncio.TaskGroup() as tasks:
        for history in histories:
            subject = history.subject
            tasks.create_task(unavailable(subject.create("down")))
            tasks.create_task(unavailable(subject.client.delete(subject.prefix + "a0", **subject.place)))
            tasks.create_task(unavailable(subject.get("a0")))
            tasks.create_task(unavailable(subject.list()))
    for history in histories:
        subject = history.subject
        if not mortal.cached(subject.kind):
            continue  # reads of any age are given to caches
        assert (await subject.get("a0", 0)).metadata.uid
        assert subject.names(await subject.list(resource_version=0)) == history.now
        for sort in SORTS:
            async with subject.watch(sort, resource_version=0) as watch:
                assert len(await watch.seen(len(history.now))) == len(history.now)


def _placement(name: str) -> Any:
    made = named(kinds.TENANT_PLACEMENTS, name)
    made.spec.tenant_partition = "tp-9"
    return made


def _partition(name: str) -> Any:
    made = named(kinds.RESOURCE_PARTITIONS, name)
    made.spec.endpoints.append("127.0.0.1:1")
    return made


async def test_a_cache_that_is_initialising(etcds: tuple[EtcdProcess, EtcdProcess]) -> None:
    """Watches are told when to come again, clamp(e^(0.06·downtime), 1, 30) s; point reads go to etcd."""
    if not etcds[1].running:
        await asyncio.to_thread(etcds[1].start)
    config = resource_partition_config(etcds[1].endpoint, port())
    clock, rand, stopping = SystemClock(), Rand(), asyncio.Event()
    async with EtcdBackend(config.etcd, clock=clock, rand=rand) as backend, asyncio.TaskGroup() as tasks:
        begun = clock.monotonic()
        host = app.assemble(config, backend, clock=clock, rand=rand)
        host.work = {name: work for name, work in host.work.items() if name not in ("watch-cache-nodes", "garbage")}
        tasks.create_task(host.run(stopping))
        channel = make_channel([config.listen])
        try:
            nodes = Clientset(channel).nodes
            name = f"n-{begun:.0f}"
            created = await eventually(lambda: nodes.create(named(kinds.NODES, name)), within_s=20)
            assert await nodes.get(name) == created
            assert await nodes.get(name, resource_version=0) == created
            assert await nodes.get(name, resource_version=created.metadata.resource_version) == created
            with pytest.raises(StatusError) as caught:
                await anext(nodes.watch())
            error = caught.value
            assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "ServiceUnavailable")
            expected = min(30.0, max(1.0, math.exp(0.06 * (clock.monotonic() - begun))))
            assert error.retry_after_s == pytest.approx(expected, abs=0.2)
            assert not host.checks()["nodes"]
        finally:
            stopping.set()
            await channel.close()
