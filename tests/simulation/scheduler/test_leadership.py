"""A pair of schedulers of one tenant partition: one works, the other stands by with everything in memory."""

from __future__ import annotations

import contextlib
from collections import Counter

from services.api.kinds import LEASES
from services.base.tasks import Supervisor, stop_task
from services.client.election import ElectionConfig
from tests.support.client_world import until
from tests.support.scheduling import SchedulerWorld


def pair(**scheduling: object) -> SchedulerWorld:
    world = SchedulerWorld(**scheduling)  # type: ignore[arg-type]
    world.election = ElectionConfig(enabled=True, lease_s=15.0, renew_deadline_s=10.0, retry_s=2.0)
    world.add_nodes("rp-1", 5, cpu="4")
    world.add_nodes("rp-2", 5, cpu="4")
    return world


def holder(world: SchedulerWorld) -> str:
    lease = world.tenant.get(LEASES, "default-scheduler", "system", "kube-system")
    return "" if lease is None else lease.spec.holder_identity.split("_")[0]


async def test_one_works_and_the_other_stands_by_with_everything_in_memory() -> None:
    world = pair()
    async with world.running("one") as one:
        await until(world.clock, lambda: holder(world) == "one")
        async with world.running("two", seed=2) as two:
            world.add_pods(*(f"p{n}" for n in range(20)), cpu="100m")
            await world.until_bound(20)
            await world.clock.advance(1)
            assert one.started and two.started
            assert two.state.table.counts() == {"rp-1": 5, "rp-2": 5}
            assert two.state.assumed == 0 and not two.state.queue.has_active
            # Both know where every pod is; only one has decided it.
            assert Counter(map(str, map(two.state.table.node_of, uids(20)))) == Counter(
                map(str, map(one.state.table.node_of, uids(20)))
            )
    assert len(world.tenant.bindings) == 20


async def test_when_the_leader_ends_cleanly_the_standby_places_within_a_second_of_taking_over() -> None:
    world = pair()
    async with Supervisor() as tasks, contextlib.AsyncExitStack() as stack:
        first = tasks.start(world.scheduler("one").run(), name="one")
        await until(world.clock, lambda: holder(world) == "one")
        await stack.enter_async_context(world.running("two", seed=2))
        world.add_pods("a", cpu="100m")
        await world.until_bound(1)
        await stop_task(first)
        world.add_pods("b", cpu="100m")
        await until(world.clock, lambda: holder(world) == "two", seconds=3)
        await world.until_bound(2, seconds=1)
    world.assert_claims_are_those_of_bound_pods()


async def test_a_killed_leader_is_succeeded_when_its_lease_has_run_out_and_its_claims_are_used() -> None:
    world = pair(stale_after_s=1000.0)
    async with contextlib.AsyncExitStack() as killed:
        # Killed between claim and bind: nothing of it is heard again, not even that it gives back its lease.
        await killed.enter_async_context(world.running("one"))
        await until(world.clock, lambda: holder(world) == "one")
        async with world.running("two", seed=2) as two:
            await until(world.clock, lambda: two.started)
            world.tenant.lose_binds(*("before",) * 4)
            world.add_pods(*(f"p{n}" for n in range(8)), cpu="1")
            claimed = lambda: sum(len(partition.claims()) for partition in world.resource.values())  # noqa: E731
            await until(world.clock, lambda: claimed() == 8, step_s=0.001)
            frozen = lease_as_it_is(world)
            await killed.aclose()
            world.tenant.put(LEASES, frozen)
            assert not world.tenant.bindings
            await until(world.clock, lambda: holder(world) == "two", seconds=20)
            await world.until_bound(8, seconds=12)
            await until(world.clock, lambda: two.state.assumed == 0)
    assert max(Counter(uid for uid, _, _ in world.tenant.bindings).values()) == 1
    assert not [node for partition in world.resource.values() for node in partition.over_committed()]


async def test_a_leader_that_cannot_renew_stops_planning_and_binding() -> None:
    world = pair()
    async with world.running("one") as one:
        await until(world.clock, lambda: holder(world) == "one")
        # Somebody else has the lease now, and this process cannot know it yet.
        stolen = lease_as_it_is(world)
        stolen.spec.holder_identity = "two"
        stolen.metadata.resource_version = 0
        world.tenant.put(LEASES, stolen)
        await world.clock.advance(5)
        binds = world.tenant.bind_calls
        world.add_pods("web", cpu="1")
        await world.clock.advance(8)
        assert world.tenant.bind_calls == binds and one.state.assumed == 0
        # The thief never renews: the deposed one stands again, and takes up what waits.
        await world.until_bound(1, seconds=20)


def lease_as_it_is(world: SchedulerWorld) -> object:
    return world.tenant.get(LEASES, "default-scheduler", "system", "kube-system")


def uids(count: int) -> list[str]:
    return [f"uid-acme-default-p{n}" for n in range(count)]
