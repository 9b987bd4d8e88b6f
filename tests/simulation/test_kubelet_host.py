"""Whole kubelet hosts on a fake clock: nodes, leases and pods, with partitions that fail and hosts that restart."""

from __future__ import annotations

import pytest

from services.api.kinds import EVENTS, LEASES, NODES, PODS, TENANT_PARTITIONS
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.kubelet.health import HEALTHY, Health, health
from services.kubelet.nodestatus import HOST_LABEL
from services.rpc import status
from tests.support.client_world import node
from tests.support.kubelet_world import KubeletWorld, partition_object


async def test_nodes_are_registered_with_what_kubernetes_expects() -> None:
    world = KubeletWorld(nodes=2, labels={"disk": "ssd"}, capacity={"cpu": "8", "memory": "16Gi", "pods": "20"})
    async with world.running():
        found = world.node("rp-1-n0001")
        assert dict(found.metadata.labels) == {
            "disk": "ssd",
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": "rp-1-n0001",
            "kubernetes.io/os": "linux",
            "topology.kubernetes.io/zone": "z2",
            "ursa.io/kubelet-host": "host-1",
            "ursa.io/resource-partition": "rp-1",
        }
        assert dict(found.status.allocatable) == {"cpu": "8", "memory": "16Gi", "pods": "20"}
        assert {c.type: c.status for c in found.status.conditions} == {
            "Ready": "True",
            "MemoryPressure": "False",
            "DiskPressure": "False",
            "PIDPressure": "False",
        }
        assert found.status.node_info.container_runtime_version.startswith("hollow://")
        assert len(world.rps[0].called("BatchCreate")[0].objects) == 2, "many nodes, one message"


async def test_leases_are_owned_and_renewed_every_ten_seconds() -> None:
    world = KubeletWorld(nodes=3)
    async with world.running():
        await world.until(lambda: world.lease("rp-1-n0000") is not None, seconds=1)
        lease = world.lease("rp-1-n0000")
        assert lease.spec.holder_identity == "rp-1-n0000"
        assert lease.spec.lease_duration_seconds == 40
        [owner] = lease.metadata.owner_references
        assert (owner.kind, owner.uid) == ("Node", world.node("rp-1-n0000").metadata.uid)
        renewals = len(world.rps[0].called("Renew"))
        await world.clock.advance(100)
        assert 8 <= len(world.rps[0].called("Renew")) - renewals <= 11
        age = world.clock.time() - world.lease("rp-1-n0000").spec.renew_time.seconds
        assert age < 12


async def test_status_is_reported_every_five_minutes_and_when_it_was_overwritten() -> None:
    world = KubeletWorld(nodes=1)
    async with world.running():
        # The first time anywhere in the period, so that nodes registered together are spread from then on.
        await world.until(lambda: len(world.rps[0].called("BatchUpdateStatus")) == 1, seconds=320)
        await world.clock.advance(285)
        assert len(world.rps[0].called("BatchUpdateStatus")) == 1
        await world.clock.advance(35)
        assert len(world.rps[0].called("BatchUpdateStatus")) == 2
        lost = world.node("rp-1-n0000")
        for condition in lost.status.conditions:
            condition.status = "Unknown"
        world.rps[0].put(NODES, lost)
        await world.clock.advance(1)
        assert {c.type: c.status for c in world.node("rp-1-n0000").status.conditions}["Ready"] == "True"


async def test_nodes_registered_together_are_reported_in_an_even_flow() -> None:
    world = KubeletWorld(nodes=100)
    reported: list[int] = []
    async with world.running():
        for _ in range(4):
            await world.clock.advance(80)
            reported.append(sum(len(call.objects) for call in world.rps[0].called("BatchUpdateStatus")))
    flow = [after - before for before, after in zip([0, *reported], reported, strict=False)]
    assert reported[-1] >= 100, "each once in five minutes"
    assert all(15 <= count <= 40 for count in flow), flow


async def test_an_existing_node_is_adopted_with_what_others_added() -> None:
    world = KubeletWorld(nodes=1)
    there = node("rp-1-n0000", team="a")
    there.spec.unschedulable = True
    uid = world.rps[0].put(NODES, there).metadata.uid
    async with world.running():
        await world.clock.advance(1)
        found = world.node("rp-1-n0000")
        assert (found.metadata.uid, found.spec.unschedulable, found.metadata.labels["team"]) == (uid, True, "a")
        assert found.metadata.labels["kubernetes.io/hostname"] == "rp-1-n0000"
        assert {c.type: c.status for c in found.status.conditions}["Ready"] == "True"


