"""The union of several partitions: stale is not gone, same names are different objects."""

from __future__ import annotations

from typing import Any

from services.api.kinds import NODES
from services.base.clock import FakeClock
from services.client.union import UnionInformer
from tests.support.client_world import connected, fake_connection, names, node, until
from tests.support.fake_partition import FakePartition


async def test_an_unreachable_partition_keeps_its_objects_and_delays_no_other() -> None:
    clock, one, two = FakeClock(), FakePartition("rp-1"), FakePartition("rp-2")
    one.put(NODES, node("same"))
    two.put(NODES, node("same"))
    seen: list[tuple[str, bool]] = []
    async with connected(one, two, clock=clock) as (_, connections):
        union = UnionInformer[Any](
            NODES, on_batch=lambda changes: seen.extend((c.partition, c.new is not None) for c in changes)
        )
        for connection in connections:
            union.add_partition(connection.name, connection.mux)
        await until(clock, lambda: union.connected("rp-1") and union.connected("rp-2"))
        assert sorted(seen) == [("rp-1", True), ("rp-2", True)]
        seen.clear()
        two.go_down()
        await clock.advance(30)
        assert not union.connected("rp-2")
        assert names(list(union.stores["rp-2"].values())) == ["same"]
        one.put(NODES, node("more"))
        await clock.advance(0)
        assert seen == [("rp-1", True)]


async def test_a_removed_partition_takes_its_objects_with_it() -> None:
    clock, one, two = FakeClock(), FakePartition("rp-1"), FakePartition("rp-2")
    two.put(NODES, node("n"))
    seen: list[tuple[str, bool]] = []
    async with connected(one, two, clock=clock) as (_, connections):
        union = UnionInformer[Any](NODES)
        for connection in connections:
            union.add_partition(connection.name, connection.mux)
        await until(clock, lambda: union.connected("rp-2"))
        union.add_handler(lambda changes: seen.extend((c.partition, c.new is not None) for c in changes))
        union.remove_partition("rp-2")
        assert seen == [("rp-2", True), ("rp-2", False)]
        assert union.partitions == ("rp-1",)


async def test_a_new_connection_keeps_the_state_and_resumes() -> None:
    clock, one = FakeClock(), FakePartition("rp-1")
    one.put(NODES, node("a"))
    changes: list[str] = []
    states: list[bool] = []
    async with connected(one, clock=clock) as (tasks, [connection]):
        union = UnionInformer[Any](
            NODES,
            on_batch=lambda batch: changes.extend(c.key for c in batch),
            on_state=lambda name: states.append(union.connected(name)),
        )
        union.add_partition("rp-1", connection.mux)
        await until(clock, lambda: union.connected("rp-1"))
        second = fake_connection(one, clock, seed=9)
        tasks.start(second.run(), name="second")
        union.add_partition("rp-1", second.mux)
        one.put(NODES, node("b"))
        await until(clock, lambda: union.connected("rp-1"))
        await clock.advance(0.1)
        assert changes == ["/ursa/nodes/a", "/ursa/nodes/b"]
        assert states == [False, True, False, True]
