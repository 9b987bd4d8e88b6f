"""Nodes that are closed while somebody has a promise or a claim there: the filters are asked before the pod goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from services.api.kinds import NODES, PODS
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import PodAffinityTerm
from services.base.tasks import Supervisor, stop_task
from tests.support.client_world import until
from tests.support.scheduling import SchedulerWorld, make_pod

HIGH = "acme/default/high"
UID = "uid-acme-default-high"


def cordon(node: Node) -> None:
    node.spec.unschedulable = True


def taint(node: Node) -> None:
    node.spec.taints.add(key="broken", effect="NoExecute")


def not_ready(node: Node) -> None:
    node.status.conditions[0].status = "False"


def relabel(node: Node) -> None:
    node.metadata.labels["disk"] = "hdd"


def shrink(node: Node) -> None:
    node.status.allocatable["cpu"] = "1"


def change(world: SchedulerWorld, how: Callable[[Node], None], name: str = "node-000") -> Node:
    """Returns the node as it was."""
    before = world.resource["rp-1"].get(NODES, name)
    node = world.resource["rp-1"].get(NODES, name)
    how(node)
    world.resource["rp-1"].put(NODES, node)
    assert isinstance(before, Node)
    return before


def ending(world: SchedulerWorld) -> list[str]:
    pods = world.tenant.objects[PODS.resource].values()
    return [pod.metadata.name for pod in pods if pod.metadata.HasField("deletion_timestamp")]


async def promised(world: SchedulerWorld) -> None:
    world.add_nodes("rp-1", 1, cpu="2", labels={"disk": "ssd"})
    world.add_pods("low-0", "low-1", cpu="1")
    await world.until_bound(2)
    world.add_pods("high", cpu="2", priority=10, node_selector={"disk": "ssd"})
    await until(world.clock, lambda: len(ending(world)) == 2)


def end_victims(world: SchedulerWorld) -> None:
    for name in ending(world):
        world.tenant.remove(PODS, name, "acme", "default")


@pytest.mark.parametrize("how", [cordon, taint, not_ready, relabel])
@pytest.mark.parametrize("while_victims_end", [True, False])
async def test_a_promise_on_a_node_that_was_closed_is_given_back(
    how: Callable[[Node], None], while_victims_end: bool
) -> None:
    world = SchedulerWorld(("rp-1",))
    async with world.running() as scheduler:
        await promised(world)
        before = change(world, how)
        if while_victims_end:
            await world.clock.advance(2)
            ledger = world.resource["rp-1"].ledger("node-000")
            assert ledger is not None and not ledger.promises
        end_victims(world)
        await world.clock.advance(20)
        assert HIGH not in world.tenant.placements() and UID not in world.resource["rp-1"].claims()
        node = world.resource["rp-1"].get(NODES, "node-000")
        before.metadata.resource_version = node.metadata.resource_version
        world.resource["rp-1"].put(NODES, before)
        await until(world.clock, lambda: HIGH in world.tenant.placements(), seconds=15)
        await until(world.clock, lambda: scheduler.state.assumed == 0 and not scheduler.loop.releaser.owed)
        world.assert_claims_are_those_of_bound_pods()


async def test_a_promise_on_a_node_that_can_give_less_by_now_is_given_back() -> None:
    world = SchedulerWorld(("rp-1",))
    async with world.running():
        await promised(world)
        end_victims(world)
        change(world, shrink)
        await world.clock.advance(20)
        assert HIGH not in world.tenant.placements() and UID not in world.resource["rp-1"].claims()


async def test_a_promised_pod_whose_domain_was_taken_meanwhile_does_not_go_there() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, cpu="2", labels={"zone": "a"})
    async with world.running():
        world.add_pods("low-0", "low-1", cpu="1")
        await world.until_bound(2)
        high = make_pod("high", cpu="2", priority=10)
        terms = high.spec.affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution
        term = PodAffinityTerm(topology_key="zone")
        term.label_selector.match_labels["app"] = "loud"
        terms.append(term)
        world.tenant.put(PODS, high)
        await until(world.clock, lambda: len(ending(world)) == 2)
        world.add_nodes("rp-1", 1, prefix="next", cpu="1", labels={"zone": "a"})
        # Somebody else's scheduler does not know what this one has in mind.
        world.add_pods("loud", cpu="1", labels={"app": "loud"}, node=("rp-1", "next-000"))
        end_victims(world)
        await world.clock.advance(20)
        assert HIGH not in world.tenant.placements() and UID not in world.resource["rp-1"].claims()
        world.tenant.remove(PODS, "loud", "acme", "default")
        await until(world.clock, lambda: HIGH in world.tenant.placements(), seconds=15)


@pytest.mark.parametrize("has", ["a claim", "a promise"])
async def test_what_a_leader_before_left_on_a_node_that_was_closed_since_is_given_back(has: str) -> None:
    world = SchedulerWorld(("rp-1",))
    async with Supervisor() as tasks, contextlib.AsyncExitStack() as stack:
        first = tasks.start(world.scheduler("one").run(), name="one")
        if has == "a promise":
            await promised(world)
        else:
            world.add_nodes("rp-1", 1, cpu="2")
            world.tenant.lose_binds(*("before",) * 50)
            world.add_pods("high", cpu="2")
            await until(world.clock, lambda: UID in world.resource["rp-1"].claims())
        await stop_task(first)
        world.tenant._lost.clear()
        change(world, cordon)
        await stack.enter_async_context(world.running("two", seed=9))
        await world.clock.advance(5)
        end_victims(world)
        await world.clock.advance(10)
        assert HIGH not in world.tenant.placements() and UID not in world.resource["rp-1"].claims()
        world.add_nodes("rp-1", 1, prefix="new", cpu="2", labels={"disk": "ssd"})
        await until(world.clock, lambda: world.tenant.placements().get(HIGH) == ("rp-1", "new-000"), seconds=15)


async def test_a_claim_that_is_found_on_a_closed_node_is_released_rather_than_adopted() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, prefix="closed", unschedulable=True)
    world.add_nodes("rp-1", 1, prefix="open")
    world.resource["rp-1"].claim(UID, "closed-000", tenant_partition="tp-1", cpu=1000, pods=1)
    async with world.running() as scheduler:
        # The look at claims comes too early to see it, as with a claim that was on its way.
        world.add_pods("high", cpu="1")
        await until(world.clock, lambda: HIGH in world.tenant.placements(), seconds=15)
        assert world.tenant.placements()[HIGH] == ("rp-1", "open-000")
        await until(world.clock, lambda: scheduler.state.assumed == 0)
        world.assert_claims_are_those_of_bound_pods()
