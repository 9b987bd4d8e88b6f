"""A scheduler over a tenant partition and two resource partitions, in memory and on a fake clock."""

from __future__ import annotations

from collections import Counter

from services.api.kinds import EVENTS, NODES, PODS, RESOURCE_PARTITIONS
from tests.support.client_world import until
from tests.support.scheduling import SchedulerWorld, make_node, make_pod


async def test_each_tenant_gets_nodes_of_both_resource_partitions_with_four_small_pods() -> None:
    world = SchedulerWorld()
    for partition in ("rp-1", "rp-2"):
        world.add_nodes(partition, 10, prefix=f"hollow-{partition}", cpu="32", memory="256Gi")
    async with world.running():
        for number in range(4):
            for tenant in ("red", "blue", "green"):
                world.add_pods(f"web-{number}", tenant=tenant, cpu="100m", memory="64Mi")
                await world.clock.advance(0.05)
        await world.until_bound(12)
    spread = Counter((key.split("/")[0], partition) for key, (partition, _) in world.tenant.placements().items())
    assert spread == {(tenant, rp): 2 for tenant in ("red", "blue", "green") for rp in ("rp-1", "rp-2")}


async def test_pods_created_while_the_scheduler_was_away_are_placed_and_placed_ones_are_counted() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 2, cpu="1")
    world.add_pods("old-0", "old-1", cpu="500m", node=("rp-1", "node-000"))
    world.add_pods("new-0", "new-1", cpu="500m")
    async with world.running():
        await world.until_bound(4)
    assert world.pods_per_node() == {("rp-1", "node-000"): 2, ("rp-1", "node-001"): 2}


async def test_a_resource_partition_that_is_down_at_the_start_delays_only_so_long_and_is_used_when_it_is_back() -> None:
    world = SchedulerWorld(start_wait_s=5.0)
    world.add_nodes("rp-1", 1, cpu="1")
    world.add_nodes("rp-2", 1, cpu="1")
    world.resource["rp-2"].go_down()
    world.add_pods("a", "b", cpu="800m")
    async with world.running():
        await world.clock.advance(4.5)
        assert not world.tenant.placements()
        await world.until_bound(1, seconds=2)
        assert set(world.tenant.placements().values()) == {("rp-1", "node-000")}
        world.resource["rp-2"].come_back()
        await world.until_bound(2, seconds=20)
    assert set(world.tenant.placements().values()) == {("rp-1", "node-000"), ("rp-2", "node-000")}


async def test_nodes_of_a_lost_partition_are_no_candidates_after_a_while_and_again_when_it_is_back() -> None:
    world = SchedulerWorld(stale_after_s=10.0)
    world.add_nodes("rp-1", 1)
    world.add_nodes("rp-2", 5)
    async with world.running() as scheduler:
        world.add_pods("first", cpu="100m", node_selector=None)
        await world.until_bound(1)
        world.resource["rp-2"].go_down()
        await world.clock.advance(8)
        assert not scheduler.state.table.is_stale("rp-2")
        await world.clock.advance(5)
        assert scheduler.state.table.is_stale("rp-2")
        world.add_pods(*(f"p{n}" for n in range(6)), cpu="100m")
        await world.until_bound(7)
        late = [node for name, node in world.tenant.placements().items() if "/p" in name]
        assert {partition for partition, _ in late} == {"rp-1"}
        assert scheduler.state.table.counts() == {"rp-1": 1, "rp-2": 5}
        world.resource["rp-2"].come_back()
        await until(world.clock, lambda: not scheduler.state.table.is_stale("rp-2"))
        world.add_pods("last", cpu="100m")
        await world.until_bound(8)
        assert world.tenant.placements()["acme/default/last"][0] == "rp-2"


async def test_a_partition_whose_new_endpoints_do_not_answer_becomes_stale_too() -> None:
    world = SchedulerWorld(("rp-1",), stale_after_s=10.0)
    world.add_nodes("rp-1", 2)
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        world.announce("rp-1", endpoint="nobody:1")
        await world.clock.advance(9)
        assert not scheduler.state.table.is_stale("rp-1")
        await until(world.clock, lambda: scheduler.state.table.is_stale("rp-1"), seconds=5)
        assert scheduler.state.table.counts() == {"rp-1": 2}
        world.announce("rp-1")
        await until(world.clock, lambda: not scheduler.state.table.is_stale("rp-1"), seconds=5)


async def test_a_partition_added_while_running_gives_its_nodes_and_a_removed_one_takes_them() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="100m")
    world.add_pods("big", cpu="2")
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        await world.clock.advance(1)
        assert not world.tenant.placements()
        world.announce("rp-9")
        world.add_nodes("rp-9", 1)
        await world.until_bound(1)
        assert world.tenant.placements()["acme/default/big"] == ("rp-9", "node-000")
        world.tenant.remove(RESOURCE_PARTITIONS, "rp-9")
        await until(world.clock, lambda: scheduler.state.table.counts() == {"rp-1": 1})


