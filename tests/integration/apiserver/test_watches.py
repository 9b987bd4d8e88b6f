"""Watches: typed streams and the multiplexed one, which share their frames."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from services.api import kinds
from services.api.kinds import Kind
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.meta.v1.meta_pb2 import WatchRequest
from services.api.pb.ursa.watch.v1.watch_pb2 import (
    ADDED,
    DELETED,
    MODIFIED,
    CancelWatch,
    CreateWatch,
    WatchBatch,
    WatchClientMessage,
    WatchServerMessage,
)
from services.apiserver import limits
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client import informer as informer_module
from services.client.informer import Informer
from services.client.partitions import Connection
from services.rpc import methods
from services.rpc.status import from_status
from tests.integration.apiserver.world import World, binding, eventually, pod, refused

pytestmark = pytest.mark.etcd


class Mux:
    """A bare client of the multiplexed watch: batches by watch id, in order."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        method: Any = channel.stream_stream(
            methods.WATCH_METHOD,
            request_serializer=WatchClientMessage.SerializeToString,
            response_deserializer=WatchServerMessage.FromString,
        )
        self.call = method()
        self.messages = 0
        self._batches: dict[int, list[WatchBatch]] = {}

    async def create(self, watch_id: int, resource: str, *, gather_ms: int = 0, **selection: Any) -> None:
        wanted = WatchRequest(**selection)
        create = CreateWatch(watch_id=watch_id, resource=resource, selection=wanted, gather_ms=gather_ms)
        await self.call.write(WatchClientMessage(create=create))

    async def cancel(self, watch_id: int) -> None:
        await self.call.write(WatchClientMessage(cancel=CancelWatch(watch_id=watch_id)))

    async def next(self, watch_id: int) -> WatchBatch:
        """The next batch of one watch; those of others are kept."""
        async with asyncio.timeout(10):
            while not self._batches.get(watch_id):
                message = await self.call.read()
                assert message is not grpc.aio.EOF
                self.messages += 1
                for batch in message.batches:
                    self._batches.setdefault(batch.watch_id, []).append(batch)
        return self._batches[watch_id].pop(0)

    async def events(self, watch_id: int, count: int, kind: Kind = kinds.PODS) -> list[tuple[int, str]]:
        """The next ``count`` events of one watch, as (type, name)."""
        found: list[tuple[int, str]] = []
        while len(found) < count:
            batch = await self.next(watch_id)
            assert not batch.HasField("error"), batch.error
            parsed: list[Any] = [kind.message.FromString(event.object) for event in batch.events]
            found += [(event.type, obj.metadata.name) for event, obj in zip(batch.events, parsed, strict=True)]
        return found


@contextlib.asynccontextmanager
async def mux(world: World) -> AsyncIterator[Mux]:
    opened = Mux(world.tp.channel)
    try:
        yield opened
    finally:
        opened.call.cancel()


async def typed(stream: AsyncIterator[Any], count: int) -> list[Any]:
    """The next ``count`` events of a typed watch."""
    found: list[Any] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += (await anext(stream)).events
    return found


async def test_a_typed_watch_begins_with_the_state_and_follows(world: World, acme: str) -> None:
    first = await world.pods.create(pod(acme, "a"))
    stream = world.pods.watch(tenant=acme)
    (event,) = await typed(stream, 1)
    assert (event.type, event.object) == (ADDED, first)
    second = await world.pods.create(pod(acme, "b"))
    bound = await world.pods.bind(binding(acme, "a", "n1"))
    gone = await world.pods.delete("b", tenant=acme, namespace="default")
    added, modified, deleted = await typed(stream, 3)
    assert (added.type, added.object) == (ADDED, second)
    assert (modified.type, modified.object) == (MODIFIED, bound)
    assert (deleted.type, deleted.object.metadata.uid) == (DELETED, gone.metadata.uid)
    assert deleted.object.metadata.resource_version > bound.metadata.resource_version
    await stream.aclose()


async def test_a_watch_from_a_version_has_exactly_what_came_after(world: World, acme: str) -> None:
    first = await world.pods.create(pod(acme, "a"))
    await world.pods.create(pod(acme, "b"))
    await world.pods.create(pod(acme, "c"))
    stream = world.pods.watch(tenant=acme, resource_version=first.metadata.resource_version)
    assert [event.object.metadata.name for event in await typed(stream, 2)] == ["b", "c"]
    await stream.aclose()


async def test_initial_events_end_with_a_bookmark(world: World, acme: str) -> None:
    await world.pods.create(pod(acme, "a"))
    stream = world.pods.watch(tenant=acme, send_initial_events=True, bookmarks=True)
    names: list[str] = []
    async with asyncio.timeout(10):
        async for batch in stream:
            names += [event.object.metadata.name for event in batch.events]
            if batch.initial_events_end:
                break
    assert names == ["a"]
    assert batch.bookmark
    assert batch.resource_version > 0
    await stream.aclose()


