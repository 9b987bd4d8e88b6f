"""Promised pods that find room elsewhere, victims that are told why, claims that a predecessor left behind."""

from __future__ import annotations

import contextlib

import pytest

from services.api.kinds import CAPACITY_CLAIMS, NODES, PODS
from services.api.pb.ursa.core.v1.pod_pb2 import PodCondition
from services.base.tasks import Supervisor, stop_task
from services.rpc import status
from services.scheduler.app import Scheduler
from tests.support.client_world import until
from tests.support.scheduling import SchedulerWorld

HIGH = "acme/default/high"


async def promised(world: SchedulerWorld, cpu: str = "2") -> list[str]:
    """Node rp-1/node-000 is full, and pods of it end slowly so that "high" fits; returns their names."""
    world.add_pods("low-0", "low-1", cpu="1")
    await world.until_bound(2)
    world.add_pods("high", cpu=cpu, priority=10)
    await until(world.clock, lambda: len(ending(world)) == int(cpu))
    return ending(world)


def ending(world: SchedulerWorld) -> list[str]:
    pods = world.tenant.objects[PODS.resource].values()
    return [pod.metadata.name for pod in pods if pod.metadata.HasField("deletion_timestamp")]


def target(world: SchedulerWorld, name: str) -> PodCondition | None:
    pod = world.tenant.get(PODS, name, "acme", "default")
    return next((c for c in pod.status.conditions if c.type == "DisruptionTarget"), None)


async def settled(world: SchedulerWorld, scheduler: Scheduler) -> None:
    await until(world.clock, lambda: scheduler.state.assumed == 0 and not scheduler.loop.releaser.owed)
    world.assert_claims_are_those_of_bound_pods()


async def test_a_promised_pod_whose_victims_are_slow_goes_where_room_comes_free() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="2")
    async with world.running() as scheduler:
        victims = await promised(world)
        await world.clock.advance(5)
        assert HIGH not in world.tenant.placements()
        world.add_nodes("rp-1", 1, prefix="new", cpu="2")
        await until(world.clock, lambda: world.tenant.placements().get(HIGH) == ("rp-1", "new-000"), seconds=5)
        ledger = world.resource["rp-1"].ledger("node-000")
        assert ledger is not None and not ledger.promises, "the promise was given back"
        for name in victims:
            world.tenant.remove(PODS, name, "acme", "default")
        world.add_pods("next", cpu="2")
        await until(world.clock, lambda: "acme/default/next" in world.tenant.placements(), seconds=15)
        await settled(world, scheduler)


async def test_it_stays_where_it_is_while_what_comes_free_elsewhere_is_too_little() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="2")
    async with world.running() as scheduler:
        victims = await promised(world)
        world.add_nodes("rp-1", 3, prefix="small", cpu="1")
        await world.clock.advance(10)
        assert not world.tenant.called("BatchRevokeBind") and len(ending(world)) == 2
        for name in victims:
            world.tenant.remove(PODS, name, "acme", "default")
        await until(world.clock, lambda: world.tenant.placements().get(HIGH) == ("rp-1", "node-000"), seconds=5)
        await settled(world, scheduler)


async def test_of_several_promised_pods_as_many_go_as_there_is_room_for() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 2, cpu="2")
    async with world.running() as scheduler:
        world.add_pods(*(f"low-{n}" for n in range(4)), cpu="1")
        await world.until_bound(4)
        world.add_pods(*(f"high-{n}" for n in range(4)), cpu="1", priority=10)
        await until(world.clock, lambda: len(ending(world)) == 4)
        world.add_nodes("rp-1", 1, prefix="new", cpu="2")
        await until(world.clock, lambda: len(world.tenant.placements()) == 6, seconds=10)
        await world.clock.advance(5)
        assert list(world.tenant.placements().values()).count(("rp-1", "new-000")) == 2
        for name in ending(world):
            world.tenant.remove(PODS, name, "acme", "default")
        await until(world.clock, lambda: len(world.tenant.placements()) == 4, seconds=10)
        await settled(world, scheduler)


async def test_a_pod_that_loses_the_race_for_other_room_is_promised_its_victims_room_again_and_no_more() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="2")
    partition = world.resource["rp-1"]
    async with world.running() as scheduler:
        await promised(world)
        before = set(ending(world))
        # Less important ones are a better choice by now, and somebody of another tenant partition is faster.
        world.add_pods("idle-0", "idle-1", cpu="1", priority=-5, node=("rp-1", "more-000"))
        partition.before_claims.append(lambda: partition.claim("theirs", "new-000", cpu=2000, pods=1))
        world.add_nodes("rp-1", 1, prefix="more", cpu="2")
        partition.claim("uid-acme-default-idle-0", "more-000", tenant_partition="tp-1", cpu=1000, pods=1)
        partition.claim("uid-acme-default-idle-1", "more-000", tenant_partition="tp-1", cpu=1000, pods=1)
        world.add_nodes("rp-1", 1, prefix="new", cpu="2")
        await until(world.clock, lambda: "theirs" in partition.claims(), seconds=10)
        await world.clock.advance(20)
        assert set(ending(world)) == before and HIGH not in world.tenant.placements()
        ledger = partition.ledger("node-000")
        assert ledger is not None and [p.pod_uid for p in ledger.promises] == ["uid-acme-default-high"]
        for name in before:
            world.tenant.remove(PODS, name, "acme", "default")
        await until(world.clock, lambda: world.tenant.placements().get(HIGH) == ("rp-1", "node-000"), seconds=15)
        assert scheduler.state.assumed == 0