async def test_a_node_that_another_host_has_taken_is_left_alone_while_it_is_ready() -> None:
    """Two hosts were given one node: they must not take it from each other for ever."""
    world = KubeletWorld(nodes=2)

    def of_another(ready: str) -> None:
        taken = world.node("rp-1-n0000")
        taken.metadata.labels[HOST_LABEL] = "host-2"
        for condition in taken.status.conditions:
            if condition.type == "Ready":
                condition.status = ready
        world.rps[0].put(NODES, taken)

    async with world.running():
        await world.clock.advance(15)
        of_another("True")
        before = len(world.rps[0].calls)
        await world.clock.advance(60)
        assert world.node("rp-1-n0000").metadata.labels[HOST_LABEL] == "host-2"
        about_it = [call for call, _ in world.rps[0].calls[before:] if call in ("Get", "Update", "BatchCreate")]
        assert about_it.count("Get") <= 7 and "Update" not in about_it
        assert world.node("rp-1-n0001").metadata.labels[HOST_LABEL] == "host-1"
        of_another("Unknown")
        await world.until(lambda: world.node("rp-1-n0000").metadata.labels[HOST_LABEL] == "host-1", seconds=25)


async def test_a_node_and_a_lease_that_were_deleted_come_back() -> None:
    world = KubeletWorld(nodes=1)
    async with world.running():
        await world.until(lambda: world.lease("rp-1-n0000") is not None)
        world.rps[0].remove(LEASES, "rp-1-n0000", "system", "kube-node-lease")
        await world.until(lambda: world.lease("rp-1-n0000") is not None, seconds=15)
        world.rps[0].remove(NODES, "rp-1-n0000")
        await world.until(lambda: world.node("rp-1-n0000") is not None, seconds=15)
        # Its lease is never gone, and is owned by its present node also where nothing collects what the old one owned.
        await world.until(
            lambda: world.lease("rp-1-n0000").metadata.owner_references[0].uid == world.node("rp-1-n0000").metadata.uid,
            seconds=15,
        )


async def test_pods_of_every_partition_run_and_are_answered_where_they_came_from() -> None:
    world = KubeletWorld(tenant=2, resource=2, nodes=2)
    async with world.running():
        world.bind("a", tp=0, tenant="acme", node_name="rp-1-n0000")
        world.bind("a", tp=1, tenant="beta", node_name="rp-2-n0001")
        await world.until(lambda: world.phase("a") == world.phase("a", tp=1, tenant="beta") == "Running", seconds=1)
        assert len(set(world.started())) == len(world.started()) == 2
        assert world.tps[0].called("BatchCreate") == [], "events wait, statuses do not"
        await world.clock.advance(2)
        events = list(world.tps[0].objects[EVENTS.resource].values())
        assert [(e.reason, e.involved_object.name, e.metadata.tenant) for e in events] == [("Started", "a", "acme")]


async def test_a_node_of_the_same_name_in_another_partition_is_another_node() -> None:
    world = KubeletWorld(tenant=1, resource=1, nodes=1)
    async with world.running():
        made = world.bind("elsewhere")
        world.tps[0].remove(PODS, "elsewhere", "acme", "default")
        made.spec.resource_partition, made.metadata.uid = "rp-9", ""
        world.tps[0].put(PODS, made)
        await world.clock.advance(5)
        assert world.phase("elsewhere") == "Pending"


async def test_a_start_takes_its_delay() -> None:
    world = KubeletWorld(start_delay_ms=(2000.0, 3000.0))
    async with world.running():
        world.bind("slow")
        await world.clock.advance(1.9)
        assert world.phase("slow") == "Pending"
        assert world.pod("slow").status.container_statuses[0].state.waiting.reason == "ContainerCreating"
        await world.until(lambda: world.phase("slow") == "Running", seconds=1.3)


