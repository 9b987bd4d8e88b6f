"""Every outcome of a claim: no pod is lost, no node over-committed, no claim left behind."""

from __future__ import annotations

import grpc
import pytest

from services.api.kinds import CAPACITY_LEDGERS, NODES, PODS, RESOURCE_PARTITIONS
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim, ClaimOutcome
from services.base.rand import Rand
from services.rpc import status
from services.rpc.status import StatusError
from services.scheduler.app import Scheduler
from tests.support.client_world import until
from tests.support.scheduling import SchedulerWorld, make_node, make_pod

UID = "uid-acme-default-web"


async def all_settled(world: SchedulerWorld, scheduler: Scheduler) -> None:
    await until(world.clock, lambda: scheduler.state.assumed == 0 and not scheduler.loop.releaser.owed)


async def test_every_bound_pod_has_a_claim_made_before_its_bind() -> None:
    world = SchedulerWorld()
    world.add_nodes("rp-1", 3)
    world.add_nodes("rp-2", 3)
    async with world.running() as scheduler:
        world.add_pods(*(f"p{n}" for n in range(12)), cpu="500m", host_port=80, node_selector=None)
        await world.until_bound(6)
        await world.clock.advance(2)
        assert len(world.tenant.placements()) == 6, "one pod per node has its host port"
        await all_settled(world, scheduler)
        assert all(pod.spec.capacity_claimed for pod in bound(world))
        world.assert_claims_are_those_of_bound_pods()
        claim = world.resource["rp-1"].claims()[bound(world, "rp-1")[0].metadata.uid]
        assert claim.spec.requests == {"cpu": 500}
        assert [(port.protocol, port.host_port) for port in claim.spec.host_ports] == [("TCP", 80)]
        assert (claim.spec.tenant_partition, claim.spec.tenant, claim.spec.namespace) == ("tp-1", "acme", "default")


@pytest.mark.parametrize("stages", [("before",), ("after",), ("before", "after", "before"), ("after", "after")])
async def test_a_lost_claim_or_answer_is_sent_again(stages: tuple[str, ...]) -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 3, cpu="1")
    world.resource["rp-1"].lose_claims(*stages)
    async with world.running() as scheduler:
        world.add_pods("a", "b", "c", cpu="1")
        await world.until_bound(3, seconds=8)
        await all_settled(world, scheduler)
    assert set(world.pods_per_node().values()) == {1}
    assert not world.tenant.called("BatchRevokeBind"), "nothing was in doubt"
    world.assert_claims_are_those_of_bound_pods()


async def test_a_lost_race_is_planned_again_as_soon_as_the_ledger_has_told_why() -> None:
    world = SchedulerWorld(("rp-1",), backoff_initial_s=30.0, backoff_max_s=30.0)
    partition = world.resource["rp-1"]
    world.add_nodes("rp-1", 2, cpu="1")
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        # In the moment of the claim somebody else takes the node that was chosen.
        partition.before_claims.append(lambda: take_chosen(world, scheduler))
        world.add_pods("web", cpu="1")
        await world.until_bound(1, seconds=1)
        await all_settled(world, scheduler)
    assert partition.claim_calls == 2
    assert partition.claims()["other"].spec.node_name != world.tenant.placements()["acme/default/web"][1]
    assert not partition.over_committed()


def take_chosen(world: SchedulerWorld, scheduler: Scheduler) -> None:
    node = scheduler.state.table.node_of(UID)
    assert node is not None
    world.resource[node.partition].claim("other", node.name, cpu=1000)


async def test_room_that_other_tenant_partitions_take_is_seen_before_claiming() -> None:
    world = SchedulerWorld(("rp-1",))
    partition = world.resource["rp-1"]
    world.add_nodes("rp-1", 10, cpu="1")
    for number in range(9):
        partition.claim(f"other-{number}", f"node-{number:03d}", cpu=1000)
    world.add_pods("web", cpu="1")
    async with world.running():
        await world.until_bound(1)
        assert world.tenant.placements()["acme/default/web"] == ("rp-1", "node-009")
        assert partition.claim_calls == 1
        # What they give back is used at once, though their pods are not to be seen from here.
        world.add_pods("next", cpu="1")
        await world.clock.advance(15)
        assert len(world.tenant.placements()) == 1
        partition.release("other-4")
        await world.until_bound(2, seconds=0.5)
        assert world.tenant.placements()["acme/default/next"] == ("rp-1", "node-004")


