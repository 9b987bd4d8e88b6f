"""Lists that are not read, or that wait for what has not happened yet, are in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

from services.api import kinds
from services.api.pb.ursa.meta.v1.meta_pb2 import ListRequest
from services.apiserver import limits
from services.rpc import methods
from services.rpc.channel import CHANNEL_OPTIONS
from services.rpc.status import StatusError, from_rpc_error
from tests.integration.apiserver.world import Partition, eventually, named, resource_partition_config, running
from tests.support.etcd import EtcdProcess, free_port

pytestmark = pytest.mark.etcd

PORTS = range(21_000, 21_200)
FAT = 24
STUCK = 20


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdProcess]:
    process = EtcdProcess(free_port(PORTS), free_port(PORTS))
    try:
        yield process.start()
    finally:
        process.remove()


@pytest.fixture
async def partition(etcd: EtcdProcess, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Partition]:
    monkeypatch.setattr(limits, "LIST_UNREAD_S_MAX", 1.0)
    async with running(resource_partition_config(etcd.endpoint, free_port(PORTS))) as started:
        yield started


async def fill(partition: Partition) -> None:
    fat = [named(kinds.NODES, f"fat-{number:02}") for number in range(FAT)]
    for node in fat:
        node.metadata.annotations["padding"] = "x" * 240_000
    for start in range(0, FAT, 8):
        await partition.clients.nodes.batch_create(fat[start : start + 8])


async def test_lists_that_nobody_reads_are_given_up(partition: Partition) -> None:
    await fill(partition)
    lane = partition.host.api.overload.lists
    request = ListRequest(resource_version=0).SerializeToString()
    # They do not learn, as gRPC does while much comes fast, to take in megabytes that nobody has asked for.
    options = [*CHANNEL_OPTIONS, ("grpc.http2.bdp_probe", 0)]
    channels = [grpc.aio.insecure_channel(partition.endpoint, options) for _ in range(STUCK)]
    stuck: list[Any] = [channel.unary_stream(methods.path(kinds.NODES, "List"))(request) for channel in channels]

    async def full() -> bool:
        return lane.running == 16

    await eventually(full, within_s=10)
    assert (await partition.clients.tenant_placements.list()).items is not None

    async def all_given_up() -> bool:
        return lane.running == 0

    await eventually(all_given_up, within_s=15)
    # Whoever reads after all hears of it.
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while await stuck[0].read() is not grpc.aio.EOF:
            pass
    error = from_rpc_error(caught.value)
    assert (error.code.name, error.reason, error.retry_after_s) == ("RESOURCE_EXHAUSTED", "TooManyRequests", 1.0)
    # And those who read get everything.
    assert len((await partition.clients.nodes.list()).items) == FAT
    for channel in channels:
        await channel.close()


async def test_lists_that_are_ahead_wait_in_nobodys_way(partition: Partition) -> None:
    async def ahead() -> str:
        with pytest.raises(StatusError) as caught:
            await partition.clients.nodes.list(resource_version=1 << 50)
        return caught.value.reason

    loop = asyncio.get_running_loop()
    waiting = [asyncio.ensure_future(ahead()) for _ in range(64)]
    aside = partition.host.api.overload.lists_aside

    async def all_wait() -> bool:
        return aside.waiting == 64

    await eventually(all_wait, within_s=2.5)
    began = loop.time()
    await partition.clients.tenant_placements.list(resource_version=0)
    assert loop.time() - began < 1.0
    assert set(await asyncio.gather(*waiting)) == {"ResourceVersionTooLarge"}
    assert (partition.host.api.overload.lists.running, aside.waiting) == (0, 0)