async def test_a_run_that_ends_succeeds() -> None:
    world = KubeletWorld()
    async with world.running():
        world.bind("job", restart_policy="Never", annotations={"ursa.io/hollow-run-seconds": "5"})
        await world.until(lambda: world.phase("job") == "Running", seconds=1)
        await world.until(lambda: world.phase("job") == "Succeeded", seconds=6)


async def test_a_deleted_pod_ends_on_its_node() -> None:
    world = KubeletWorld()
    async with world.running() as host:
        world.bind("p")
        await world.until(lambda: world.phase("p") == "Running")
        await world.delete("p")
        await world.until(lambda: world.pod("p") is None, seconds=2)
        assert len(host.provenance) == 0
        assert all(not entry.kubelet.workers for entry in host.nodes)
        [confirmation] = [item for request in world.tps[0].called("BatchDelete") for item in request.items]
        assert confirmation.preconditions.uid == world.started()[0]


async def test_a_pod_of_the_same_name_is_another_pod() -> None:
    world = KubeletWorld()
    async with world.running():
        first = world.bind("p")
        await world.until(lambda: world.phase("p") == "Running")
        world.tps[0].remove(PODS, "p", "acme", "default")
        second = world.bind("p")
        await world.until(lambda: world.phase("p") == "Running")
        assert world.started() == [first.metadata.uid, second.metadata.uid]
        assert world.pod("p").metadata.uid == second.metadata.uid


async def test_a_burst_of_pods_is_a_few_messages() -> None:
    world = KubeletWorld(nodes=10)
    async with world.running():
        for number in range(400):
            world.bind(f"p{number}", node_name=f"rp-1-n{number % 10:04d}")
        await world.until(lambda: all(world.phase(f"p{n}") == "Running" for n in range(400)), seconds=2)
        assert len(world.tps[0].called("BatchUpdateStatus")) < 10
        assert world.tps[0].called("UpdateStatus") == []


async def test_one_partition_down_delays_no_other() -> None:
    world = KubeletWorld(tenant=2, nodes=1)
    async with world.running():
        world.bind("before", tp=0)
        await world.until(lambda: world.phase("before") == "Running")
        world.tps[0].go_down()
        await world.clock.advance(5)
        world.bind("p", tp=1, tenant="beta")
        await world.until(lambda: world.phase("p", tp=1, tenant="beta") == "Running", seconds=1)
        world.bind("late", tp=0)
        await world.clock.advance(60)
        assert world.phase("late") == "Pending"
        world.tps[0].come_back()
        await world.until(lambda: world.phase("late") == "Running", seconds=15)
        assert world.phase("before") == "Running"
        assert len(world.started()) == 3


async def test_a_partition_that_is_down_at_the_start_delays_no_other() -> None:
    world = KubeletWorld(tenant=2, nodes=1)
    world.tps[0].go_down()
    async with world.running(ready=False) as host:
        world.bind("p", tp=1, tenant="beta")
        await world.until(lambda: world.phase("p", tp=1, tenant="beta") == "Running", seconds=5)
        assert host.ready() == {
            "nodes/rp-1": True,
            "tenant-partitions": True,
            "pods/tp-1": False,
            "pods/tp-2": True,
        }
        world.tps[0].come_back()
        await world.until(lambda: all(host.ready().values()), seconds=15)


async def test_a_status_that_fails_is_written_when_the_partition_answers() -> None:
    world = KubeletWorld()
    async with world.running():
        for _ in range(3):
            world.tps[0].refuse_next("BatchUpdateStatus", status.unavailable("etcd is down"))
        world.bind("p")
        await world.until(lambda: world.phase("p") == "Running", seconds=10)
        assert len(world.tps[0].called("BatchUpdateStatus")) == 4


async def test_one_pod_whose_status_always_fails_holds_nobody_up() -> None:
    world = KubeletWorld()
    world.tps[0].poison("bad", status.internal("a bug"))
    async with world.running():
        world.bind("bad")
        for number in range(20):
            world.bind(f"p{number}")
            await world.until(lambda number=number: world.phase(f"p{number}") == "Running", seconds=0.5)
        assert world.phase("bad") == "Pending"
        world.tps[0].poison("bad", None)
        await world.until(lambda: world.phase("bad") == "Running", seconds=10)


