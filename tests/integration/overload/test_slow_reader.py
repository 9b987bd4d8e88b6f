"""One reader never reads: nobody else notices, and it has lost nothing when it reads after all."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

from services.api import kinds
from services.api.pb.ursa.meta.v1.meta_pb2 import WatchRequest
from services.api.pb.ursa.tenancy.v1.tenancy_pb2 import TenantPlacement
from services.api.pb.ursa.watch.v1.watch_pb2 import WatchBatch
from services.rpc import methods
from services.rpc.channel import CHANNEL_OPTIONS
from tests.integration.apiserver.world import Partition, eventually, named, resource_partition_config, running
from tests.support.etcd import EtcdProcess, free_port

pytestmark = pytest.mark.etcd

PORTS = range(21_200, 21_400)
MEMORY = "/dev/shm"
WATCHERS = 20
WRITES = 60
# More than flow control and gRPC's buffers take in for a reader that does not read (about 64 kB and a message).
ANNOTATION_BYTES = 20_000


@pytest.fixture
def etcd() -> Iterator[EtcdProcess]:
    """Its files are in memory where that can be: this is about watchers, and not about a disk."""
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="ursa-etcd-", dir=place) as directory:
        process = EtcdProcess(free_port(PORTS), free_port(PORTS), data_dir=pathlib.Path(directory))
        try:
            yield process.start()
        finally:
            process.remove()


@pytest.fixture
async def partition(etcd: EtcdProcess) -> AsyncIterator[Partition]:
    config = resource_partition_config(etcd.endpoint, free_port(PORTS))
    # Writes of one after the other have nothing to gather for, and how long they may is as long as what is measured.
    at_once = dataclasses.replace(config.etcd, commit_gather_s=0.0)
    async with running(dataclasses.replace(config, etcd=at_once)) as started:
        yield started


async def watch(channel: grpc.aio.Channel) -> Any:
    method: Any = channel.unary_stream(
        methods.path(kinds.TENANT_PLACEMENTS, "Watch"),
        request_serializer=WatchRequest.SerializeToString,
        response_deserializer=WatchBatch.FromString,
    )
    call = method(WatchRequest(send_initial_events=False))
    await call.initial_metadata()
    return call


async def names(call: Any, count: int) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        batch = await call.read()
        found += [TenantPlacement.FromString(event.object).metadata.name for event in batch.events]
    return found


async def latencies(partition: Partition, calls: list[Any], prefix: str) -> list[float]:
    """Seconds from a write's beginning until every one of ``calls`` has its event, write after write."""
    taken = []
    for number in range(WRITES):
        placement = named(kinds.TENANT_PLACEMENTS, f"{prefix}-{number}")
        placement.spec.tenant_partition = "tp-1"
        placement.metadata.annotations["padding"] = "x" * ANNOTATION_BYTES
        began = time.perf_counter()
        await partition.clients.resource(kinds.TENANT_PLACEMENTS).create(placement)
        seen = await asyncio.gather(*(names(call, 1) for call in calls))
        assert seen == [[placement.metadata.name]] * len(calls)
        taken.append(time.perf_counter() - began)
    return taken


@pytest.mark.timeout(120)
async def test_nobody_waits_for_a_reader_that_never_reads(partition: Partition) -> None:
    calls = [await watch(partition.channel) for _ in range(WATCHERS)]
    alone = await latencies(partition, calls, "alone")
    # A connection of its own, so that its flow control is nobody else's; and one that does not learn, as it does from
    # events that come fast, to take in megabytes that nobody has asked for.
    other = grpc.aio.insecure_channel(partition.endpoint, [*CHANNEL_OPTIONS, ("grpc.http2.bdp_probe", 0)])
    unread = await watch(other)
    beside = await latencies(partition, calls, "beside")
    # A dispatch that waits for it would not have come this far; one that is slowed down by it shows at the end.
    view = partition.host.api.resources["tenantplacements"].store.view  # type: ignore[attr-defined]

    def behind() -> list[Any]:
        return [watcher for watcher in view.stream.watchers if watcher.resume_revision < view.revision]

    async def one_is_behind() -> bool:
        return len(behind()) == 1

    # It was stuck indeed: all others come to the end.
    await eventually(one_is_behind, within_s=5)
    # It kept its place in the window, and lost nothing.
    async with asyncio.timeout(30):
        assert await names(unread, WRITES) == [f"beside-{number}" for number in range(WRITES)]
    await other.close()
    # The machine is shared: what it does alone is measured before and after.
    again = await latencies(partition, calls, "again")
    slower = max(statistics.median(alone), statistics.median(again))
    assert statistics.median(beside) <= 2.0 * slower + 0.02