@pytest.mark.parametrize("how", ["the node is deleted", "its partition falls silent"])
async def test_a_promise_that_cannot_come_true_is_not_waited_for(how: str) -> None:
    world = SchedulerWorld(stale_after_s=3.0)
    world.add_nodes("rp-1", 1, cpu="2")
    async with world.running() as scheduler:
        await promised(world)
        world.add_nodes("rp-2", 1, cpu="1")
        if how == "the node is deleted":
            world.resource["rp-1"].remove(NODES, "node-000")
        else:
            world.resource["rp-1"].go_down()
        await world.clock.advance(6)
        assert HIGH not in world.tenant.placements()
        world.add_nodes("rp-2", 1, prefix="new", cpu="2")
        await until(world.clock, lambda: world.tenant.placements().get(HIGH) == ("rp-2", "new-000"), seconds=15)
        world.resource["rp-1"].come_back()
        await until(world.clock, lambda: "uid-acme-default-high" not in world.resource["rp-1"].claims(), seconds=30)
        await until(world.clock, lambda: scheduler.state.assumed == 0)


async def test_victims_say_why_they_go() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="2")
    async with world.running():
        for name in await promised(world):
            found = target(world, name)
            assert found is not None
            assert (found.status, found.reason) == ("True", "PreemptionByScheduler")
            assert found.message == "default-scheduler: preempting to accommodate a higher priority pod"
            assert found.HasField("last_transition_time")
        written = [method for method, _ in world.tenant.calls if method in ("BatchUpdateStatus", "BatchDelete")]
        assert "BatchUpdateStatus" in written[: written.index("BatchDelete")], "before they are deleted"


@pytest.mark.parametrize("cpu", ["1", "2"])
@pytest.mark.parametrize("method", ["Get", "BatchUpdateStatus"])
async def test_victims_that_cannot_be_told_go_all_the_same(method: str, cpu: str) -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="2")
    async with world.running() as scheduler:
        world.add_pods("low-0", "low-1", cpu="1")
        await world.until_bound(2)
        for _ in range(50):
            world.tenant.refuse_next(method, status.unavailable("busy"))
        world.add_pods("high", cpu=cpu, priority=10)
        await until(world.clock, lambda: len(ending(world)) == int(cpu), seconds=5)
        for name in ending(world):
            world.tenant.remove(PODS, name, "acme", "default")
        await until(world.clock, lambda: HIGH in world.tenant.placements(), seconds=10)
        await settled(world, scheduler)


async def test_many_victims_of_one_node_are_read_at_once() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 2, cpu="4")
    async with world.running():
        world.add_pods(*(f"low-{n}" for n in range(8)), cpu="1")
        await world.until_bound(8)
        world.add_pods("high", cpu="4", priority=10)
        await until(world.clock, lambda: len(ending(world)) == 4)
        assert all(target(world, name) is not None for name in ending(world))
        assert len(world.tenant.called("List")) == 1 and not world.tenant.called("Get")


async def test_victims_that_are_gone_at_once_are_not_told() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="2")
    async with world.running() as scheduler:
        # One class but for the grace period.
        world.add_pods("prompt", cpu="1", grace_s=0)
        world.add_pods("graceful", cpu="1", grace_s=30)
        await world.until_bound(2)
        world.add_pods("high", cpu="2", priority=10)
        await until(world.clock, lambda: ending(world) == ["graceful"])
        found = target(world, "graceful")
        assert found is not None and found.reason == "PreemptionByScheduler"
        told = [
            o.metadata.name
            for method, request in world.tenant.calls
            if method == "BatchUpdateStatus"
            for o in request.objects
        ]
        assert "graceful" in told and "prompt" not in told
        world.tenant.remove(PODS, "graceful", "acme", "default")
        await until(world.clock, lambda: HIGH in world.tenant.placements(), seconds=10)
        await settled(world, scheduler)


async def test_a_new_leader_takes_up_the_claims_of_the_one_before_rather_than_claim_elsewhere() -> None:
    world = SchedulerWorld()
    for partition in world.resource:
        world.add_nodes(partition, 5)
    async with Supervisor() as tasks, contextlib.AsyncExitStack() as stack:
        first = tasks.start(world.scheduler("one").run(), name="one")
        # All is claimed, and no bind arrives.
        world.tenant.lose_binds(*("before",) * 50)
        world.add_pods(*(f"p{n}" for n in range(12)), cpu="1")
        await until(world.clock, lambda: sum(len(p.claims()) for p in world.resource.values()) == 12)
        await stop_task(first)
        world.tenant._lost.clear()
        where = {
            uid: (name, claim.spec.node_name) for name, p in world.resource.items() for uid, claim in p.claims().items()
        }
        # Another seed would spread them otherwise, over both partitions.
        two = await stack.enter_async_context(world.running("two", seed=99))
        await world.until_bound(12)
        assert {uid: (partition, node) for uid, partition, node in world.tenant.bindings} == where
        await settled(world, two)


async def test_a_partition_that_does_not_answer_does_not_keep_a_new_leader_from_its_work() -> None:
    world = SchedulerWorld()
    for partition in world.resource:
        world.add_nodes(partition, 1)
        world.resource[partition].refuse_next("List", status.unavailable("busy"))
    world.add_pods("a", "b", cpu="1")
    async with world.running():
        await world.until_bound(2, seconds=5)
    assert [method for p in world.resource.values() for method, _ in p.calls].count("List") == 2
    assert all(len(p.objects[CAPACITY_CLAIMS.resource]) == 1 for p in world.resource.values())