async def test_a_lost_resource_partition_stops_no_pod_and_heartbeats_resume() -> None:
    world = KubeletWorld(nodes=1)
    async with world.running():
        await world.until(lambda: world.lease("rp-1-n0000") is not None)
        world.bind("p")
        await world.until(lambda: world.phase("p") == "Running", seconds=1)
        world.rps[0].go_down()
        await world.clock.advance(30)
        world.rps[0].come_back()
        await world.clock.advance(20)
        assert world.clock.time() - world.lease("rp-1-n0000").spec.renew_time.seconds < 12


async def test_a_restarted_host_adopts_and_confirms() -> None:
    world = KubeletWorld()
    async with world.running():
        for name in ("stays", "deleted", "vanishes", "ends"):
            world.bind(name, annotations={"ursa.io/hollow-run-seconds": "100"} if name == "ends" else {})
        await world.until(lambda: all(world.phase(n) == "Running" for n in ("stays", "deleted", "vanishes", "ends")))
        await world.clock.advance(1)
    started = world.started()
    before = world.pod("stays")
    await world.delete("deleted")
    world.tps[0].remove(PODS, "vanishes", "acme", "default")
    await world.clock.advance(50)
    async with world.running():
        await world.until(lambda: world.pod("deleted") is None, seconds=3)
        await world.clock.advance(5)
        assert world.started() == started, "adopted pods are not started again"
        assert world.pod("stays") == before, "nor written"
        world.bind("new")
        await world.until(lambda: world.phase("new") == "Running", seconds=1)
        await world.until(lambda: world.pod("ends").status.container_statuses[0].restart_count == 1, seconds=60)


async def test_partitions_come_and_go_while_it_runs() -> None:
    world = KubeletWorld(tenant=2, nodes=1)
    world.rps[0].remove(TENANT_PARTITIONS, "tp-2")
    async with world.running() as host:
        world.bind("p", tp=1, tenant="beta")
        await world.clock.advance(5)
        assert world.phase("p", tp=1, tenant="beta") == "Pending"
        world.rps[0].put(TENANT_PARTITIONS, partition_object("tp-2"))
        await world.until(lambda: world.phase("p", tp=1, tenant="beta") == "Running", seconds=5)
        world.rps[0].remove(TENANT_PARTITIONS, "tp-2")
        await world.until(lambda: len(host.provenance) == 0, seconds=2)
        assert world.tps[1].watches == 0


async def test_every_pod_runs_once_whatever_fails() -> None:
    """Random losses of streams and partitions under a stream of binds and deletes: all end as they should."""
    for seed in range(1, 6):
        rand = Rand(seed)
        world = KubeletWorld(tenant=2, nodes=3, seed=seed, start_delay_ms=(0.0, 500.0))
        alive: dict[tuple[int, str], str] = {}
        doomed: list[tuple[int, str]] = []
        async with world.running():
            for number in range(120):
                tp = rand.integer(0, 1)
                match rand.integer(0, 9):
                    case 0:
                        world.tps[tp].drop_streams()
                    case 1:
                        world.tps[tp].go_down()
                    case 2 | 3:
                        world.tps[tp].come_back()
                    case 4 if alive:
                        key = rand.choice(sorted(alive))
                        if not world.tps[key[0]].down:
                            del alive[key]
                            doomed.append(key)
                            await world.delete(key[1], tp=key[0])
                    case _:
                        name = f"p{number}"
                        alive[tp, name] = world.bind(name, tp=tp, node_name=f"rp-1-n000{number % 3}").metadata.uid
                await world.clock.advance(rand.uniform(0.0, 0.7))
            for tp_partition in world.tps:
                tp_partition.come_back()
            await world.until(
                lambda alive=alive, world=world: all(world.phase(n, tp=tp) == "Running" for tp, n in alive), seconds=60
            )
            await world.until(
                lambda doomed=doomed, world=world: all(world.pod(n, tp=tp) is None for tp, n in doomed), seconds=60
            )
            started = world.started()
            assert len(started) == len(set(started)), f"seed {seed}: a pod started twice"
            assert set(alive.values()) <= set(started), f"seed {seed}"


