"""Preemption end to end: claim with what it replaces, delete, wait for the room, bind; nothing is lost on the way."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Value

from services.api.kinds import EVENTS, POD_DISRUPTION_BUDGETS, PODS
from services.api.pb.ursa.core.v1.event_pb2 import Event
from services.api.pb.ursa.policy.v1.pod_disruption_budget_pb2 import PodDisruptionBudget
from services.base.tasks import Supervisor, stop_task
from services.scheduler.app import Scheduler
from tests.support.client_world import until
from tests.support.scheduling import SchedulerWorld


async def full(world: SchedulerWorld, pods: int, **shape: Any) -> None:
    """Pods of priority 0 that leave no room, placed by the scheduler itself."""
    world.add_pods(*(f"low-{n}" for n in range(pods)), cpu="1", **shape)
    await world.until_bound(pods)


def names(world: SchedulerWorld) -> set[str]:
    return {pod.metadata.name for pod in world.tenant.objects[PODS.resource].values()}


def ending(world: SchedulerWorld) -> list[str]:
    pods = world.tenant.objects[PODS.resource].values()
    return [pod.metadata.name for pod in pods if pod.metadata.HasField("deletion_timestamp")]


async def settled(world: SchedulerWorld, scheduler: Scheduler) -> None:
    await until(world.clock, lambda: scheduler.state.assumed == 0 and not scheduler.loop.releaser.owed)
    world.assert_claims_are_those_of_bound_pods()


def preempted(world: SchedulerWorld) -> list[Event]:
    return [event for event in world.tenant.objects[EVENTS.resource].values() if event.reason == "Preempted"]


async def test_a_more_important_pod_takes_the_room_of_a_less_important_one() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 2, cpu="2")
    async with world.running() as scheduler:
        await full(world, 4, grace_s=0)
        world.add_pods("high", cpu="1", priority=10)
        await until(world.clock, lambda: "acme/default/high" in world.tenant.placements(), seconds=2)
        assert len(names(world)) == 4 and "high" in names(world)
        await settled(world, scheduler)
        await until(world.clock, lambda: preempted(world), seconds=2)
    assert len(preempted(world)) == 1 and preempted(world)[0].involved_object.name.startswith("low-")
    high = world.tenant.get(PODS, "high", "acme", "default")
    assert (high.status.nominated_resource_partition, high.status.nominated_node_name) == (
        high.spec.resource_partition,
        high.spec.node_name,
    )


async def test_it_waits_until_its_victims_have_ended_and_nobody_else_gets_the_room() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="2")
    async with world.running() as scheduler:
        await full(world, 2)
        world.add_pods("high", cpu="2", priority=10)
        await until(world.clock, lambda: len(ending(world)) == 2)
        world.add_pods("late", cpu="1")
        await world.clock.advance(20)
        high = world.tenant.get(PODS, "high", "acme", "default")
        assert high.status.nominated_node_name == "node-000" and not high.spec.node_name
        first, second = ending(world)
        world.tenant.remove(PODS, first, "acme", "default")
        await world.clock.advance(20)
        # Half of the room is free, and promised.
        assert set(world.tenant.placements()) == {f"acme/default/{second}"}
        world.tenant.remove(PODS, second, "acme", "default")
        await until(world.clock, lambda: "acme/default/high" in world.tenant.placements(), seconds=2)
        await settled(world, scheduler)
        assert "acme/default/late" not in world.tenant.placements()


async def test_equals_are_never_preempted_nor_is_anybody_for_a_pod_that_does_not_want_it() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="2")
    async with world.running():
        await full(world, 2, priority=5, grace_s=0)
        world.add_pods("equal", cpu="1", priority=5)
        world.add_pods("polite", cpu="1", priority=10, preemption_policy="Never")
        await world.clock.advance(30)
    assert {"low-0", "low-1"} <= names(world) and len(world.tenant.placements()) == 2


async def test_many_preemptors_at_once_each_have_their_own_victims() -> None:
    world = SchedulerWorld()
    for partition in world.resource:
        world.add_nodes(partition, 5, cpu="4")
    async with world.running() as scheduler:
        await full(world, 40, grace_s=0)
        world.add_pods(*(f"high-{n}" for n in range(25)), cpu="1", priority=10)
        await until(world.clock, lambda: sum("/high-" in name for name in world.tenant.placements()) == 25, seconds=20)
        await settled(world, scheduler)
    assert len(world.tenant.placements()) == 40, "as many went as came"


@pytest.mark.parametrize("stages", [("before",), ("after",), ("before", "after", "after")])
async def test_a_lost_deletion_is_sent_again(stages: tuple[str, ...]) -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="2")
    async with world.running() as scheduler:
        await full(world, 2, grace_s=0)
        world.tenant.lose_deletions(*stages)
        world.add_pods("high", cpu="2", priority=10)
        await until(world.clock, lambda: set(world.tenant.placements()) == {"acme/default/high"}, seconds=10)
        await settled(world, scheduler)


@pytest.mark.parametrize("stage", ["claim-before", "claim-after", "release-before", "release-after"])
async def test_a_lost_claim_or_release_of_a_preemption_loses_nothing(stage: str) -> None:
    world = SchedulerWorld(("rp-1",))
    partition = world.resource["rp-1"]
    world.add_nodes("rp-1", 1, cpu="2")
    async with world.running() as scheduler:
        await full(world, 2, grace_s=0)
        what, when = stage.split("-")
        (partition.lose_claims if what == "claim" else partition.lose_releases)(when)
        world.add_pods("high", cpu="2", priority=10)
        await until(world.clock, lambda: set(world.tenant.placements()) == {"acme/default/high"}, seconds=10)
        await settled(world, scheduler)


async def test_a_preemptor_that_is_deleted_meanwhile_gives_its_promise_back() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="2")
    async with world.running() as scheduler:
        await full(world, 2)
        world.add_pods("high", cpu="2", priority=10)
        await until(world.clock, lambda: len(ending(world)) == 2)
        world.tenant.remove(PODS, "high", "acme", "default")
        await until(world.clock, lambda: "uid-acme-default-high" not in world.resource["rp-1"].claims())
        for name in ending(world):
            world.tenant.remove(PODS, name, "acme", "default")
        world.add_pods("next", cpu="2")
        await until(world.clock, lambda: "acme/default/next" in world.tenant.placements(), seconds=15)
        await settled(world, scheduler)


async def test_a_scheduler_killed_in_the_middle_is_followed_by_one_that_goes_on_with_the_same_victims() -> None:
    world = SchedulerWorld()
    for partition in world.resource:
        world.add_nodes(partition, 3, cpu="2")
    async with Supervisor() as tasks, contextlib.AsyncExitStack() as stack:
        first = tasks.start(world.scheduler("one").run(), name="one")
        await full(world, 12)
        # Its deletions never arrive.
        world.tenant.lose_deletions(*("before",) * 50)
        world.add_pods("high", cpu="2", priority=10)
        await until(world.clock, lambda: bool(world.tenant.called("BatchDelete")))
        await stop_task(first)
        world.tenant._lost_deletions.clear()
        assert not ending(world)
        promised = next(claim for p in world.resource.values() for uid, claim in p.claims().items() if "high" in uid)
        # A successor with another seed would choose another node.
        two = await stack.enter_async_context(world.running("two", seed=99))
        await until(world.clock, lambda: len(ending(world)) == 2)
        assert {f"uid-acme-default-{name}" for name in ending(world)} == set(promised.spec.replaces)
        for name in ending(world):
            world.tenant.remove(PODS, name, "acme", "default")
        await until(world.clock, lambda: "acme/default/high" in world.tenant.placements(), seconds=5)
        await settled(world, two)


async def test_victims_that_ended_while_nobody_looked_are_found_again_by_the_reconciler_alone() -> None:
    """The successor cannot name a victim that is gone; when the reconciler has released it, the pod is bound."""
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="2")
    async with Supervisor() as tasks, contextlib.AsyncExitStack() as stack:
        first = tasks.start(world.scheduler("one").run(), name="one")
        await full(world, 2)
        world.add_pods("high", cpu="2", priority=10)
        await until(world.clock, lambda: len(ending(world)) == 2)
        await stop_task(first)
        for name in ending(world):
            world.tenant.remove(PODS, name, "acme", "default")
        two = await stack.enter_async_context(world.running("two", seed=99))
        await world.clock.advance(5)
        assert not world.tenant.placements()
        for number in range(2):
            world.resource["rp-1"].release(f"uid-acme-default-low-{number}")
        await until(world.clock, lambda: set(world.tenant.placements()) == {"acme/default/high"}, seconds=5)
        await settled(world, two)


async def test_a_disruption_budget_protects_its_pods_while_there_are_others() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 2, cpu="1")
    budget = PodDisruptionBudget()
    budget.metadata.name, budget.metadata.tenant, budget.metadata.namespace = "precious", "acme", "default"
    budget.spec.selector.match_labels["app"] = "precious"
    budget.spec.min_available.CopyFrom(Value(number_value=1))
    world.tenant.put(POD_DISRUPTION_BUDGETS, budget)
    async with world.running() as scheduler:
        world.add_pods("precious", cpu="1", labels={"app": "precious"}, grace_s=0)
        world.add_pods("plain", cpu="1", priority=5, grace_s=0)
        await world.until_bound(2)
        world.add_pods("high", cpu="1", priority=10)
        await until(world.clock, lambda: "acme/default/high" in world.tenant.placements(), seconds=2)
        assert names(world) == {"precious", "high"}, "though the other one is more important"
        await settled(world, scheduler)