async def test_a_selector_turns_entering_and_leaving_into_added_and_deleted(world: World, acme: str) -> None:
    await world.pods.create(pod(acme, "a"))
    async with mux(world) as watches:
        await watches.create(1, "pods", tenant=acme, field_selector="spec.nodeName=")
        await watches.create(2, "pods", tenant=acme, field_selector="spec.nodeName=n1")
        assert (await watches.next(1)).created
        assert (await watches.next(2)).created
        assert await watches.events(1, 1) == [(ADDED, "a")]
        await world.pods.bind(binding(acme, "a", "n1"))
        assert await watches.events(1, 1) == [(DELETED, "a")]
        assert await watches.events(2, 1) == [(ADDED, "a")]


async def test_one_stream_carries_watches_of_many_kinds(world: World, acme: str) -> None:
    async with mux(world) as watches:
        await watches.create(1, "pods", tenant=acme)
        await watches.create(2, "namespaces", tenant=acme)
        await watches.create(3, "pods", tenant="*", resource_version=0, send_initial_events=False)
        for watch_id in (1, 2, 3):
            assert (await watches.next(watch_id)).created
        assert await watches.events(2, 1, kinds.NAMESPACES) == [(ADDED, "default")]
        created = await world.pods.create(pod(acme, "a"))
        assert await watches.events(1, 1) == [(ADDED, "a")]
        batch = await watches.next(3)
        assert [Pod.FromString(event.object) for event in batch.events] == [created]
        assert batch.resource_version == created.metadata.resource_version


async def test_an_error_ends_one_watch_and_no_other(world: World, acme: str) -> None:
    async with mux(world) as watches:
        await watches.create(1, "pods", tenant=acme)
        await watches.create(2, "pods", tenant="nobody")
        await watches.create(3, "nodes")
        await watches.create(4, "pods", tenant=acme, label_selector="a in (")
        await watches.create(5, "pods", tenant=acme, send_initial_events=True)
        reasons = {}
        for watch_id in (2, 3, 4, 5):
            batch = await watches.next(watch_id)
            assert batch.canceled
            error = from_status(batch.error)
            reasons[watch_id] = (error.reason, [violation.field for violation in error.violations])
        assert reasons == {
            2: ("NotFound", []),
            3: ("BadRequest", ["create.resource"]),
            4: ("BadRequest", ["label_selector"]),
            5: ("Invalid", ["resource_version_match"]),
        }
        assert (await watches.next(1)).created
        await world.pods.create(pod(acme, "a"))
        assert await watches.events(1, 1) == [(ADDED, "a")]


async def test_a_cancelled_watch_is_silent_and_its_id_free_again(world: World, acme: str) -> None:
    async with mux(world) as watches:
        await watches.create(1, "pods", tenant=acme)
        assert (await watches.next(1)).created
        await watches.cancel(1)
        assert (await watches.next(1)).canceled
        await world.pods.create(pod(acme, "a"))
        await watches.create(1, "pods", tenant=acme)
        assert (await watches.next(1)).created
        assert await watches.events(1, 1) == [(ADDED, "a")]


async def test_a_watch_id_in_use_is_refused(world: World, acme: str) -> None:
    async with mux(world) as watches:
        await watches.create(1, "pods", tenant=acme)
        assert (await watches.next(1)).created
        await watches.create(1, "pods", tenant=acme)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watches.next(1)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_two_thousand_watches_by_node_get_their_own_pods(world: World, acme: str) -> None:
    async with mux(world) as watches:
        for number in range(1, 2001):
            await watches.create(number, "pods", tenant="*", field_selector=f"spec.nodeName={acme}-{number}")
        for number in range(1, 2001):
            assert (await watches.next(number)).created
        chosen = [7, 1000, 1999]
        for number in chosen:
            await world.pods.create(pod(acme, f"web-{number}"))
            await world.pods.bind(binding(acme, f"web-{number}", f"{acme}-{number}"))
        for number in chosen:
            assert await watches.events(number, 1) == [(ADDED, f"web-{number}")]
        assert not any(batches for batches in watches._batches.values())


async def test_a_large_initial_state_comes_in_small_turns(world: World, acme: str) -> None:
    fat = [pod(acme, f"web-{n:02}") for n in range(20)]
    for item in fat:
        item.metadata.annotations["padding"] = "x" * 20_000
    await world.pods.batch_create(fat)
    async with mux(world) as watches:
        await watches.create(1, "pods", tenant=acme)
        names: list[str] = []
        async with asyncio.timeout(10):
            while len(names) < 20:
                message = await watches.call.read()
                assert message.ByteSize() < 2 * 64 * 1024
                for batch in message.batches:
                    names += [Pod.FromString(event.object).metadata.name for event in batch.events]
        assert names == [f"web-{n:02}" for n in range(20)]


