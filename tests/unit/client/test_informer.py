"""An informer over a real mux and a fake partition."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from services.api.kinds import NODES, PODS, Kind
from services.api.pb.ursa.meta.v1.meta_pb2 import WatchRequest
from services.base.clock import FakeClock
from services.client.informer import Accessors, Change, Informer
from services.client.mux import WatchMux
from services.rpc import status
from tests.support.client_world import connected, names, node, pod, until
from tests.support.fake_partition import FakePartition


class Record:
    def __init__(self) -> None:
        self.changes: list[tuple[str, str, str]] = []

    def __call__(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            old = change.old.metadata.labels.get("v", "-") if change.old is not None else ""
            new = change.new.metadata.labels.get("v", "-") if change.new is not None else ""
            self.changes.append((change.key.rsplit("/", 1)[-1], old, new))

    def take(self) -> list[tuple[str, str, str]]:
        taken, self.changes = self.changes, []
        return taken


async def test_it_lists_then_follows() -> None:
    clock, partition, record = FakeClock(), FakePartition("rp-1"), Record()
    partition.put(NODES, node("a", v="1"))
    async with connected(partition, clock=clock) as (_, [connection]):
        informer = Informer[Any](connection.mux, NODES, on_batch=record).start()
        await until(clock, informer.synced.is_set)
        assert record.take() == [("a", "", "1")]
        partition.put(NODES, node("b", v="1"))
        partition.put(NODES, node("a", v="2"))
        partition.remove(NODES, "b")
        await clock.advance(0)
        assert record.take() == [("b", "", "1"), ("a", "1", "2"), ("b", "1", "")]
        assert names(list(informer.store.values())) == ["a"]
        assert informer.resource_version == partition.resource_version


async def test_its_watch_lasts_for_five_to_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    subscribe = WatchMux.subscribe

    def spied(mux: WatchMux, kind: Kind, request: WatchRequest, sink: Any) -> Any:
        asked.append(request.timeout_seconds)
        return subscribe(mux, kind, request, sink)

    monkeypatch.setattr(WatchMux, "subscribe", spied)
    clock, partition = FakeClock(), FakePartition("rp-1")
    async with connected(partition, clock=clock) as (_, [connection]):
        informers = [Informer[Any](connection.mux, NODES).start() for _ in range(20)]
        await until(clock, lambda: all(informer.connected for informer in informers))
    assert len(set(asked)) > 10
    assert all(300 <= timeout_s <= 600 for timeout_s in asked)


async def test_a_lost_stream_is_stale_then_resumed_without_a_list() -> None:
    clock, partition, record = FakeClock(), FakePartition("rp-1"), Record()
    partition.put(NODES, node("a", v="1"))
    states: list[bool] = []
    async with connected(partition, clock=clock) as (_, [connection]):
        informer = Informer[Any](
            connection.mux, NODES, on_batch=record, on_state=lambda i: states.append(i.connected)
        ).start()
        await until(clock, lambda: informer.connected)
        record.take()
        partition.go_down()
        await clock.advance(0.1)
        assert not informer.connected
        assert names(list(informer.store.values())) == ["a"]
        partition.put(NODES, node("b", v="1"))
        await clock.advance(60)
        assert record.take() == []
        partition.come_back()
        await until(clock, lambda: informer.connected, seconds=20)
        await clock.advance(0)
        assert record.take() == [("b", "", "1")]
        assert states == [True, False, True]


async def test_expired_lists_anew_and_delivers_the_difference() -> None:
    clock, partition, record = FakeClock(), FakePartition("rp-1"), Record()
    for name in ("stays", "goes", "changes", "replaced"):
        partition.put(NODES, node(name, v="1"))
    async with connected(partition, clock=clock) as (_, [connection]):
        informer = Informer[Any](connection.mux, NODES, on_batch=record).start()
        await until(clock, lambda: informer.connected)
        record.take()
        partition.go_down()
        await clock.advance(0.1)
        partition.remove(NODES, "goes")
        partition.put(NODES, node("changes", v="2"))
        partition.put(NODES, node("new", v="1"))
        partition.remove(NODES, "replaced")
        partition.put(NODES, node("replaced", v="2"))
        partition.compact()
        partition.put(NODES, node("after", v="1"))
        partition.come_back()
        await until(clock, lambda: informer.connected, seconds=30)
        assert sorted(record.take()) == [
            ("after", "", "1"),
            ("changes", "1", "2"),
            ("goes", "1", ""),
            ("new", "", "1"),
            ("replaced", "", "2"),
            ("replaced", "1", ""),
        ]
        assert names(list(informer.store.values())) == ["after", "changes", "new", "replaced", "stays"]


async def test_a_selector_sees_objects_enter_and_leave() -> None:
    clock, partition, record = FakeClock(), FakePartition("tp-1"), Record()
    async with connected(partition, clock=clock) as (_, [connection]):
        informer = Informer[Any](
            connection.mux, PODS, tenant="*", field_selector="spec.nodeName=n1,spec.resourcePartition=rp-1"
        ).start()
        informer.add_handler(record)
        await until(clock, lambda: informer.connected)
        stored = partition.put(PODS, pod("p"))
        await clock.advance(0)
        assert record.take() == []
        stored.spec.node_name, stored.spec.resource_partition = "n1", "rp-1"
        partition.put(PODS, stored)
        await clock.advance(0)
        assert record.take() == [("p", "", "-")]
        partition.remove(PODS, "p", "acme", "default")
        await clock.advance(0)
        assert record.take() == [("p", "-", "")]


async def test_a_late_handler_gets_what_is_known() -> None:
    clock, partition, record = FakeClock(), FakePartition("rp-1"), Record()
    partition.put(NODES, node("a", v="1"))
    async with connected(partition, clock=clock) as (_, [connection]):
        informer = Informer[Any](connection.mux, NODES).start()
        await until(clock, lambda: informer.connected)
        informer.add_handler(record)
        assert record.take() == [("a", "", "1")]


async def test_decode_and_accessors_keep_something_small() -> None:
    clock, partition = FakeClock(), FakePartition("rp-1")
    partition.put(NODES, node("a", v="1"))

    def decode(data: bytes) -> tuple[str, str, int]:
        metadata = NODES.message.FromString(data).metadata  # type: ignore[attr-defined]
        return metadata.name, metadata.uid, metadata.resource_version

    async with connected(partition, clock=clock) as (_, [connection]):
        informer = Informer[tuple[str, str, int]](
            connection.mux,
            NODES,
            decode=decode,
            accessors=Accessors(lambda t: t[0], lambda t: t[1], lambda t: t[2]),
        ).start()
        await until(clock, lambda: informer.connected)
        assert list(informer.store) == ["a"]


async def test_a_thousand_informers_come_back_staggered() -> None:
    clock, partition = FakeClock(), FakePartition("rp-1")
    partition.put(NODES, node("a", v="1"))
    async with connected(partition, clock=clock) as (_, [connection]):
        informers = [Informer[Any](connection.mux, NODES).start() for _ in range(1000)]
        await until(clock, lambda: all(i.connected for i in informers))
        partition.drop_streams()
        await clock.advance(0)
        assert not any(informer.connected for informer in informers)
        returned: list[int] = []
        for _ in range(40):
            await clock.advance(0.05)
            returned.append(sum(informer.connected for informer in informers))
        assert returned[-1] == 1000
        steps = [after - before for before, after in itertools.pairwise(returned)]
        assert max(steps) < 250, "they must not come back all at once"


async def test_an_error_on_one_watch_leaves_the_others_alone() -> None:
    clock, partition = FakeClock(), FakePartition("rp-1")
    async with connected(partition, clock=clock) as (_, [connection]):
        informer = Informer[Any](connection.mux, NODES).start()
        await until(clock, lambda: informer.connected)
        partition.put(NODES, node("a"))
        partition.compact()
        async with connection.mux.watch(NODES, resource_version=1) as watch:
            error: status.StatusError | None = None
            reading = connection.mux.watch(NODES, send_initial_events=True)
            await clock.advance(1)
            try:
                async for _ in watch:
                    pass
            except status.StatusError as failure:
                error = failure
            assert error is not None
            assert error.reason == "Expired"
            batch = await anext(reading)
            assert len(batch.events) == 1
            reading.close()
        assert informer.connected
