"""What becomes of nodes and their pods, one story at a time."""

from __future__ import annotations

import dataclasses
import itertools

import grpc
import pytest

from services.api.kinds import EVENTS, LEASES, NODES, PODS
from services.api.pb.ursa.core.v1.pod_pb2 import Toleration
from services.controllers.nodes.facts import LEASE_NAMESPACE, NOT_READY, SYSTEM_TENANT, TTL_ANNOTATION, UNREACHABLE
from services.controllers.nodes.zones import ZoneState
from services.rpc.status import StatusError
from tests.simulation.nodes.world import CONFIG, World, world

EXECUTE, SCHEDULE = "NoExecute", "NoSchedule"


def tolerating(seconds: int | None, key: str = UNREACHABLE) -> list[Toleration]:
    return [Toleration(key=key, operator="Exists", effect=EXECUTE, toleration_seconds=seconds)]


def condition(made: World, partition: str, name: str, kind: str) -> tuple[str, str]:
    found = made.tenants[partition].get(PODS, name, "acme", "default")
    return next((c.status, c.reason) for c in found.status.conditions if c.type == kind)


def reasons(made: World, partition: str) -> set[str]:
    return {event.reason for event in made.tenants[partition].objects[EVENTS.resource].values()}


async def test_a_node_that_dies_is_tainted_and_its_pods_leave_it_in_every_tenant_partition() -> None:
    async with world() as made:
        made.add_pod("at-once", "n0", "tp-1")
        made.add_pod("soon", "n0", "tp-2", tolerations=tolerating(30))
        made.add_pod("stays", "n0", "tp-2", tolerations=tolerating(None))
        made.add_pod("elsewhere", "n1", "tp-1")
        made.die("n0")
        await made.step(45)
        assert made.taints("n0") == set()
        await made.step(25)
        assert made.taints("n0") == {(UNREACHABLE, EXECUTE), (UNREACHABLE, SCHEDULE)}
        reported = {c.type: (c.status, c.reason) for c in made.node("n0").status.conditions}
        assert set(reported.values()) == {("Unknown", "NodeStatusUnknown")} and len(reported) == 4
        assert made.ending("tp-1") == {"at-once"} and made.ending("tp-2") == set()
        assert condition(made, "tp-1", "at-once", "DisruptionTarget") == ("True", "DeletionByTaintManager")
        assert condition(made, "tp-2", "stays", "Ready") == ("False", "NodeNotReady")
        await made.step(30)
        assert made.ending("tp-2") == {"soon"}
        assert condition(made, "tp-1", "elsewhere", "Ready")[0] == "True"
        assert {"TaintManagerEviction", "NodeNotReady"} <= reasons(made, "tp-1")
        assert "NodeNotReady" in {event.reason for event in made.resource.objects[EVENTS.resource].values()}
        await made.step(300)
        assert made.ending("tp-2") == {"soon"} and made.ending("tp-1") == {"at-once"}


async def test_a_node_that_returns_in_time_keeps_its_pods() -> None:
    async with world() as made:
        made.add_pod("soon", "n0", tolerations=tolerating(60))
        made.die("n0")
        await made.step(80)
        assert (UNREACHABLE, EXECUTE) in made.taints("n0")
        made.come_back("n0")
        await made.step(2)
        assert made.taints("n0") == set()
        await made.step(200)
        assert made.evicted == []
        texts = {event.message for event in made.tenants["tp-1"].objects[EVENTS.resource].values()}
        assert "Cancelling deletion of Pod default/soon" in texts


async def test_a_node_that_says_it_is_not_ready_has_the_other_taint() -> None:
    async with world() as made:
        made.add_pod("web", "n0")
        made.kubelets["n0"].ready = False
        made.kubelets["n0"].renewed_at = float("-inf")
        await made.step(10)
        assert made.taints("n0") == {(NOT_READY, EXECUTE), (NOT_READY, SCHEDULE)}
        assert made.ending("tp-1") == {"web"}
        made.die("n0")
        await made.step(70)
        assert made.taints("n0") == {(UNREACHABLE, EXECUTE), (UNREACHABLE, SCHEDULE)}


async def test_a_taint_of_others_evicts_too_and_stays() -> None:
    async with world() as made:
        made.add_pod("web", "n0")
        made.kubelets["n0"].ready = False  # so that the judge does not call it wrong
        node = made.node("n0")
        node.spec.taints.add(key="example.com/gone", value="1", effect=EXECUTE)
        node.spec.unschedulable = True
        made.resource.put(NODES, node)
        await made.step(4)
        assert made.ending("tp-1") == {"web"}
        assert made.taints("n0") == {("example.com/gone", EXECUTE), ("node.kubernetes.io/unschedulable", SCHEDULE)}