@pytest.mark.parametrize(("text", "code"), [("3", 3), ("256", 0), ("99999999999", 0), ("9" * 5000, 0), ("²", 0)])
async def test_an_exit_code_that_no_process_can_have_counts_as_none(text: str, code: int) -> None:
    """What a tenant writes into an annotation ends no host."""
    world = KubeletWorld(nodes=1)
    async with world.running():
        annotations = {"ursa.io/hollow-run-seconds": "1", "ursa.io/hollow-exit-code": text}
        world.bind("job", annotations=annotations, restart_policy="Never")
        await world.until(lambda: world.phase("job") in ("Succeeded", "Failed"), seconds=5)
        assert world.pod("job").status.container_statuses[0].state.terminated.exit_code == code


async def test_a_mark_of_a_lost_node_stays_on_its_pods_until_its_lease_is_renewed() -> None:
    """Its resource partition is out of reach, its tenant partition is not; also for a host that is started anew."""
    world, resource = KubeletWorld(nodes=2), ("Renew", "BatchCreate")

    def readiness(name: str) -> tuple[str, str]:
        return next((c.status, c.reason) for c in world.pod(name).status.conditions if c.type == "Ready")

    def mark(name: str) -> None:
        pod = world.pod(name)
        for condition in pod.status.conditions:
            if condition.type == "Ready":
                condition.status, condition.reason = "False", "NodeNotReady"
        world.tps[0].put(PODS, pod)

    async with world.running():
        for name, node_name in (("p", "rp-1-n0000"), ("q", "rp-1-n0001")):
            world.bind(name, node_name=node_name)
        await world.until(lambda: world.phase("p") == world.phase("q") == "Running", seconds=2)
        await world.clock.advance(15)
        mark("p")
        await world.until(lambda: readiness("p") == ("True", ""), seconds=1)
        world.rps[0].fall_silent(*resource, how="unavailable")
        await world.clock.advance(55)
        assert readiness("p") == readiness("q") == ("True", ""), "no kubelet marks its pods"
        mark("p")
        await world.clock.advance(5)
        assert readiness("p") == ("False", "NodeNotReady")
        world.rps[0].speak()
        await world.until(lambda: readiness("p") == ("True", ""), seconds=12)
        world.rps[0].fall_silent(*resource, how="unavailable")
        await world.clock.advance(55)
        mark("q")
    async with world.running():
        await world.clock.advance(60)
        assert readiness("q") == ("False", "NodeNotReady")
        world.rps[0].speak()
        await world.until(lambda: readiness("q") == ("True", ""), seconds=12)
    assert len(world.started()) == 2


async def test_what_the_machine_lacks_is_reported_at_once_and_so_is_its_end() -> None:
    world = KubeletWorld(nodes=2)
    found = [HEALTHY]

    async def measure(_: float) -> Health:
        return found[0]

    def is_told(expected: Health) -> bool:
        conditions = world.node("rp-1-n0001").status.conditions
        return {tuple(one) for one in expected} == {(c.type, c.status, c.reason, c.message) for c in conditions}

    async with world.running() as host, Supervisor() as tasks:
        keeper = host._keepers["rp-1"]
        tasks.start(keeper.watch_health([*keeper._entries.values()], measure), name="health")
        for found[0] in (health(disk=True, memory=True), health(pids=True, unready="no disk"), HEALTHY):
            await world.until(lambda: is_told(found[0]), seconds=15)


async def test_a_pod_that_selects_other_nodes_fails_whoever_bound_it() -> None:
    world = KubeletWorld(nodes=1, labels={"disk": "ssd"})
    async with world.running():
        world.bind("right", node_selector={"disk": "ssd"})
        world.bind("wrong", node_selector={"disk": "hdd"})
        await world.until(lambda: world.phase("right") == "Running" and world.phase("wrong") == "Failed")
        status_ = world.pod("wrong").status
        assert (status_.reason, "node affinity" in status_.message) == ("NodeAffinity", True)
        # A label that somebody gives the node counts, and one that is taken away ends nothing.
        relabelled = world.node("rp-1-n0000")
        relabelled.metadata.labels["rack"] = "r1"
        world.rps[0].put(NODES, relabelled)
        world.bind("racked", node_selector={"rack": "r1"})
        await world.until(lambda: world.phase("racked") == "Running")
    del relabelled.metadata.labels["rack"]
    world.rps[0].put(NODES, relabelled)
    async with world.running():
        await world.clock.advance(20)
        assert world.phase("racked") == "Running"
