"""Hollow nodes that die, are cut off, or whose kubelet crashes: within one host, on connections that others share."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from services.api.kinds import PODS
from services.kubelet.host import Host
from services.kubelet.machine import Disturbance
from services.rpc.status import StatusError
from tests.support.kubelet_world import KubeletWorld

N0, N1 = "rp-1-n0000", "rp-1-n0001"


@contextlib.asynccontextmanager
async def running(world: KubeletWorld, **pods: str) -> AsyncIterator[Host]:
    """The host with pods (name → node) that run."""
    async with world.running() as host:
        for name, node_name in pods.items():
            world.bind(name, node_name=node_name)
        await world.until(lambda: all(world.phase(name) == "Running" for name in pods), seconds=2)
        # One period of every cohort: from here on leases are renewed and not made.
        await world.clock.advance(15)
        yield host


def age_of_lease(world: KubeletWorld, node_name: str) -> float:
    return world.clock.time() - world.lease(node_name).spec.renew_time.seconds


def restarts(world: KubeletWorld, name: str) -> int:
    return world.pod(name).status.container_statuses[0].restart_count  # type: ignore[no-any-return]


def boot_id(world: KubeletWorld, node_name: str) -> str:
    return world.node(node_name).status.node_info.boot_id  # type: ignore[no-any-return]


def runtime_pods(host: Host) -> int:
    return len(host.nodes[0].runtime)  # type: ignore[arg-type]


async def test_a_node_that_is_cut_off_is_silent_while_the_others_go_on() -> None:
    world = KubeletWorld(nodes=2)
    async with running(world, a=N0, b=N1) as host:
        assert host.disturber.disturb(Disturbance.CUT, nodes=[N0]) == [N0]
        world.bind("late", node_name=N0)
        world.bind("other", node_name=N1)
        await world.until(lambda: world.phase("other") == "Running", seconds=1)
        await world.clock.advance(60)
        assert age_of_lease(world, N0) > 55 > 12 > age_of_lease(world, N1)
        assert world.phase("late") == "Pending"
        assert runtime_pods(host) == 3, "the pod of the node that is cut off runs on"
        assert host.disturber.restore([N0]) == [N0]
        await world.until(lambda: world.phase("late") == "Running" and age_of_lease(world, N0) < 3, seconds=3)
        assert restarts(world, "a") == 0
        assert len(world.started()) == 4


async def test_a_node_that_returns_stops_what_was_evicted_and_tells_what_happened() -> None:
    world = KubeletWorld(nodes=1)
    async with world.running() as host:
        world.bind("evicted")
        world.bind("job", restart_policy="Never", annotations={"ursa.io/hollow-run-seconds": "30"})
        await world.until(lambda: world.phase("evicted") == world.phase("job") == "Running", seconds=2)
        host.disturber.disturb(Disturbance.CUT, nodes=[N0], for_s=60)
        world.tps[0].remove(PODS, "evicted", "acme", "default")
        await world.clock.advance(59)
        assert world.phase("job") == "Running", "it has ended, but nobody has heard"
        await world.until(lambda: world.phase("job") == "Succeeded", seconds=3)
        await world.until(lambda: runtime_pods(host) == 0, seconds=40)
        assert len(host.provenance) == 1


async def test_what_was_on_its_way_when_the_node_was_cut_off_is_sent_when_it_returns() -> None:
    world = KubeletWorld(nodes=1)
    async with running(world) as host:
        world.tps[0].fall_silent("BatchUpdateStatus", how="unavailable")
        world.bind("p")
        await world.clock.advance(3)
        host.disturber.disturb(Disturbance.CUT, nodes=[N0])
        world.tps[0].speak()
        await world.clock.advance(30)
        assert world.phase("p") == "Pending"
        host.disturber.restore()
        await world.until(lambda: world.phase("p") == "Running", seconds=10)


async def test_a_confirmation_on_its_way_when_the_node_was_cut_off_is_sent_when_it_returns() -> None:
    world = KubeletWorld(nodes=2)
    async with running(world, p=N0, q=N1) as host:
        world.tps[0].fall_silent("BatchDelete", how="unavailable")
        for name in ("p", "q"):
            await world.delete(name, grace_s=1)
        await world.clock.advance(5)
        host.disturber.disturb(Disturbance.CUT, nodes=[N0])
        world.tps[0].speak()
        await world.until(lambda: world.pod("q") is None, seconds=10)
        await world.clock.advance(30)
        assert world.pod("p") is not None, "a node that is cut off confirmed a deletion"
        host.disturber.restore()
        await world.until(lambda: world.pod("p") is None, seconds=10)


async def test_a_confirmation_on_its_way_when_the_machine_died_is_not_sent_for_it() -> None:
    world = KubeletWorld(nodes=1)
    async with running(world, p=N0) as host:
        world.tps[0].fall_silent("BatchDelete", how="unavailable")
        await world.delete("p", grace_s=1)
        await world.clock.advance(5)
        host.disturber.disturb(Disturbance.DEATH, nodes=[N0])
        world.tps[0].speak()
        await world.clock.advance(30)
        assert world.pod("p") is not None, "a dead machine confirmed a deletion"
        host.disturber.restore()
        await world.until(lambda: world.pod("p") is None, seconds=10)


async def test_a_deletion_while_a_node_is_cut_off_is_confirmed_when_it_returns() -> None:
    world = KubeletWorld(nodes=1)
    async with running(world, p=N0) as host:
        host.disturber.disturb(Disturbance.CUT, nodes=[N0], for_s=20)
        await world.delete("p", grace_s=1)
        await world.clock.advance(19)
        assert world.pod("p") is not None
        await world.until(lambda: world.pod("p") is None, seconds=5)


async def test_a_machine_that_died_comes_back_empty_with_another_boot_id() -> None:
    world = KubeletWorld(nodes=2)
    async with running(world, stays=N0, other=N1) as host:
        world.bind("once", node_name=N0, restart_policy="Never")
        await world.until(lambda: world.phase("once") == "Running", seconds=2)
        before = boot_id(world, N0)
        host.disturber.disturb(Disturbance.DEATH, nodes=[N0], for_s=60)
        assert runtime_pods(host) == 1, "only that of the other node"
        await world.clock.advance(59)
        assert age_of_lease(world, N0) > 55
        assert (world.phase("stays"), boot_id(world, N0)) == ("Running", before), "nobody told"
        await world.until(lambda: world.phase("once") == "Failed" and restarts(world, "stays") == 1, seconds=15)
        await world.until(lambda: boot_id(world, N0) != before, seconds=1)
        terminated = world.pod("once").status.container_statuses[0].state.terminated
        assert (terminated.exit_code, restarts(world, "other")) == (137, 0)
        assert boot_id(world, N1) == world.node(N1).status.node_info.machine_id
        await world.clock.advance(30)
        assert runtime_pods(host) == 2


async def test_pods_of_a_dead_machine_that_were_evicted_are_forgotten() -> None:
    world = KubeletWorld(nodes=1)
    async with running(world, p=N0) as host:
        host.disturber.disturb(Disturbance.DEATH, nodes=[N0])
        world.tps[0].remove(PODS, "p", "acme", "default")
        await world.clock.advance(5)
        host.disturber.restore()
        await world.clock.advance(20)
        assert (len(host.provenance), runtime_pods(host)) == (0, 0)
        again = world.bind("p")
        await world.until(lambda: world.phase("p") == "Running", seconds=1)
        assert world.started()[-1] == again.metadata.uid


async def test_a_kubelet_that_crashes_finds_its_containers_again() -> None:
    world = KubeletWorld(nodes=1)
    async with running(world, p=N0) as host:
        host.disturber.disturb(Disturbance.CRASH, nodes=[N0], for_s=5)
        assert not host.nodes[0].kubelet.workers
        world.bind("late")
        await world.clock.advance(4)
        assert world.phase("late") == "Pending"
        await world.until(lambda: world.phase("late") == "Running", seconds=3)
        assert (restarts(world, "p"), len(world.started()), runtime_pods(host)) == (0, 2, 2)
        await world.delete("p")
        await world.until(lambda: world.pod("p") is None, seconds=2)


async def test_what_ended_or_was_deleted_while_its_kubelet_was_down_is_found_out() -> None:
    world = KubeletWorld(nodes=1)
    async with running(world, evicted=N0) as host:
        world.bind("job", restart_policy="Never", annotations={"ursa.io/hollow-run-seconds": "5"})
        await world.until(lambda: world.phase("job") == "Running", seconds=1)
        host.disturber.disturb(Disturbance.CRASH, nodes=[N0], for_s=10)
        world.tps[0].remove(PODS, "evicted", "acme", "default")
        await world.until(lambda: world.phase("job") == "Succeeded", seconds=15)
        await world.until(lambda: runtime_pods(host) == 0, seconds=40)
        assert len(world.started()) == 2


async def test_a_start_that_nobody_was_told_of_is_not_made_twice() -> None:
    world = KubeletWorld(nodes=1)
    async with running(world) as host:
        world.tps[0].fall_silent("BatchUpdateStatus", how="unavailable")
        made = world.bind("p", annotations={"ursa.io/hollow-run-seconds": "20"}, restart_policy="Never")
        await world.until(lambda: runtime_pods(host) == 1, seconds=1)
        await world.clock.advance(1)
        host.disturber.disturb(Disturbance.CRASH, share=1.0)
        world.tps[0].speak()
        await world.until(lambda: world.phase("p") == "Running", seconds=8)
        began = world.clock.time()
        await world.until(lambda: world.phase("p") == "Succeeded", seconds=30)
        assert world.clock.time() - began < 20, "its 20 seconds began before the crash"
        assert set(world.started()) == {made.metadata.uid}


async def test_shares_are_chosen_by_seed_and_end_by_themselves() -> None:
    chosen = []
    for _ in range(2):
        world = KubeletWorld(nodes=40)
        async with world.running() as host:
            first = host.disturber.disturb(Disturbance.CUT, share=0.1, for_s=30, seed=7)
            second = host.disturber.disturb(Disturbance.DEATH, share=0.5, for_s=30, seed=7)
            assert (len(first), len(second), set(first) & set(second)) == (4, 20, set())
            await world.clock.advance(31)
            assert host.disturber.restore() == []
            chosen.append((first, second))
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"nodes": ["nobody"]}, "nodes: this host has no hollow node 'nobody'"),
        ({"nodes": [N0], "share": 0.5}, "share: may not be given beside nodes"),
        ({}, "share: must be more than 0"),
        ({"share": 1.5}, "share: must be more than 0"),
        ({"share": 0.5, "for_s": -1.0}, "for_seconds: must not be negative"),
        ({"share": 0.5, "resource_partition": "rp-9"}, "resource_partition: this host has no hollow nodes in 'rp-9'"),
        ({"nodes": [N1, N0]}, "node 'rp-1-n0000' is disturbed already (cut)"),
    ],
)
async def test_a_wrong_request_names_its_field_and_changes_nothing(asked: dict[str, object], says: str) -> None:
    world = KubeletWorld(nodes=2)
    async with world.running() as host:
        host.disturber.disturb(Disturbance.CUT, nodes=[N0])
        with pytest.raises(StatusError) as refusal:
            host.disturber.disturb(Disturbance.DEATH, **asked)  # type: ignore[arg-type]
        assert refusal.value.message.startswith(says)
        assert host.disturber.restore() == [N0]


async def test_a_pool_may_say_when_its_nodes_die_and_how_often_kubelets_crash() -> None:
    world = KubeletWorld(nodes=10, death="20%,after=60s,for=30s", crash_rate_per_hour=36.0)
    async with world.running() as host:
        await world.clock.advance(59)
        assert not any(machine.dead for machine in host.nodes)
        await world.clock.advance(2)
        assert sum(machine.dead for machine in host.nodes) == 2
        kubelets = {id(machine.kubelet): machine.kubelet for machine in host.nodes}
        await world.clock.advance(300)
        assert not any(machine.dead for machine in host.nodes)
        # 36 an hour is one in 100 s and node: of ten nodes some 30 in five minutes, hardly any node none.
        assert sum(id(machine.kubelet) not in kubelets for machine in host.nodes) >= 5


async def test_starts_that_fail_are_made_again_with_a_pause() -> None:
    world = KubeletWorld(nodes=1, pod_failure_rate=0.5)
    async with world.running():
        for number in range(40):
            world.bind(f"p{number}")
        await world.clock.advance(1)
        count = sum(world.phase(f"p{number}") == "Running" for number in range(40))
        assert 20 <= count < 40, "most run at the first or second start"
        await world.until(lambda: all(world.phase(f"p{number}") == "Running" for number in range(40)), seconds=900)
        assert any(restarts(world, f"p{number}") > 1 for number in range(40))


async def test_stopping_takes_its_time_but_no_longer_than_the_grace() -> None:
    world = KubeletWorld(nodes=1, stop_delay="5s")
    async with running(world, patient=N0, hasty=N0):
        await world.delete("patient", grace_s=30)
        await world.delete("hasty", grace_s=2)
        await world.clock.advance(1.5)
        assert world.pod("hasty") is not None
        await world.until(lambda: world.pod("hasty") is None, seconds=1)
        assert world.pod("patient") is not None
        await world.until(lambda: world.pod("patient") is None, seconds=3)