@pytest.mark.parametrize("anew", [False, True])
async def test_a_taint_that_went_and_came_unseen_is_tolerated_for_the_whole_time_again(*, anew: bool) -> None:
    async with world() as made:
        made.add_pod("web", "n0", tolerations=tolerating(10, "example.com/gone"))

        def taint(time_added: int) -> None:
            node = made.node("n0")
            del node.spec.taints[:]
            taint = node.spec.taints.add(key="example.com/gone", value="1", effect=EXECUTE)
            taint.time_added.seconds = time_added
            made.resource.put(NODES, node)

        first = int(made.clock.time()) + 1
        taint(first)
        await made.step(6)
        # In one change, as a watch shows it that was away in between.
        taint(first + 5 if anew else first)
        await made.step(7)
        assert made.ending("tp-1") == (set() if anew else {"web"})
        await made.step(6)
        assert made.ending("tp-1") == {"web"}
        assert made.wrong.pop().endswith("web was evicted from n0, which runs"), "the judge knows no taint of others"


async def test_a_node_that_never_reports_has_the_startup_grace() -> None:
    async with world() as made:
        made.add_node("new")
        made.die("new")
        node = made.node("new")
        del node.status.conditions[:]
        made.resource.put(NODES, node)
        made.kubelets["new"].heard_at = made.clock.monotonic()
        await made.step(58)
        assert not made.node("new").status.conditions
        await made.step(12)
        assert {(c.status, c.reason) for c in made.node("new").status.conditions} == {
            ("Unknown", "NodeStatusNeverUpdated")
        }


async def test_when_every_zone_is_lost_nothing_is_evicted_and_the_taints_go() -> None:
    async with world(nodes=4, zones=("a", "b")) as made:
        for number in range(4):
            made.add_pod(f"p{number}", f"n{number}", tolerations=tolerating(60))
        made.die("n0")
        await made.step(70)
        assert (UNREACHABLE, EXECUTE) in made.taints("n0")
        for number in range(1, 4):
            made.die(f"n{number}")
        await made.step(90)
        assert all(made.nodes.zone_state(zone) is ZoneState.FULL for zone in (":a", ":b"))
        assert all(EXECUTE not in {effect for _, effect in made.taints(f"n{n}")} for n in range(4))
        gone = set(made.ending("tp-1"))
        await made.step(300)
        assert made.ending("tp-1") == gone <= {"p0"}
        # One node is back: the others get a whole grace period again.
        made.come_back("n1")
        await made.step(45)
        assert made.ending("tp-1") == gone
        await made.step(90)
        assert made.ending("tp-1") == {"p0", "p2", "p3"}


async def test_a_small_zone_that_loses_most_of_its_nodes_gives_up_none() -> None:
    config = dataclasses.replace(CONFIG, secondary_eviction_rate_per_s=0.01, large_zone_nodes=50)
    async with world(config, nodes=10, zones=("a", "b")) as made:
        for name in ("n0", "n2", "n4", "n6"):  # of zone a: 4 of 5
            made.die(name)
        await made.step(200)
        assert made.nodes.zone_state(":a") is ZoneState.PARTIAL and made.nodes.zone_state(":b") is ZoneState.NORMAL
        assert made.tainted == []
        assert (UNREACHABLE, SCHEDULE) in made.taints("n0")


async def test_nodes_of_a_zone_are_given_up_one_by_one() -> None:
    config = dataclasses.replace(CONFIG, eviction_rate_per_s=0.1)
    async with world(config, nodes=8) as made:
        for name in ("n0", "n1", "n2"):
            made.die(name)
        await made.step(120)
        times = [at for at, _ in made.tainted]
        assert len(times) == 3 and all(9.5 <= later - sooner <= 11 for sooner, later in itertools.pairwise(times))


async def test_a_dead_tenant_partition_delays_no_other_and_its_evictions_wait() -> None:
    async with world() as made:
        for partition in ("tp-1", "tp-2"):
            made.add_pod("web", "n0", partition)
        await made.step(1)
        made.tenants["tp-1"].go_down()
        made.die("n0")
        await made.step(70)
        assert made.ending("tp-2") == {"web"} and made.ending("tp-1") == set()
        await made.step(100)
        made.tenants["tp-1"].come_back()
        await made.step(20)
        assert made.ending("tp-1") == {"web"}
        assert condition(made, "tp-1", "web", "DisruptionTarget") == ("True", "DeletionByTaintManager")


