"""Lost binds, lost answers, conflicts, two schedulers, partitions that go away: no pod is lost, none is bound twice."""

from __future__ import annotations

from collections import Counter

import pytest

from services.api.kinds import NODES, PODS
from services.base.rand import Rand
from services.rpc import status
from tests.support.client_world import until
from tests.support.scheduling import SchedulerWorld, make_node, make_pod


def assert_sound(world: SchedulerWorld, pods: int, *, cpu_each_m: int, cpu_node_m: int) -> None:
    """All bound, each exactly once, and no node over its allocatable."""
    assert len(world.tenant.placements()) == pods, world.tenant.unbound()
    assert max(Counter(uid for uid, _, _ in world.tenant.bindings).values()) == 1
    assert max(world.pods_per_node().values()) * cpu_each_m <= cpu_node_m


@pytest.mark.parametrize("stages", [("before",), ("after",), ("before", "after", "before"), ("after", "after")])
async def test_a_lost_bind_or_answer_neither_loses_a_pod_nor_binds_it_twice(stages: tuple[str, ...]) -> None:
    world = SchedulerWorld()
    world.add_nodes("rp-1", 3, cpu="1")
    world.add_nodes("rp-2", 3, cpu="1")
    world.tenant.lose_binds(*stages)
    async with world.running() as scheduler:
        world.add_pods(*(f"p{n}" for n in range(12)), cpu="500m")
        await world.until_bound(12)
        await until(world.clock, lambda: scheduler.state.assumed == 0)
    assert_sound(world, 12, cpu_each_m=500, cpu_node_m=1000)


async def test_while_the_answer_is_missing_the_pod_counts_on_its_node() -> None:
    world = SchedulerWorld(("rp-1",), bind_batches_in_flight=4)
    world.add_nodes("rp-1", 1, cpu="1")
    # The bind was applied, but neither the answer nor the watch says so.
    world.tenant.lose_binds("after")
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        world.add_pods("first", cpu="1")
        await until(world.clock, lambda: world.tenant.bind_calls == 1, step_s=0.001)
        world.tenant.go_down()
        await world.clock.advance(60)
        assert scheduler.state.table.node_of("uid-acme-default-first") == ("rp-1", "node-000")
        world.add_pods("second", cpu="1")
        world.tenant.come_back()
        await until(world.clock, lambda: scheduler.state.assumed == 0)
        await world.clock.advance(5)
    assert world.tenant.bindings == [("uid-acme-default-first", "rp-1", "node-000")]


async def test_a_pod_deleted_before_its_bind_frees_what_was_assumed_for_it() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="1")
    world.tenant.lose_binds("before")
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        world.add_pods("short-lived", cpu="1")
        await until(world.clock, lambda: world.tenant.bind_calls == 1, step_s=0.001)
        world.tenant.remove(PODS, "short-lived", "acme", "default")
        world.add_pods("next", cpu="1")
        await world.until_bound(1)
        assert list(world.tenant.placements()) == ["acme/default/next"]
        assert scheduler.state.table.node_of("uid-acme-default-short-lived") is None


async def test_a_refused_bind_is_tried_again_elsewhere_after_a_pause() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 2)
    world.tenant.refuse_next("BatchBind", status.forbidden("not now"))
    async with world.running():
        world.add_pods("a", "b")
        await world.until_bound(2, seconds=10)


async def test_a_pod_that_somebody_else_bound_is_counted_where_it_is() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 2, cpu="1")
    world.tenant.lose_binds("before")
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        world.add_pods("contended", cpu="1")
        await until(world.clock, lambda: world.tenant.bind_calls == 1, step_s=0.001)
        mine = scheduler.state.table.node_of("uid-acme-default-contended")
        assert mine is not None
        other = "node-001" if mine.name == "node-000" else "node-000"
        world.tenant.put(PODS, make_pod("contended", cpu="1", node=("rp-1", other)))
        await until(world.clock, lambda: scheduler.state.assumed == 0)
        assert scheduler.state.table.node_of("uid-acme-default-contended") == ("rp-1", other)
        world.add_pods("next", cpu="1")
        await until(world.clock, lambda: "acme/default/next" in world.tenant.placements())
        assert world.tenant.placements()["acme/default/next"] == mine


