"""Resource partitions that can be reached and have not told everything yet: at the start, and when they are added."""

from __future__ import annotations

from typing import Any

from services.api.kinds import CAPACITY_LEDGERS, NODES, Kind
from tests.support.claiming import ResourcePartitionDouble
from tests.support.client_world import until
from tests.support.scheduling import SchedulerWorld


class SlowPartition(ResourcePartitionDouble):
    """Accepts the watches of the kinds in ``slow``, and lists their objects when it is told to."""

    def __init__(self, name: str, *slow: Kind, **options: Any) -> None:
        super().__init__(name, **options)
        self._slow = {kind.resource for kind in slow}
        self._waiting: list[tuple[Any, Any]] = []

    def begin_watch(self, stream: Any, create: Any) -> None:
        if create.resource in self._slow:
            self._waiting.append((stream, create))
        else:
            super().begin_watch(stream, create)

    def catch_up(self) -> None:
        self._slow.clear()
        for stream, create in self._waiting:
            super().begin_watch(stream, create)


def world_with(*slow: Kind, **scheduling: Any) -> tuple[SchedulerWorld, SlowPartition]:
    world = SchedulerWorld(("rp-1",), **scheduling)
    partition = SlowPartition("rp-2", *slow, clock=world.clock)
    world.resource["rp-2"] = partition
    return world, partition


async def test_nothing_starts_before_a_slow_partition_that_can_be_reached_is_synced() -> None:
    for slow in ((NODES, CAPACITY_LEDGERS), (NODES,), (CAPACITY_LEDGERS,)):
        world, partition = world_with(*slow, start_wait_s=5.0)
        world.announce("rp-2")
        world.add_nodes("rp-1", 1)
        world.add_nodes("rp-2", 1)
        world.add_pods("a", cpu="1")
        async with world.running() as scheduler:
            await world.clock.advance(30)
            assert not world.tenant.placements() and not scheduler.started, slow
            partition.catch_up()
            await world.until_bound(1, seconds=2)


async def test_a_slow_partition_that_is_lost_before_it_is_synced_is_waited_for_no_more() -> None:
    world, partition = world_with(CAPACITY_LEDGERS, start_wait_s=5.0)
    world.announce("rp-2")
    world.add_nodes("rp-1", 1)
    world.add_pods("a", cpu="1")
    async with world.running():
        await world.clock.advance(10)
        assert not world.tenant.placements()
        partition.go_down()
        await world.until_bound(1, seconds=3)


async def test_nodes_of_a_partition_that_is_added_are_no_candidates_before_its_ledgers_are_known() -> None:
    world, partition = world_with(CAPACITY_LEDGERS)
    world.add_nodes("rp-2", 3, cpu="2")
    for node in range(3):
        partition.claim(f"theirs-{node}", f"node-{node:03d}", cpu=2000, pods=1)
    async with world.running() as scheduler:
        world.announce("rp-2")
        world.add_pods(*(f"p{n}" for n in range(6)), cpu="1")
        await until(world.clock, lambda: scheduler.state.table.counts() == {"rp-2": 3})
        await world.clock.advance(5)
        assert partition.claim_calls == 0, "every claim would be refused"
        partition.catch_up()
        await world.clock.advance(5)
        assert partition.claim_calls == 0
        partition.release("theirs-1")
        await world.until_bound(2, seconds=12)
        assert partition.claim_calls <= 2
