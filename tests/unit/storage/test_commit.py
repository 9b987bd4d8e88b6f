"""Group commit before an etcd whose answers are written down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from aetcd import rpc

from services.base.clock import FakeClock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.storage.errors import OutcomeUnknown, StorageFull, Unavailable
from services.storage.etcd.commit import Committer
from services.storage.etcd.config import EtcdConfig
from services.storage.interface import Lane, Record, Write


def _failure(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


BUSY = _failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: too many requests")
FULL = _failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")


class ScriptedCalls:
    """Takes every transaction for possible, unless ``refuse`` says otherwise; every comparison holds."""

    def __init__(self) -> None:
        self.revision = 10
        self.sent: list[Any] = []
        self.refuse: Callable[[Any], grpc.aio.AioRpcError | None] = lambda request: None
        self.silent = False
        self.changed = asyncio.Event()

    async def grant(self, ttl_s: int) -> int:
        return ttl_s

    async def range(self, request: Any) -> Any:
        return rpc.RangeResponse()

    async def send_transaction(self, payload: bytes) -> Any:
        request = rpc.TxnRequest.FromString(payload)
        self.sent.append(request)
        self.changed.set()
        if self.silent:
            await asyncio.Event().wait()
        failure = self.refuse(request)
        if failure is not None:
            raise failure
        self.revision += 1
        answer = rpc.ResponseOp(response_txn=rpc.TxnResponse(succeeded=True))
        header = rpc.ResponseHeader(revision=self.revision)
        return rpc.TxnResponse(header=header, succeeded=True, responses=[answer] * len(request.success))

    def batches(self) -> list[list[bytes]]:
        """The keys of each transaction, without the session's own."""
        found = []
        for request in self.sent:
            keys = [
                operation.request_txn.compare[0].key for operation in request.success if operation.request_txn.compare
            ]
            if keys:
                found.append(keys)
        return found


class World:
    def __init__(self, calls: ScriptedCalls, clock: FakeClock, committer: Committer) -> None:
        self.calls = calls
        self.clock = clock
        self.committer = committer

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds * 20)):
            await self.clock.advance(0.05)
            await self.settle()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    calls, clock = ScriptedCalls(), FakeClock()
    committer = Committer(calls, EtcdConfig(max_txn_ops=4096), clock, Rand(1))  # type: ignore[arg-type]
    async with Supervisor() as tasks:
        tasks.start(committer.run(), name="commit")
        yield World(calls, clock, committer)


@contextlib.asynccontextmanager
async def _submitted(world: World, *writes: Write) -> AsyncIterator[asyncio.Task[Any]]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(world.committer.submit(writes))
        await world.settle()
        yield task


def _put(key: str, lane: Lane = Lane.WORKLOAD) -> Write:
    return Write(key, b"v", 0, lane)


async def test_too_many_requests_are_sent_again_after_a_pause(world: World) -> None:
    world.calls.refuse = lambda request: BUSY if len(world.calls.batches()) < 3 and len(request.success) > 1 else None
    async with _submitted(world, _put("a"), _put("b")) as task:
        assert not task.done()
        await world.pass_time(1)
    assert [type(outcome) for outcome in task.result()] == [Record, Record]
    assert world.calls.batches() == [[b"a", b"b"]] * 3


async def test_too_many_requests_for_too_long_is_unavailable_and_nothing_was_written(world: World) -> None:
    world.calls.refuse = lambda request: BUSY if len(request.success) > 1 else None
    async with _submitted(world, _put("a")) as task:
        await world.pass_time(5.5)
    assert [type(outcome) for outcome in task.result()] == [Unavailable]


async def test_without_space_puts_are_refused_and_deletions_go_by_themselves(world: World) -> None:
    def refuse(request: Any) -> grpc.aio.AioRpcError | None:
        return FULL if request.success[0].HasField("request_put") else None

    world.calls.refuse = refuse
    async with _submitted(world, _put("a"), Write("b", None, 5), _put("c")) as task:
        pass
    first, second, third = task.result()
    assert isinstance(first, StorageFull) and isinstance(third, StorageFull) and second is None
    assert world.calls.batches() == [[b"a", b"b", b"c"], [b"b"]]


async def test_heartbeats_gather_for_a_second_and_binds_do_not_wait_for_them(world: World) -> None:
    async with _submitted(world, *(_put(f"lease{n}", Lane.HEARTBEAT) for n in range(3))) as early:
        await world.pass_time(0.5)
        async with _submitted(world, _put("bind", Lane.SYSTEM)) as bind:
            pass  # at once
        assert isinstance(bind.result()[0], Record)
        async with _submitted(world, _put("lease3", Lane.HEARTBEAT)) as late:
            assert not early.done()
            await world.pass_time(0.6)
            assert early.done() and late.done(), "acknowledged when the gathered batch is stored"
    assert world.calls.batches() == [[b"bind"], [b"lease0", b"lease1", b"lease2", b"lease3"]]


async def test_a_write_without_an_answer_is_told_so_before_a_client_of_ten_seconds_gives_up(world: World) -> None:
    async with _submitted(world, _put("warm")):
        pass
    world.calls.silent = True
    async with _submitted(world, _put("sent")) as sent, _submitted(world, _put("queued")) as queued:
        await world.pass_time(5.4)
        assert isinstance(queued.result()[0], Unavailable), "it was never sent: nothing was written"
        assert not sent.done()
        await world.pass_time(4.0)
        assert isinstance(sent.result()[0], OutcomeUnknown)