async def test_a_tenant_partition_slower_than_a_reading_is_good_still_evicts() -> None:
    async with world() as made:
        made.add_pod("web", "n0")
        await made.step(1)
        slow = made.tenants["tp-1"]
        call = slow.call

        async def call_late(path: str, data: bytes) -> bytes:
            if path.endswith("/List"):
                await made.clock.sleep(CONFIG.confirmed_for_s + 1.0)
            return await call(path, data)

        slow.call = call_late  # type: ignore[method-assign]
        made.die("n0")
        await made.step(100)
        assert made.ending("tp-1") == {"web"}


async def test_pods_that_cannot_be_marked_hold_up_no_other_node_and_are_tried_with_pauses() -> None:
    async with world() as made:
        for name, node in (("refused-0", "n0"), ("refused-1", "n1"), ("other", "n2")):
            made.add_pod(name, node, tolerations=tolerating(None))
        refused, tenant = StatusError(grpc.StatusCode.INVALID_ARGUMENT, "Invalid", "no"), made.tenants["tp-1"]
        for name in ("refused-0", "refused-1"):
            tenant.poison(name, refused)
        for name in ("n0", "n1", "n2"):
            made.die(name)
        await made.step(120)
        assert condition(made, "tp-1", "refused-1", "Ready")[0] == "True"
        assert condition(made, "tp-1", "other", "Ready") == ("False", "NodeNotReady")
        assert len(tenant.called("BatchUpdateStatus")) < 60
        for name in ("refused-0", "refused-1"):
            tenant.poison(name, None)
        await made.step(15)
        assert condition(made, "tp-1", "refused-1", "Ready") == ("False", "NodeNotReady")


READY, MARKED = ("True", ""), ("False", "NodeNotReady")


def contradict(made: World, name: str) -> None:
    """Its kubelet says that it is ready."""
    found = made.tenants["tp-1"].get(PODS, name, "acme", "default")
    for each in found.status.conditions:
        if each.type == "Ready":
            each.status, each.reason = READY
    made.tenants["tp-1"].put(PODS, found)


@pytest.mark.parametrize("how", ["lost", "says so"])
async def test_a_pod_that_becomes_ready_on_a_node_that_is_not_is_marked(how: str) -> None:
    async with world() as made:
        if how == "lost":
            made.die("n0")
        else:
            made.kubelets["n0"].ready = False
        await made.step(70)
        made.add_pod("late", "n0", tolerations=tolerating(None))
        await made.step(8)
        assert condition(made, "tp-1", "late", "Ready") == MARKED
        contradict(made, "late")
        await made.step(8)
        assert condition(made, "tp-1", "late", "Ready") == MARKED


async def test_a_kubelet_that_contradicts_every_mark_gets_one_in_five_seconds() -> None:
    async with world() as made:
        made.add_pod("web", "n0", tolerations=tolerating(None))
        made.die("n0")
        await made.step(70)
        marks = 0
        for _ in range(60):
            if condition(made, "tp-1", "web", "Ready") == MARKED:
                marks += 1
                contradict(made, "web")
            await made.step(1)
        assert 10 <= marks <= 13, "in a minute"


async def test_a_node_whose_lease_is_renewed_before_its_status_keeps_ready_pods() -> None:
    async with world() as made:
        made.add_pod("web", "n0", tolerations=tolerating(None))
        made.die("n0")
        await made.step(70)
        assert condition(made, "tp-1", "web", "Ready") == MARKED
        lease = made.resource.get(LEASES, "n0", SYSTEM_TENANT, LEASE_NAMESPACE)
        lease.spec.renew_time.seconds = int(made.clock.time())
        made.resource.put(LEASES, lease)
        contradict(made, "web")
        await made.step(30)
        assert condition(made, "tp-1", "web", "Ready") == READY
        await made.step(35)
        assert condition(made, "tp-1", "web", "Ready") == MARKED, "it was its last"


async def test_no_pod_is_marked_for_what_a_manager_that_does_not_see_knows_of_its_node() -> None:
    async with world() as made:
        made.add_pod("web", "n0", tolerations=tolerating(None))
        made.die("n0")
        await made.step(70)
        made.etcd(down=True)
        await made.step(20)
        assert not made.nodes.sees
        contradict(made, "web")
        await made.step(60)
        assert condition(made, "tp-1", "web", "Ready") == READY
        made.etcd(down=False)
        await made.step(75)
        assert condition(made, "tp-1", "web", "Ready") == MARKED


