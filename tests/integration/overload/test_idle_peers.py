"""Peers that are connected and do nothing keep nothing: watches that nobody reads, calls that bring no request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

from services.api import kinds
from services.api.pb.ursa.meta.v1.meta_pb2 import GetRequest, WatchRequest
from services.api.pb.ursa.watch.v1.watch_pb2 import CreateWatch, WatchClientMessage
from services.apiserver import limits
from services.apiserver.overload import OverloadConfig
from services.rpc import arrivals, methods
from services.rpc.channel import CHANNEL_OPTIONS
from services.rpc.status import StatusError, from_rpc_error
from tests.integration.apiserver.world import Partition, eventually, named, resource_partition_config, running
from tests.support.etcd import EtcdProcess, free_port

pytestmark = pytest.mark.etcd

PORTS = range(21_000, 21_200)
FAT = 24
STUCK = 4
LIMITS = OverloadConfig(
    reads_at_once_max=2, lists_at_once_max=2, typed_watches_max=STUCK, multiplexed_streams_max=STUCK, wait_s_max=5.0
)


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdProcess]:
    process = EtcdProcess(free_port(PORTS), free_port(PORTS))
    try:
        yield process.start()
    finally:
        process.remove()


@pytest.fixture
async def partition(etcd: EtcdProcess, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Partition]:
    monkeypatch.setattr(limits, "WATCH_UNREAD_S_MAX", 1.0)
    monkeypatch.setattr(arrivals, "REQUEST_S_MAX", 1.0)
    async with running(resource_partition_config(etcd.endpoint, free_port(PORTS), overload=LIMITS)) as started:
        yield started


@pytest.fixture
async def deaf(partition: Partition) -> AsyncIterator[list[grpc.aio.Channel]]:
    """Connections that do not learn, as gRPC does while much comes fast, to take in what nobody has asked for."""
    options = [*CHANNEL_OPTIONS, ("grpc.http2.bdp_probe", 0)]
    channels = [grpc.aio.insecure_channel(partition.endpoint, options) for _ in range(STUCK)]
    yield channels
    for channel in channels:
        await channel.close()


async def fill(partition: Partition) -> None:
    if (await partition.clients.nodes.list()).items:
        return
    fat = [named(kinds.NODES, f"fat-{number:02}") for number in range(FAT)]
    for node in fat:
        node.metadata.annotations["padding"] = "x" * 240_000
    for start in range(0, FAT, 8):
        await partition.clients.nodes.batch_create(fat[start : start + 8])


def opening(partition: Partition) -> int:
    """Watches of nodes that hold an initial state which is not handed out."""
    store: Any = partition.host.api.resources["nodes"].store
    return sum(watcher.resume_revision == 0 for watcher in store._nodes.view.stream.watchers)


async def end_of(call: Any) -> StatusError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(20):
            while await call.read() is not grpc.aio.EOF:
                pass
    return from_rpc_error(caught.value)


async def test_typed_watches_that_nobody_reads_are_given_up(partition: Partition, deaf: list[grpc.aio.Channel]) -> None:
    await fill(partition)
    overload = partition.host.api.overload
    request = WatchRequest(send_initial_events=True, resource_version_match="NotOlderThan").SerializeToString()
    openers: list[Any] = [channel.unary_stream(methods.path(kinds.NODES, "Watch")) for channel in deaf]
    stuck = [open_watch(request) for open_watch in openers]
    for call in stuck:
        await call.initial_metadata()
    assert overload.typed_watches.count == STUCK

    async def all_given_up() -> bool:
        return (overload.typed_watches.count, overload.openings.running, opening(partition)) == (0, 0, 0)

    await eventually(all_given_up, within_s=4)
    # Whoever reads after all hears of it.
    error = await end_of(stuck[0])
    assert (error.code.name, error.reason) == ("RESOURCE_EXHAUSTED", "SlowWatcher")


async def test_multiplexed_streams_that_nobody_reads_are_given_up(
    partition: Partition, deaf: list[grpc.aio.Channel]
) -> None:
    await fill(partition)
    overload = partition.host.api.overload
    selection = WatchRequest(send_initial_events=True, resource_version_match="NotOlderThan")
    calls: list[Any] = [channel.stream_stream(methods.WATCH_METHOD)() for channel in deaf]
    for call in calls:
        for watch_id in (1, 2):
            create = CreateWatch(watch_id=watch_id, resource="nodes", selection=selection)
            await call.write(WatchClientMessage(create=create).SerializeToString())

    async def all_given_up() -> bool:
        return (overload.multiplexed_streams.count, opening(partition)) == (0, 0)

    async def all_stand() -> bool:
        return opening(partition) == 2 * STUCK

    await eventually(all_stand, within_s=4)
    await eventually(all_given_up, within_s=4)
    assert overload.openings.running == 0
    # One that was given up is not listened to either.
    late = CreateWatch(watch_id=3, resource="nodes", selection=selection)
    await calls[0].write(WatchClientMessage(create=late).SerializeToString())
    error = await end_of(calls[0])
    assert (error.code.name, error.reason) == ("RESOURCE_EXHAUSTED", "SlowWatcher")
    assert opening(partition) == 0


async def test_calls_that_bring_no_request_lose_their_place(partition: Partition) -> None:
    lane = partition.host.api.overload.reads
    method: Any = partition.channel.stream_unary(methods.path(kinds.NODES, "Get"))
    silent: list[Any] = [method() for _ in range(2)]

    async def full() -> bool:
        return lane.running == 2

    await eventually(full, within_s=5)
    # Stands in line until they have lost their places.
    get: Any = partition.channel.unary_unary(methods.path(kinds.NODES, "Get"))
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await get(GetRequest(name="nosuch").SerializeToString(), timeout=4)
    assert missing.value.code() is grpc.StatusCode.NOT_FOUND
    for call in silent:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(call, 5)
        error = from_rpc_error(caught.value)
        assert (error.code.name, error.reason) == ("DEADLINE_EXCEEDED", "Timeout")
        assert "no request within 1 s" in str(error)
    assert (lane.running, lane.budget.used) == (0, 0)


@pytest.mark.parametrize(("name", "lane_name"), [("List", "lists"), ("Watch", "openings")])
async def test_streams_that_bring_no_request_lose_their_place(partition: Partition, name: str, lane_name: str) -> None:
    lane = getattr(partition.host.api.overload, lane_name)
    silent: list[Any] = [partition.channel.stream_stream(methods.path(kinds.NODES, name))() for _ in range(2)]

    async def full() -> bool:
        return bool(lane.running == 2)

    await eventually(full, within_s=5)
    for call in silent:
        assert (await end_of(call)).code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert lane.running == 0
