"""A resource partition whose watches are alive and whose calls are not: it keeps no pod, and holds up no other."""

from __future__ import annotations

import pytest

from services.api.kinds import PODS
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import BatchClaimRequest, ClaimRelease
from services.scheduler.app import Scheduler
from tests.support.client_world import until
from tests.support.scheduling import SchedulerWorld


def mute(world: SchedulerWorld, name: str, how: str) -> None:
    if how == "full":
        world.resource[name].full = True
    else:
        world.resource[name].fall_silent("BatchClaim", how=how)


def heal(world: SchedulerWorld, name: str) -> None:
    world.resource[name].full = False
    world.resource[name].speak()


def claimed(world: SchedulerWorld, name: str) -> list[BatchClaimRequest]:
    """What was asked of a partition, answered or not."""
    partition = world.resource[name]
    lost = [BatchClaimRequest.FromString(data) for method, data in partition.unanswered if method == "BatchClaim"]
    return lost + partition.called("BatchClaim")


async def all_settled(world: SchedulerWorld, scheduler: Scheduler) -> None:
    await until(world.clock, lambda: scheduler.state.assumed == 0 and not scheduler.loop.releaser.owed)


@pytest.mark.parametrize("how", ["hang", "unavailable", "full"])
async def test_pods_of_a_partition_that_grants_no_claims_go_elsewhere_fenced_and_it_recovers_by_itself(
    how: str,
) -> None:
    world = SchedulerWorld(stale_after_s=10.0)
    for name in world.resource:
        world.add_nodes(name, 10)
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        mute(world, "rp-2", how)
        world.add_pods(*(f"p{n}" for n in range(100)), cpu="100m")
        await world.clock.advance(8)
        assert 0 < len(world.tenant.placements()) < 100
        assert not scheduler.state.table.is_stale("rp-2") and not world.tenant.called("BatchRevokeBind")
        await world.until_bound(100, seconds=10)
        assert scheduler.state.table.is_stale("rp-2")
        assert {partition for partition, _ in world.tenant.placements().values()} == {"rp-1"}
        fenced = {one.uid for request in world.tenant.called("BatchRevokeBind") for one in request.revocations}
        assert fenced, "none went elsewhere without a fence"
        # While it is silent nothing is planned there, however long that takes.
        asked = len(claimed(world, "rp-2"))
        world.add_pods(*(f"q{n}" for n in range(20)), cpu="100m")
        await world.until_bound(120, seconds=1)
        await world.clock.advance(60)
        probes = claimed(world, "rp-2")[asked:]
        assert probes and all(len(request.claims) == 1 and not request.claims[0].spec.requests for request in probes)
        assert scheduler.state.table.is_stale("rp-2")
        heal(world, "rp-2")
        await until(world.clock, lambda: not scheduler.state.table.is_stale("rp-2"), seconds=10)
        world.add_pods(*(f"r{n}" for n in range(20)), cpu="100m")
        await world.until_bound(140, seconds=1)
        assert "rp-2" in {partition for partition, _ in world.tenant.placements().values()}
        await all_settled(world, scheduler)
    world.assert_claims_are_those_of_bound_pods()


async def test_one_partition_alone_keeps_its_pods_waiting_and_has_them_when_it_recovers() -> None:
    world = SchedulerWorld(("rp-1",), stale_after_s=5.0)
    world.add_nodes("rp-1", 2)
    mute(world, "rp-1", "unavailable")
    async with world.running() as scheduler:
        world.add_pods("a", "b", cpu="1")
        await until(world.clock, lambda: scheduler.state.table.is_stale("rp-1"), seconds=10)
        await until(world.clock, lambda: scheduler.state.assumed == 0, seconds=1)
        heal(world, "rp-1")
        await world.until_bound(2, seconds=15)
        await all_settled(world, scheduler)
    world.assert_claims_are_those_of_bound_pods()


