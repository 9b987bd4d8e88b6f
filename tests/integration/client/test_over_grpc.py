"""Clientset and mux over real gRPC, against a partition in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from services.api.kinds import NODES, PODS
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.informer import Informer
from services.client.partitions import Connection
from services.rpc.status import StatusError
from tests.support.client_world import names, node, pod
from tests.support.fake_partition import FakePartition, serve

PORT = 17400


def connect(endpoint: str) -> Connection:
    return Connection("p", [endpoint], SystemClock(), Rand(1))


async def test_every_error_is_a_status_error() -> None:
    partition = FakePartition("tp-1")
    async with serve(partition) as endpoint:
        connection = connect(endpoint)
        pods = connection.clientset.pods
        with pytest.raises(StatusError) as missing:
            await pods.get("none", tenant="acme", namespace="default")
        assert (missing.value.code, missing.value.reason) == (grpc.StatusCode.NOT_FOUND, "NotFound")
        created = await pods.create(pod("a"))
        with pytest.raises(StatusError) as conflict:
            await pods.delete("a", tenant="acme", namespace="default", uid="other")
        assert conflict.value.reason == "Conflict"
        assert created.metadata.uid
        await connection.close()
        with pytest.raises(StatusError) as closed:
            await pods.get("a", tenant="acme", namespace="default")
        assert closed.value.code is grpc.StatusCode.UNAVAILABLE
    unreachable = connect("127.0.0.1:17599")
    with pytest.raises(StatusError) as refused:
        await unreachable.clientset.nodes.list()
    assert refused.value.code is grpc.StatusCode.UNAVAILABLE
    await unreachable.close()


async def test_closing_a_connection_fails_its_calls_and_cancels_no_task() -> None:
    partition = FakePartition("tp-1")
    gate = asyncio.Event()

    async def never(path: str, data: bytes) -> bytes:
        gate.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    partition.call = never  # type: ignore[method-assign]
    async with serve(partition) as endpoint, asyncio.TaskGroup() as group:
        connection = connect(endpoint)
        call = group.create_task(_error_of(connection))
        await gate.wait()
        await connection.close()
        error = await call
        assert error.code is grpc.StatusCode.UNAVAILABLE


async def _error_of(connection: Connection) -> StatusError:
    try:
        await connection.clientset.nodes.get("n")
    except StatusError as error:
        return error
    raise AssertionError("the call went well")


async def test_lists_pages_and_batches() -> None:
    partition = FakePartition("rp-1")
    async with serve(partition) as endpoint:
        connection = connect(endpoint)
        nodes = connection.clientset.nodes
        outcomes = await nodes.batch_create([node(f"n{i}") for i in range(5)])
        assert [outcome.status for outcome in outcomes] == [None] * 5
        again = await nodes.batch_create([node("n1"), node("n9")])
        assert again[0].status is not None
        assert again[0].status.reason == "AlreadyExists"
        assert again[1].status is None
        assert again[1].uid
        listing = await nodes.list()
        assert names(listing.items) == ["n0", "n1", "n2", "n3", "n4", "n9"]
        pages = [page async for page in nodes.pages(limit=4)]
        assert [len(page.items) for page in pages] == [4, 2]
        assert pages[0].remaining == 2
        await connection.close()


async def test_a_restarted_server_is_found_again_and_nothing_is_missed() -> None:
    partition = FakePartition("rp-1")
    partition.put(NODES, node("a"))
    async with Supervisor() as tasks:
        connection = connect(f"127.0.0.1:{PORT}")
        tasks.start(connection.run(), name="connection")
        changed = asyncio.Event()
        states: asyncio.Queue[bool] = asyncio.Queue()
        informer = Informer[Any](
            connection.mux,
            NODES,
            on_batch=lambda _: changed.set(),
            on_state=lambda i: states.put_nowait(i.connected),
        ).start()
        async with serve(partition, PORT):
            assert await asyncio.wait_for(states.get(), 10)
            assert names(list(informer.store.values())) == ["a"]
        assert not await asyncio.wait_for(states.get(), 10)
        partition.put(NODES, node("b"))
        changed.clear()
        async with serve(partition, PORT):
            assert await asyncio.wait_for(states.get(), 15)
            await asyncio.wait_for(changed.wait(), 5)
            assert names(list(informer.store.values())) == ["a", "b"]


async def test_two_thousand_watches_share_one_stream() -> None:
    partition = FakePartition("tp-1")
    async with serve(partition) as endpoint, Supervisor() as tasks:
        connection = connect(endpoint)
        tasks.start(connection.run(), name="connection")
        got: asyncio.Queue[str] = asyncio.Queue()
        informers = [
            Informer[Any](
                connection.mux,
                PODS,
                tenant="*",
                field_selector=f"spec.nodeName=n{i},spec.resourcePartition=rp-1",
                on_batch=lambda changes: [got.put_nowait(c.new.spec.node_name) for c in changes] and None,
            ).start()
            for i in range(2000)
        ]
        async with asyncio.timeout(20):
            await asyncio.gather(*(informer.synced.wait() for informer in informers))
            assert partition.watches == 2000
            partition.put(PODS, pod("p", node_name="n77"))
            assert await got.get() == "n77"
        for informer in informers[:1999]:
            informer.close()
        async with asyncio.timeout(10):
            partition.put(PODS, pod("q", node_name="n1999"))
            assert await got.get() == "n1999"
            await connection.clientset.nodes.list()
        assert partition.watches <= 2000