async def test_a_half_closed_stream_goes_on_until_its_watches_end(world: World, acme: str) -> None:
    async with mux(world) as watches:
        await watches.create(1, "pods", tenant=acme, timeout_seconds=4)
        await watches.call.done_writing()
        await world.pods.create(pod(acme, "a"))
        assert (await watches.next(1)).created
        assert await watches.events(1, 1) == [(ADDED, "a")]
        assert (await watches.next(1)).canceled
        async with asyncio.timeout(5):
            assert await watches.call.read() is grpc.aio.EOF


async def test_a_multiplexed_watch_that_names_no_timeout_has_one(
    world: World, acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WATCH_TIMEOUT_S", (3.0, 3.0))
    async with mux(world) as watches:
        await watches.create(1, "pods", tenant=acme, allow_watch_bookmarks=True, send_initial_events=False)
        await watches.create(2, "pods", tenant=acme, send_initial_events=False)
        await watches.create(3, "pods", tenant=acme, timeout_seconds=60)
        for watch_id in (1, 2, 3):
            assert (await watches.next(watch_id)).created
        assert (await watches.next(1)).bookmark
        ended = await watches.next(1)
        assert (ended.canceled, ended.HasField("error")) == (True, False)
        assert (await watches.next(2)).canceled
        # They ended alone.
        await world.pods.create(pod(acme, "a"))
        assert await watches.events(3, 1) == [(ADDED, "a")]


@pytest.mark.parametrize("whose", ["the server's", "its own"])
async def test_an_informer_resumes_where_its_watch_has_timed_out(
    world: World, acme: str, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    monkeypatch.setattr(limits, "WATCH_TIMEOUT_S", (2.5, 3.0) if whose == "the server's" else (600.0, 600.0))
    monkeypatch.setattr(informer_module, "WATCH_TIMEOUT_S", (0.0, 0.0) if whose == "the server's" else (3.0, 3.0))
    opened: list[int | None] = []
    opening = Informer._open

    def spied(informer: Informer[Any], resource_version: int | None) -> None:
        opened.append(resource_version)
        opening(informer, resource_version)

    monkeypatch.setattr(Informer, "_open", spied)
    connection = Connection("tp-1", [world.tp.endpoint], SystemClock(), Rand(1))
    states: list[bool] = []
    informer: Informer[Any] = Informer(
        connection.mux, kinds.PODS, tenant=acme, on_state=lambda changed: states.append(changed.connected)
    ).start()
    try:
        async with Supervisor() as tasks:
            running = tasks.start(connection.run(), name="connection")
            await informer.synced.wait()

            async def resumed() -> bool:
                return len(opened) >= 2 and informer.connected

            await eventually(resumed)
            first = await world.pods.create(pod(acme, "a"))

            async def there() -> bool:
                return [one.metadata.uid for one in informer.store.values()] == [first.metadata.uid]

            await eventually(there)
            assert opened[0] is None
            assert None not in opened[1:], "no list but the first"
            assert states == [True], "it was never stale"
            running.cancel()
    finally:
        informer.close()


async def test_a_typed_watch_ends_at_its_timeout_after_a_bookmark(world: World, acme: str) -> None:
    await world.pods.create(pod(acme, "a"))
    method: Any = world.tp.channel.unary_stream(
        methods.path(kinds.PODS, "Watch"),
        request_serializer=WatchRequest.SerializeToString,
        response_deserializer=kinds.PODS.watch_batch_message.FromString,
    )
    request = WatchRequest(tenant=acme, timeout_seconds=1, allow_watch_bookmarks=True)
    async with asyncio.timeout(5):
        batches = [batch async for batch in method(request)]
    assert sum(len(batch.events) for batch in batches) == 1
    assert batches[-1].bookmark


async def test_a_watch_of_an_unknown_tenant_is_refused(world: World) -> None:
    error = await refused(anext(world.pods.watch(tenant="nobody")))
    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "NotFound")
    assert "nobody" in error.message


async def test_a_future_version_is_waited_for(world: World, acme: str) -> None:
    first = await world.pods.create(pod(acme, "a"))
    future = first.metadata.resource_version + 3
    async with mux(world) as watches:
        await watches.create(1, "pods", tenant=acme, resource_version=future)
        assert (await watches.next(1)).created
        created = [await world.pods.create(pod(acme, f"b-{number}")) for number in range(6)]
        versions = [item.metadata.resource_version for item in created]
        expected = [f"b-{number}" for number, version in enumerate(versions) if version > future]
        assert [name for _, name in await watches.events(1, len(expected))] == expected