@pytest.mark.parametrize("change", ["gone", "recreated"])
async def test_a_claim_on_a_node_that_is_not_the_one_that_was_meant_is_planned_anew(change: str) -> None:
    world = SchedulerWorld(("rp-1",))
    partition = world.resource["rp-1"]
    world.add_nodes("rp-1", 1, cpu="1")

    def replace_node() -> None:
        partition.remove(NODES, "node-000")
        if change == "recreated":
            again = make_node("node-000", cpu="1")
            again.metadata.uid = "uid-second-life"
            partition.put(NODES, again)
        else:
            partition.put(NODES, make_node("fresh", cpu="1"))

    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        partition.before_claims.append(replace_node)
        world.add_pods("web", cpu="1")
        await world.until_bound(1, seconds=5)
        await all_settled(world, scheduler)
    expected = "node-000" if change == "recreated" else "fresh"
    assert world.tenant.placements()["acme/default/web"] == ("rp-1", expected)
    world.assert_claims_are_those_of_bound_pods()


async def test_a_claim_that_the_pod_has_on_another_node_already_is_used() -> None:
    """A scheduler was killed between claim and bind; its successor would have chosen another node."""
    world = SchedulerWorld(("rp-1",))
    partition = world.resource["rp-1"]
    world.add_nodes("rp-1", 1, prefix="small", cpu="2")
    world.add_nodes("rp-1", 1, prefix="roomy", cpu="64")
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        partition.claim(UID, "small-000", tenant_partition="tp-1", cpu=1000)
        world.add_pods("web", cpu="1")
        await world.until_bound(1)
        await all_settled(world, scheduler)
        assert scheduler.state.table.node_of(UID) == ("rp-1", "small-000")
    assert world.tenant.placements()["acme/default/web"] == ("rp-1", "small-000")
    world.assert_claims_are_those_of_bound_pods()


async def test_a_claim_elsewhere_of_an_epoch_that_has_passed_is_released_and_made_anew() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 1, prefix="small", cpu="2")
    world.add_nodes("rp-1", 1, prefix="roomy", cpu="64")
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        world.resource["rp-1"].claim(UID, "small-000", tenant_partition="tp-1", cpu=1000, epoch=2)
        pod = make_pod("web", cpu="1")
        pod.spec.bind_epoch = 3
        world.tenant.put(PODS, pod)
        await world.until_bound(1)
        await all_settled(world, scheduler)
    assert world.tenant.placements()["acme/default/web"] == ("rp-1", "roomy-000")
    world.assert_claims_are_those_of_bound_pods()


async def test_a_claim_elsewhere_of_a_node_that_is_gone_is_fenced_released_and_made_anew() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 2, cpu="2")
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        world.resource["rp-1"].claim(UID, "node-000", tenant_partition="tp-1", cpu=1000)
        world.resource["rp-1"].remove(NODES, "node-000")
        world.add_pods("web", cpu="1")
        await world.until_bound(1, seconds=5)
        await all_settled(world, scheduler)
    assert world.tenant.placements()["acme/default/web"] == ("rp-1", "node-001")
    world.assert_claims_are_those_of_bound_pods()


@pytest.mark.parametrize("stage", ["before", "after"])
async def test_a_pod_deleted_while_its_claim_is_in_doubt_leaves_no_claim(stage: str) -> None:
    world = SchedulerWorld(("rp-1",))
    partition = world.resource["rp-1"]
    world.add_nodes("rp-1", 1, cpu="1")
    partition.lose_claims(stage)
    async with world.running() as scheduler:
        world.add_pods("web", cpu="1")
        await until(world.clock, lambda: partition.claim_calls == 1, step_s=0.001)
        world.tenant.remove(PODS, "web", "acme", "default")
        await until(world.clock, lambda: bool(world.tenant.called("BatchRevokeBind")))
        await all_settled(world, scheduler)
        assert partition.claims() == {}
        world.add_pods("next", cpu="1")
        await world.until_bound(1)
    world.assert_claims_are_those_of_bound_pods()


