"""How many watches may stand: beyond that RESOURCE_EXHAUSTED with RetryInfo, and those that stand go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

from services.api import kinds
from services.api.pb.ursa.meta.v1.meta_pb2 import WatchRequest
from services.api.pb.ursa.watch.v1.watch_pb2 import (
    CancelWatch,
    CreateWatch,
    WatchBatch,
    WatchClientMessage,
    WatchServerMessage,
)
from services.apiserver.overload import OverloadConfig
from services.rpc import methods
from services.rpc.status import StatusError, from_rpc_error, from_status
from tests.integration.apiserver.world import Partition, eventually, named, resource_partition_config, running
from tests.support.etcd import EtcdProcess, free_port

pytestmark = pytest.mark.etcd

PORTS = range(21_000, 21_200)
LIMITS = OverloadConfig(typed_watches_max=3, multiplexed_watches_max=2, multiplexed_streams_max=2, retry_after_s=0.25)


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdProcess]:
    process = EtcdProcess(free_port(PORTS), free_port(PORTS))
    try:
        yield process.start()
    finally:
        process.remove()


@pytest.fixture
async def partition(etcd: EtcdProcess) -> AsyncIterator[Partition]:
    async with running(resource_partition_config(etcd.endpoint, free_port(PORTS), overload=LIMITS)) as started:
        yield started


def typed_watch(partition: Partition) -> Any:
    method: Any = partition.channel.unary_stream(
        methods.path(kinds.NODES, "Watch"), request_serializer=WatchRequest.SerializeToString
    )
    return method(WatchRequest(send_initial_events=False))


async def standing(partition: Partition) -> Any:
    """A typed watch whose headers are in: the server serves it."""
    call = typed_watch(partition)
    await call.initial_metadata()
    return call


async def refusal(call: Any) -> StatusError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    return from_rpc_error(caught.value)


async def test_typed_watches_beyond_the_limit_are_told_when_to_come_back(partition: Partition) -> None:
    async with asyncio.timeout(30):
        open_ones = [await standing(partition) for _ in range(3)]
        refused = await refusal(typed_watch(partition))
        assert (refused.code.name, refused.reason) == ("RESOURCE_EXHAUSTED", "TooManyRequests")
        assert refused.retry_after_s == 0.25
        # Those that stand go on.
        await partition.clients.nodes.create(named(kinds.NODES, "limits-1"))
        for call in open_ones:
            assert await call.read() is not grpc.aio.EOF
        # A place that is left is there for the next.
        open_ones.pop().cancel()
        open_ones.append(await eventually(lambda: _opened(partition)))
        for call in open_ones:
            call.cancel()


async def _opened(partition: Partition) -> Any:
    call = typed_watch(partition)
    try:
        await call.initial_metadata()
        if not call.done():
            return call
    except grpc.aio.AioRpcError:
        return None
    return None


async def test_a_multiplexed_stream_has_a_limit_of_its_own(partition: Partition) -> None:
    method: Any = partition.channel.stream_stream(
        methods.WATCH_METHOD,
        request_serializer=WatchClientMessage.SerializeToString,
        response_deserializer=WatchServerMessage.FromString,
    )
    call = method()
    said: dict[int, WatchBatch] = {}

    async def until(watch_id: int) -> WatchBatch:
        while watch_id not in said:
            for batch in (await call.read()).batches:
                said[batch.watch_id] = batch
        return said.pop(watch_id)

    async def create(watch_id: int) -> WatchBatch:
        selection = WatchRequest(send_initial_events=False)
        await call.write(
            WatchClientMessage(create=CreateWatch(watch_id=watch_id, resource="nodes", selection=selection))
        )
        return await until(watch_id)

    async with asyncio.timeout(30):
        assert (await create(1)).created and (await create(2)).created
        refused = from_status((await create(3)).error)
        assert (refused.reason, refused.retry_after_s) == ("TooManyRequests", 0.25)
        await call.write(WatchClientMessage(cancel=CancelWatch(watch_id=1)))
        assert (await until(1)).canceled
        assert (await create(4)).created
    call.cancel()


async def test_streams_beyond_the_limit_are_told_when_to_come_back(partition: Partition) -> None:
    method: Any = partition.channel.stream_stream(methods.WATCH_METHOD)

    async def opened() -> Any:
        call = method()
        await call.initial_metadata()
        return call

    async with asyncio.timeout(30):
        first, second = await opened(), await opened()
        refused = await refusal(method())
        assert (refused.code.name, refused.reason, refused.retry_after_s) == (
            "RESOURCE_EXHAUSTED",
            "TooManyRequests",
            0.25,
        )
        first.cancel()
        streams = partition.host.api.overload.multiplexed_streams

        async def one_left() -> bool:
            return streams.count == 1

        await eventually(one_left)
        third = await opened()
        assert not third.done()
        second.cancel()
        third.cancel()