async def test_claims_of_pods_that_are_wanted_no_more_make_nobody_silent() -> None:
    world = SchedulerWorld(("rp-1",), stale_after_s=5.0)
    world.add_nodes("rp-1", 1)
    mute(world, "rp-1", "unavailable")
    async with world.running() as scheduler:
        world.add_pods("web", cpu="1")
        await until(world.clock, lambda: scheduler.state.assumed == 1)
        await world.clock.advance(1)
        world.tenant.remove(PODS, "web", "acme", "default")
        await world.clock.advance(20)
        assert not scheduler.state.table.is_stale("rp-1")


async def test_a_slow_answer_is_no_silence_while_others_are_granted() -> None:
    world = SchedulerWorld(("rp-1",), stale_after_s=3.0, bind_timeout_s=1.0)
    world.add_nodes("rp-1", 20)
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        for number in range(20):
            world.resource["rp-1"].lose_claims("before", "never")
            world.add_pods(f"p{number}", cpu="100m")
            await world.clock.advance(1)
            assert not scheduler.state.table.is_stale("rp-1")
        await world.until_bound(20)
        assert not world.tenant.called("BatchRevokeBind")


async def test_claims_that_hang_in_one_partition_delay_no_pod_of_another() -> None:
    world = SchedulerWorld(stale_after_s=60.0, bind_batch_pods=2, bind_batches_in_flight=2)
    for name in world.resource:
        world.add_nodes(name, 10)
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        mute(world, "rp-2", "hang")
        slowest = 0.0
        for number in range(20):
            # Some go to the one, some to the other; those that go to the partition that answers are bound at once.
            world.add_pods(*(f"p{number}-{n}" for n in range(4)), cpu="100m")
            await world.clock.advance(0.3)
            there = {uid for uid, node in nodes_of(scheduler, world).items() if node == "rp-1"}
            late = there - {uid for uid, _, _ in world.tenant.bindings}
            slowest = max(slowest, len(late))
            assert len(nodes_of(scheduler, world)) == 4 * (number + 1), "all are planned"
        assert not slowest
        bound = len(world.tenant.placements())
        assert 20 < bound < 60
        heal(world, "rp-2")
        await world.until_bound(80, seconds=40)
        await all_settled(world, scheduler)
    world.assert_claims_are_those_of_bound_pods()


async def test_a_scheduler_that_stops_starts_nothing_that_still_waited_for_a_slot() -> None:
    world = SchedulerWorld(("rp-1",), stale_after_s=60.0, bind_batch_pods=1, bind_batches_in_flight=1)
    world.add_nodes("rp-1", 10)
    mute(world, "rp-1", "hang")
    async with world.running() as scheduler:
        world.add_pods(*(f"p{n}" for n in range(5)), cpu="100m")
        await until(world.clock, lambda: scheduler.state.assumed == 5)
        await world.clock.advance(1)
    assert len(claimed(world, "rp-1")) == 1 and scheduler.state.assumed == 0


def nodes_of(scheduler: Scheduler, world: SchedulerWorld) -> dict[str, str]:
    """Pod UID → partition of the node that it counts on."""
    uids = [pod.metadata.uid for pod in world.tenant.objects[PODS.resource].values()]
    return {uid: node.partition for uid in uids if (node := scheduler.state.table.node_of(uid)) is not None}


@pytest.mark.parametrize("how", ["hang", "unavailable"])
async def test_releases_that_one_partition_does_not_take_delay_no_other(how: str) -> None:
    world = SchedulerWorld()
    released = ClaimRelease(fact=ClaimRelease.ABSENT)
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        world.resource["rp-1"].fall_silent("BatchRelease", how=how)
        scheduler.loop.releaser.owe("rp-1", ClaimRelease(pod_uid="stuck", fact=released.fact))
        await world.clock.advance(0.5)
        for number in range(10):
            scheduler.loop.releaser.owe("rp-2", ClaimRelease(pod_uid=f"uid-{number}", fact=released.fact))
            await world.clock.advance(0.1)
            assert scheduler.loop.releaser.owed == {"rp-1": 1}
        world.resource["rp-1"].speak()
        await until(world.clock, lambda: not scheduler.loop.releaser.owed, seconds=15)