async def test_evictions_that_wait_for_a_dead_tenant_partition_are_cancelled_when_the_node_returns() -> None:
    async with world() as made:
        made.add_pod("web", "n0")
        await made.step(1)
        made.tenants["tp-1"].go_down()
        made.die("n0")
        await made.step(100)
        made.come_back("n0")
        await made.step(5)
        made.tenants["tp-1"].come_back()
        await made.step(100)
        assert made.evicted == []


async def test_a_resource_partition_that_was_down_costs_no_node_its_pods() -> None:
    async with world() as made:
        for number in range(4):
            made.add_pod(f"p{number}", f"n{number}")
        for outage in (7, 30, 70, 300):
            made.resource.go_down()
            await made.step(outage)
            assert outage < 10 or not made.nodes.sees
            made.resource.come_back()
            await made.step(30)
            assert made.nodes.sees
        assert made.tainted == [] and made.evicted == []


async def test_a_store_that_was_down_behind_live_watches_costs_no_node_its_pods() -> None:
    async with world() as made:
        made.add_pod("p0", "n0")
        for outage in (7, 30, 70, 300):
            made.etcd(down=True)
            await made.step(outage)
            assert made.nodes.nodes.connected and made.nodes.leases.connected
            assert outage < 10 or not made.nodes.sees
            made.etcd(down=False)
            await made.step(30)
            assert made.nodes.sees
        assert made.tainted == [] and made.evicted == []


async def test_a_store_that_flaps_costs_no_node_its_pods() -> None:
    async with world() as made:
        made.add_pod("p0", "n0")
        for _ in range(20):
            made.etcd(down=True)
            await made.step(12)
            made.etcd(down=False)
            await made.step(1)
        assert made.tainted == [] and made.evicted == []


async def test_a_manager_that_was_stopped_takes_no_node_for_lost() -> None:
    async with world() as made:
        made.add_pod("p0", "n0")
        for pause in (5, 20, 55, 600):
            made.pass_without_manager(pause)
            await made.step(60)
        assert made.tainted == [] and made.evicted == []


async def test_a_manager_that_was_stopped_while_a_node_returned_evicts_nothing() -> None:
    async with world() as made:
        made.add_pod("web", "n0", tolerations=tolerating(120))
        made.die("n0")
        await made.step(80)
        assert (UNREACHABLE, EXECUTE) in made.taints("n0")
        made.pass_without_manager(200)
        # It was the first thing to happen: its lease is renewed, its status is not reported yet.
        made.kubelets["n0"].dead = False
        await made.step(60)
        assert made.evicted == [] and made.taints("n0") == set()


async def test_a_new_manager_gives_every_node_a_whole_grace_period() -> None:
    async with world() as made:
        made.add_pod("web", "n0")
        made.die("n0")
        await made.step(40)
        await made.stop_manager()
        await made.step(40)
        made.start_manager()
        await made.step(45)
        assert made.taints("n0") == set()
        await made.step(25)
        assert made.ending("tp-1") == {"web"}


async def test_under_a_new_manager_pods_bear_a_taint_for_the_rest_of_their_time() -> None:
    async with world() as made:
        made.add_pod("web", "n0", tolerations=tolerating(300))
        made.add_pod("soon", "n0", "tp-2", tolerations=tolerating(130))
        made.die("n0")
        await made.step(70)
        assert (UNREACHABLE, EXECUTE) in made.taints("n0")
        await made.step(80)
        await made.stop_manager()
        await made.step(30)
        made.start_manager()
        # 180 s after its death, so about 125 s of the taint: the rest of one is over before the nodes' grace is.
        await made.step(40)
        assert made.evicted == []
        await made.step(20)
        assert made.ending("tp-2") == {"soon"} and made.ending("tp-1") == set()
        await made.step(100)
        assert made.ending("tp-1") == set()
        await made.step(30)
        assert made.ending("tp-1") == {"web"}


async def test_nodes_carry_the_ttl_of_their_number() -> None:
    async with world(nodes=3) as made:
        assert {made.node(f"n{n}").metadata.annotations[TTL_ANNOTATION] for n in range(3)} == {"0"}
        for number in range(3, 103):
            made.add_node(f"n{number}")
        await made.step(3)
        assert made.node("n102").metadata.annotations[TTL_ANNOTATION] == "15"