async def test_a_pod_deleted_between_claim_and_bind_leaves_no_claim() -> None:
    world = SchedulerWorld(("rp-1",))
    partition = world.resource["rp-1"]
    world.add_nodes("rp-1", 1, cpu="1")
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        partition.before_claims.append(lambda: world.tenant.remove(PODS, "web", "acme", "default"))
        world.add_pods("web", cpu="1")
        await until(world.clock, lambda: bool(partition.called("BatchRelease")))
        await all_settled(world, scheduler)
    assert partition.claims() == {} and not world.tenant.bindings


@pytest.mark.parametrize("stages", [("before",), ("after",), ("before", "after")])
async def test_a_lost_release_is_sent_again(stages: tuple[str, ...]) -> None:
    world = SchedulerWorld(("rp-1",))
    partition = world.resource["rp-1"]
    world.add_nodes("rp-1", 1, cpu="1")
    partition.lose_releases(*stages)
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        partition.before_claims.append(lambda: world.tenant.remove(PODS, "web", "acme", "default"))
        world.add_pods("web", cpu="1")
        await until(world.clock, lambda: bool(partition.called("BatchRelease")))
        await until(world.clock, lambda: not partition.claims())
        await all_settled(world, scheduler)


async def test_a_partition_lost_during_the_claim_its_pods_go_elsewhere_once_stale_and_fenced() -> None:
    world = SchedulerWorld(stale_after_s=10.0, backoff_initial_s=0.1)
    first, second = world.resource["rp-1"], world.resource["rp-2"]
    world.add_nodes("rp-1", 1, cpu="1")
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        # The claim is made, and its answer is the last that is heard of the partition.
        first.lose_claims("after")
        world.add_pods("web", cpu="1")
        await until(world.clock, lambda: first.claim_calls == 1, step_s=0.001)
        first.go_down()
        world.add_nodes("rp-2", 1, cpu="1")
        await world.clock.advance(9)
        assert not world.tenant.called("BatchRevokeBind"), "not before it is stale"
        assert scheduler.state.table.node_of(UID) == ("rp-1", "node-000"), "in doubt it counts where it may be"
        await world.until_bound(1, seconds=10)
        assert world.tenant.placements()["acme/default/web"] == ("rp-2", "node-000")
        assert world.tenant.get(PODS, "web", "acme", "default").spec.bind_epoch == 1
        assert second.claims()[UID].spec.bind_epoch == 1
        # The release is owed until the partition is back.
        assert UID in first.claims() and scheduler.loop.releaser.owed == {"rp-1": 1}
        first.come_back()
        await all_settled(world, scheduler)
    world.assert_claims_are_those_of_bound_pods()


async def test_a_partition_removed_during_the_claim_its_pods_are_fenced_and_go_elsewhere() -> None:
    world = SchedulerWorld(stale_after_s=1000.0)
    first = world.resource["rp-1"]
    world.add_nodes("rp-1", 1, cpu="1")
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        first.lose_claims("after")
        world.add_pods("web", cpu="1")
        await until(world.clock, lambda: first.claim_calls == 1, step_s=0.001)
        world.tenant.remove(RESOURCE_PARTITIONS, "rp-1")
        world.add_nodes("rp-2", 1, cpu="1")
        await world.until_bound(1, seconds=15)
        await all_settled(world, scheduler)
        assert scheduler.state.table.counts() == {"rp-2": 1}
    assert world.tenant.placements()["acme/default/web"] == ("rp-2", "node-000")
    assert world.tenant.called("BatchRevokeBind")


async def test_a_bind_refused_as_its_epoch_was_raised_is_claimed_and_bound_with_the_new_one() -> None:
    world = SchedulerWorld(("rp-1",))
    partition = world.resource["rp-1"]
    world.add_nodes("rp-1", 1, cpu="1")

    def raise_epoch() -> None:
        pod = world.tenant.get(PODS, "web", "acme", "default")
        pod.spec.bind_epoch = 5
        world.tenant.put(PODS, pod)

    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        partition.before_claims.append(raise_epoch)
        world.add_pods("web", cpu="1")
        await world.until_bound(1, seconds=3)
        await all_settled(world, scheduler)
    assert partition.claims()[UID].spec.bind_epoch == 5
    world.assert_claims_are_those_of_bound_pods()


