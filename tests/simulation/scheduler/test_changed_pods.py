"""Placed pods that become others while they stay where they are: who waits for that hears of it."""

from __future__ import annotations

from typing import Literal

from services.api.kinds import PODS
from services.api.pb.ursa.core.v1.pod_pb2 import Pod, PodAffinityTerm, TopologySpreadConstraint
from tests.support.client_world import until
from tests.support.scheduling import SchedulerWorld, make_pod


def relabel(world: SchedulerWorld, name: str, **labels: str) -> None:
    pod = world.tenant.get(PODS, name, "acme", "default")
    pod.metadata.labels.clear()
    pod.metadata.labels.update(labels)
    world.tenant.put(PODS, pod)


def related(name: str, how: Literal["pod_affinity", "pod_anti_affinity"], app: str) -> Pod:
    pod = make_pod(name, cpu="1")
    term = PodAffinityTerm(topology_key="zone")
    term.label_selector.match_labels["app"] = app
    getattr(pod.spec.affinity, how).required_during_scheduling_ignored_during_execution.append(term)
    return pod


async def test_a_pod_that_is_labelled_as_somebody_wants_its_neighbour_to_be() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, labels={"zone": "a"})
    async with world.running():
        world.add_pods("placed", cpu="1", labels={"app": "none"})
        await world.until_bound(1)
        world.tenant.put(PODS, related("waits", "pod_affinity", "web"))
        await world.clock.advance(12)
        assert "acme/default/waits" not in world.tenant.placements()
        relabel(world, "placed", app="web")
        await until(world.clock, lambda: "acme/default/waits" in world.tenant.placements(), seconds=3)


async def test_a_pod_that_loses_the_label_that_kept_somebody_away() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, labels={"zone": "a"})
    async with world.running():
        world.add_pods("placed", cpu="1", labels={"app": "loud"})
        await world.until_bound(1)
        world.tenant.put(PODS, related("waits", "pod_anti_affinity", "loud"))
        await world.clock.advance(12)
        assert "acme/default/waits" not in world.tenant.placements()
        relabel(world, "placed", app="quiet")
        await until(world.clock, lambda: "acme/default/waits" in world.tenant.placements(), seconds=3)


async def test_a_pod_that_begins_to_end_counts_no_more_for_spreading() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, prefix="a", labels={"zone": "a"})
    world.add_nodes("rp-1", 1, prefix="b", labels={"zone": "b"}, cpu="100m")
    async with world.running():
        world.add_pods("placed", cpu="1", labels={"app": "web"})
        await world.until_bound(1)
        waits = make_pod("waits", cpu="1", labels={"app": "web"})
        constraint = TopologySpreadConstraint(max_skew=1, topology_key="zone", when_unsatisfiable="DoNotSchedule")
        constraint.label_selector.match_labels["app"] = "web"
        waits.spec.topology_spread_constraints.append(constraint)
        world.tenant.put(PODS, waits)
        await world.clock.advance(12)
        assert "acme/default/waits" not in world.tenant.placements()
        placed = world.tenant.get(PODS, "placed", "acme", "default")
        placed.metadata.deletion_timestamp.seconds = 1_000
        world.tenant.put(PODS, placed)
        await until(world.clock, lambda: "acme/default/waits" in world.tenant.placements(), seconds=3)