async def test_an_unschedulable_pod_says_why_and_is_placed_when_a_node_is_added() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 2, cpu="1")
    world.resource["rp-1"].put(NODES, make_node("tainted", cpu="8", taints=[("team", "db", "NoSchedule")]))
    world.add_pods("big", cpu="4")
    async with world.running():
        await until(world.clock, lambda: bool(condition(world, "big")))
        assert condition(world, "big") == (
            "False",
            "Unschedulable",
            "0/3 nodes are available: 1 node(s) had untolerated taint {team: db}, 2 Insufficient cpu.",
        )
        await until(world.clock, lambda: bool(events(world, "FailedScheduling")))
        assert events(world, "FailedScheduling") == [("big", 1)]
        world.add_nodes("rp-1", 1, prefix="large", cpu="8")
        await world.until_bound(1, seconds=3)
        assert world.tenant.placements()["acme/default/big"] == ("rp-1", "large-000")
        await until(world.clock, lambda: events(world, "Scheduled") == [("big", 1)])


async def test_a_pod_waits_for_capacity_that_is_freed_and_repeated_failures_are_one_event() -> None:
    world = SchedulerWorld(("rp-1",), unschedulable_retry_s=60.0)
    world.add_nodes("rp-1", 1, cpu="1")
    world.add_pods("tenant-zero", cpu="1", node=("rp-1", "node-000"))
    world.add_pods("waiting", cpu="1")
    async with world.running():
        await world.clock.advance(200)
        assert not world.tenant.bindings
        assert events(world, "FailedScheduling") == [("waiting", 4)]
        world.tenant.remove(PODS, "tenant-zero", "acme", "default")
        await world.until_bound(1, seconds=15)


async def test_a_finished_pod_frees_its_node() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="1")
    world.add_pods("job", cpu="1", node=("rp-1", "node-000"))
    world.add_pods("waiting", cpu="1")
    async with world.running():
        await world.clock.advance(3)
        assert "acme/default/waiting" not in world.tenant.placements()
        finished = make_pod("job", cpu="1", node=("rp-1", "node-000"))
        finished.status.phase = "Succeeded"
        world.tenant.put(PODS, finished)
        await world.until_bound(2, seconds=15)


async def test_a_gated_pod_says_so_and_is_placed_once_its_gates_are_gone() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1)
    world.add_pods("gated", gates=["example.com/wait"])
    async with world.running():
        await until(world.clock, lambda: bool(condition(world, "gated")))
        assert condition(world, "gated")[1] == "SchedulingGated"
        await world.clock.advance(120)
        assert not world.tenant.bindings
        world.add_pods("gated")
        await world.until_bound(1, seconds=2)


async def test_pods_of_other_schedulers_are_left_alone_but_counted() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="1")
    world.add_pods("theirs", cpu="600m", scheduler_name="custom")
    world.add_pods("placed-by-them", cpu="600m", scheduler_name="custom", node=("rp-1", "node-000"))
    world.add_pods("ours", cpu="600m")
    async with world.running():
        await world.clock.advance(30)
    assert world.tenant.bindings == []


async def test_higher_priority_first() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="1")
    world.add_pods("low", cpu="1", priority=1)
    world.add_pods("high", cpu="1", priority=9)
    async with world.running():
        await world.until_bound(1)
        await world.clock.advance(1)
    assert list(world.tenant.placements()) == ["acme/default/high"]


async def test_same_named_nodes_of_two_partitions_are_two_nodes() -> None:
    world = SchedulerWorld()
    world.add_nodes("rp-1", 1, prefix="same", cpu="1")
    world.add_nodes("rp-2", 1, prefix="same", cpu="1")
    world.add_pods("a", "b", cpu="1")
    async with world.running():
        await world.until_bound(2)
    assert sorted(world.tenant.placements().values()) == [("rp-1", "same-000"), ("rp-2", "same-000")]


def condition(world: SchedulerWorld, name: str) -> tuple[str, str, str] | tuple[()]:
    pod = world.tenant.get(PODS, name, "acme", "default")
    for found in pod.status.conditions:
        if found.type == "PodScheduled":
            return (found.status, found.reason, found.message)
    return ()


def events(world: SchedulerWorld, reason: str) -> list[tuple[str, int]]:
    return [
        (event.involved_object.name, event.count)
        for event in world.tenant.objects[EVENTS.resource].values()
        if event.reason == reason
    ]


async def test_a_trickle_of_pods_is_planned_by_the_handful_and_a_lone_one_at_once() -> None:
    world = SchedulerWorld(("rp-1",), plan_gather_ms=50)
    world.add_nodes("rp-1", 10, cpu="32", memory="256Gi")
    async with world.running():
        await world.clock.advance(1.0)
        world.add_pods("alone", cpu="100m")
        await world.clock.advance(0.01)
        assert len(world.tenant.placements()) == 1, "no period is waited for"
        await world.clock.advance(1.0)
        before = len(world.resource["rp-1"].called("BatchClaim"))
        for number in range(50):
            world.add_pods(f"p-{number}", cpu="100m")
            await world.clock.advance(0.01)
        await world.until_bound(51, seconds=1)
        assert 5 <= len(world.resource["rp-1"].called("BatchClaim")) - before <= 12