async def test_a_pod_recreated_under_its_name_is_another_pod() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="1")
    world.tenant.lose_binds("before")
    async with world.running():
        world.add_pods("web", cpu="1")
        await until(world.clock, lambda: world.tenant.bind_calls == 1, step_s=0.001)
        world.tenant.remove(PODS, "web", "acme", "default")
        again = make_pod("web", cpu="1")
        again.metadata.uid = "uid-second-life"
        world.tenant.put(PODS, again)
        await world.until_bound(1)
    assert [uid for uid, _, _ in world.tenant.bindings] == ["uid-second-life"]


async def test_a_node_that_vanished_meanwhile_is_not_bound_to_again() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="1")
    world.tenant.lose_binds("before")
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        world.add_pods("web", cpu="1")
        await until(world.clock, lambda: world.tenant.bind_calls == 1, step_s=0.001)
        world.resource["rp-1"].remove(NODES, "node-000")
        world.resource["rp-1"].put(NODES, make_node("fresh", cpu="1"))
        await world.until_bound(1)
    assert world.tenant.bindings == [("uid-acme-default-web", "rp-1", "fresh")]


async def test_two_schedulers_at_once_bind_every_pod_once() -> None:
    world = SchedulerWorld()
    world.add_nodes("rp-1", 10, cpu="2")
    world.add_nodes("rp-2", 10, cpu="2")
    async with world.running("one", seed=1), world.running("two", seed=2):
        world.add_pods(*(f"p{n}" for n in range(60)), cpu="500m")
        await world.until_bound(60)
        await world.clock.advance(5)
    assert len(world.tenant.bindings) == 60
    assert max(Counter(uid for uid, _, _ in world.tenant.bindings).values()) == 1


async def test_a_tenant_partition_that_comes_and_goes() -> None:
    world = SchedulerWorld()
    world.add_nodes("rp-1", 5, cpu="2")
    world.add_nodes("rp-2", 5, cpu="2")
    async with world.running() as scheduler:
        for round_ in range(4):
            world.add_pods(*(f"p{round_}-{n}" for n in range(10)), cpu="500m")
            await world.clock.advance(0.01)
            world.tenant.go_down()
            await world.clock.advance(7)
            world.tenant.come_back()
            await world.clock.advance(0.3)
        await world.until_bound(40)
        await until(world.clock, lambda: scheduler.state.assumed == 0)
    assert_sound(world, 40, cpu_each_m=500, cpu_node_m=2000)


@pytest.mark.parametrize("seed", range(12))
async def test_random_faults_while_pods_come_and_go(seed: int) -> None:
    rand = Rand(seed)
    world = SchedulerWorld(stale_after_s=3.0, bind_batch_pods=4, backoff_max_s=2.0, unschedulable_retry_s=10.0)
    for partition in world.resource:
        world.add_nodes(partition, 4, cpu="4")
    created = 0
    async with world.running(seed=seed) as scheduler:
        for _ in range(40):
            match rand.integer(0, 7):
                case 0:
                    world.tenant.lose_binds(*(rand.choice(("before", "after", "never")) for _ in range(3)))
                case 1:
                    world.tenant.go_down()
                case 2:
                    world.tenant.come_back()
                case 3:
                    world.resource[rand.choice(sorted(world.resource))].go_down()
                case 4:
                    for partition in world.resource.values():
                        partition.come_back()
                case 5:
                    for stream in (world.tenant, *world.resource.values()):
                        stream.drop_streams()
                case _ if created < 28:
                    world.add_pods(f"p{created}", f"p{created + 1}", cpu="1")
                    created += 2
                case _:
                    pass
            await world.clock.advance(rand.uniform(0.0, 2.0))
        world.tenant.come_back()
        for partition in world.resource.values():
            partition.come_back()
        await world.until_bound(created, seconds=120)
        await until(world.clock, lambda: scheduler.state.assumed == 0, seconds=120)
    if created:
        assert_sound(world, created, cpu_each_m=1000, cpu_node_m=4000)