async def test_a_bind_lost_to_another_node_gives_its_claim_back() -> None:
    world = SchedulerWorld()
    world.add_nodes("rp-1", 1, prefix="same", cpu="1")
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        world.add_nodes("rp-2", 1, prefix="same", cpu="1")
        elsewhere = make_pod("web", cpu="1", node=("rp-2", "same-000"))

        def bound_by_another() -> None:
            world.tenant.put(PODS, elsewhere)

        world.resource["rp-1"].before_claims.append(bound_by_another)
        world.resource["rp-2"].before_claims.append(lambda: None)
        world.add_pods("web", cpu="1", node_selector=None)
        await until(world.clock, lambda: bool(world.tenant.placements()))
        await all_settled(world, scheduler)
    # A node of the same name in another partition is another node: the claim may not stay on it.
    assert world.resource["rp-1"].claims() == {}


async def test_while_revocations_are_not_answered_the_pod_counts_on_its_node() -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 2, cpu="1")
    world.tenant.lose_revocations("before", "after", "before")
    world.tenant.refuse_next("BatchBind", status.forbidden("not now"))
    async with world.running() as scheduler:
        world.add_pods("web", cpu="1")
        await until(world.clock, lambda: len(world.tenant.called("BatchRevokeBind")) == 2, step_s=0.01)
        assert scheduler.state.table.node_of(UID) is not None and UID in world.resource["rp-1"].claims()
        await world.until_bound(1, seconds=10)
        await all_settled(world, scheduler)
    assert world.tenant.get(PODS, "web", "acme", "default").spec.bind_epoch > 0
    world.assert_claims_are_those_of_bound_pods()


async def test_a_claim_refused_for_another_reason_backs_off() -> None:
    world = SchedulerWorld(("rp-1",), backoff_initial_s=5.0)
    partition = world.resource["rp-1"]
    world.add_nodes("rp-1", 1, cpu="1")
    decide, refused = partition._decide, []

    def forbid(claim: CapacityClaim) -> ClaimOutcome:
        if refused:
            return decide(claim)
        refused.append(claim)
        error = StatusError(grpc.StatusCode.PERMISSION_DENIED, "Forbidden", "not you")
        return ClaimOutcome(pod_uid=claim.metadata.name, state=ClaimOutcome.REFUSED, status=error.to_status())

    partition._decide = forbid  # type: ignore[method-assign]
    async with world.running():
        world.add_pods("web", cpu="1")
        await world.clock.advance(4)
        assert partition.claim_calls == 1
        await world.until_bound(1, seconds=3)


async def test_two_tenant_partitions_race_for_full_nodes_and_nothing_is_over_committed() -> None:
    world = SchedulerWorld(backoff_initial_s=0.5, backoff_max_s=2.0)
    rand = Rand(7)
    for partition in world.resource.values():
        for number in range(10):
            partition.put(NODES, make_node(f"node-{number:03d}", cpu="2"))
    async with world.running() as scheduler:
        await until(world.clock, lambda: scheduler.started)
        world.add_pods(*(f"p{n}" for n in range(24)), cpu="1")
        for name, partition in world.resource.items():
            for number in range(8):
                partition.before_claims.append(lambda p=partition, n=number, r=name: rob(p, f"o-{r}-{n}", rand))  # type: ignore[misc]
        await world.until_bound(24, seconds=30)
        await all_settled(world, scheduler)
    world.assert_claims_are_those_of_bound_pods()


def rob(partition: object, uid: str, rand: Rand) -> None:
    """Another tenant partition's scheduler is quicker, on some node with room."""
    free = [
        message.metadata.name
        for message in partition.objects[CAPACITY_LEDGERS.resource].values()  # type: ignore[attr-defined]
        if not partition.ledger(message.metadata.name).shortage({"cpu": 1000, "pods": 1})  # type: ignore[attr-defined]
    ]
    partition.claim(uid, rand.choice(free), cpu=1000)  # type: ignore[attr-defined]


def bound(world: SchedulerWorld, partition: str = "") -> list[object]:
    pods = world.tenant.objects[PODS.resource].values()
    return [p for p in pods if p.spec.node_name and (not partition or p.spec.resource_partition == partition)]
