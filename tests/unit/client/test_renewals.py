"""The client's renewal stream: what is not answered is sent again, what is refused is told, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest

from services.api.kinds import LEASES
from services.api.pb.ursa.coordination.v1.lease_pb2 import Lease
from services.api.pb.ursa.coordination.v1.lease_service_pb2 import LeaseRenewal
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.base.tasks import stop_task
from services.client.renewals import LeaseRenewals, Refusals
from services.rpc import status
from services.rpc.status import StatusError
from tests.support.client_world import fake_connection, until
from tests.support.fake_partition import FakePartition

PLACE = ("system", "kube-node-lease")


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.partition = FakePartition("rp-1", clock=self.clock)
        channel = fake_connection(self.partition, self.clock).channel
        self.renewals = LeaseRenewals(channel, self.clock, Rand(1), partition="rp-1")

    def lease(self, name: str, holder: str = "") -> None:
        lease = Lease()
        lease.metadata.name, lease.metadata.tenant, lease.metadata.namespace = name, *PLACE
        lease.spec.holder_identity = holder or name
        self.partition.put(LEASES, lease)

    def renewed_s(self, name: str) -> float:
        time = self.partition.get(LEASES, name, *PLACE).spec.renew_time
        return time.seconds + time.nanos / 1e9  # type: ignore[no-any-return]

    def renew(self, *names: str, timeout_s: float = 5.0) -> asyncio.Task[Refusals]:
        wanted = [LeaseRenewal(name=name, holder_identity=name) for name in names]
        tenant, namespace = PLACE
        return asyncio.ensure_future(  # type: ignore[return-value]
            self.renewals.renew(
                wanted, tenant=tenant, namespace=namespace, now_s=self.clock.time(), timeout_s=timeout_s
            )
        )

    async def done(self, task: asyncio.Task[Refusals]) -> Refusals:
        await until(self.clock, task.done)
        return task.result()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.renewals.run())
        try:
            yield
            if task.done():
                task.result()
        finally:
            await stop_task(task)


async def test_a_renewal_is_answered_when_it_is_stored() -> None:
    world = World()
    world.lease("a")
    world.lease("b")
    async with world.running():
        await world.clock.advance(0.123456)
        asked_s = world.clock.time()
        assert await world.done(world.renew("a", "b")) == {}
        assert world.renewed_s("a") == world.renewed_s("b") == pytest.approx(asked_s, abs=2e-6)


async def test_each_refusal_is_told_by_its_place_and_the_others_are_stored() -> None:
    world = World()
    world.lease("a")
    world.lease("theirs", holder="somebody")
    async with world.running():
        refusals = await world.done(world.renew("gone", "a", "theirs"))
        assert {index: error.reason for index, error in refusals.items()} == {0: "NotFound", 2: "Conflict"}
        assert world.renewed_s("a") > 0 and world.renewed_s("theirs") == 0


async def test_a_request_that_is_refused_as_a_whole_fails() -> None:
    world = World()
    world.lease("a")
    world.partition.refuse_next("Renew", status.resource_exhausted("TooManyRequests", "full", retry_after_s=1.0))
    async with world.running():
        with pytest.raises(StatusError) as caught:
            await world.done(world.renew("a"))
        assert (caught.value.reason, caught.value.retry_after_s) == ("TooManyRequests", 1.0)
        assert await world.done(world.renew("a")) == {}


async def test_what_was_not_answered_is_sent_again_on_the_next_stream() -> None:
    world = World()
    world.lease("a")
    world.partition.fall_silent("Renew")
    async with world.running():
        first, second = world.renew("a", timeout_s=30), world.renew("a", timeout_s=30)
        await until(world.clock, lambda: len(world.partition.unanswered) == 2)
        world.partition.speak()
        world.partition.drop_streams()
        assert await world.done(first) == await world.done(second) == {}
        assert [request.id for request in world.partition.called("Renew")] == [1, 2, 1, 2]


async def test_a_renewal_waits_for_a_partition_that_comes_back() -> None:
    world = World()
    world.lease("a")
    world.partition.go_down()
    async with world.running():
        waiting = world.renew("a", timeout_s=30)
        await world.clock.advance(10)
        assert not waiting.done()
        world.partition.come_back()
        assert await world.done(waiting) == {}


async def test_a_server_that_answers_nothing_is_left_for_another_stream() -> None:
    world = World()
    world.lease("a")
    async with world.running():
        assert await world.done(world.renew("a")) == {}
        world.partition.fall_silent("Renew")
        with pytest.raises(StatusError) as caught:
            await world.done(world.renew("a", timeout_s=5))
        assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        waiting = world.renew("a", timeout_s=5)
        await until(world.clock, lambda: len(world.partition.unanswered) == 2)
        world.partition.speak()
        with pytest.raises(StatusError):
            await world.done(waiting)  # Its answer was lost with the stream that it was sent on.
        assert await world.done(world.renew("a")) == {}


async def test_a_renewal_that_nobody_waits_for_is_not_sent() -> None:
    world = World()
    world.lease("a")
    world.partition.go_down()
    async with world.running():
        waiting = world.renew("a", timeout_s=30)
        await world.clock.advance(1)
        await stop_task(waiting)
        world.partition.come_back()
        assert await world.done(world.renew("a")) == {}
        assert [request.id for request in world.partition.called("Renew")] == [2]


async def test_a_server_without_renewals_says_so_to_whoever_waits() -> None:
    world = World()
    call = FailingCall(grpc.StatusCode.UNIMPLEMENTED)
    world.renewals._method = lambda: call
    async with world.running():
        with pytest.raises(StatusError) as caught:
            await world.done(world.renew("a", timeout_s=30))
        assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED
        assert world.clock.monotonic() < 5


class FailingCall:
    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    async def read(self) -> None:
        raise grpc.aio.AioRpcError(self._code, grpc.aio.Metadata(), grpc.aio.Metadata(), "no such method", "")

    async def write(self, message: object) -> None:
        pass

    def cancel(self) -> None:
        pass
