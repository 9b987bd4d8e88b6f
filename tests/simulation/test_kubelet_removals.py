"""Deleted pods of a whole host: their end is stored before their objects go. And pods whose partition returns."""

from __future__ import annotations

import pytest

from services.api.kinds import PODS, TENANT_PARTITIONS
from services.kubelet.hollow import HollowRuntime
from services.rpc import status
from tests.support.fake_partition import FakePartition
from tests.support.kubelet_world import KubeletWorld, partition_object

TERMINAL = ("Succeeded", "Failed")


def final_writes(partition: FakePartition, name: str) -> list[str]:
    """The terminal phases that were written for the pod before its removal was asked for."""
    found: list[str] = []
    for method, request in partition.calls:
        if method == "BatchDelete" and any(item.name == name for item in request.items):
            break
        if method == "BatchUpdateStatus":
            phases = (pod.status.phase for pod in request.objects if pod.metadata.name == name)
            found += [phase for phase in phases if phase in TERMINAL]
    return found


def label(world: KubeletWorld, name: str, value: str) -> None:
    pod = world.pod(name)
    pod.metadata.labels["n"] = value
    world.tps[0].put(PODS, pod)


def running(world: KubeletWorld) -> int:
    assert world.host is not None
    runtime = world.host.nodes[0].runtime
    assert isinstance(runtime, HollowRuntime)
    return len(runtime)


async def test_a_pod_that_is_changed_while_its_final_status_waits_is_not_removed_before_it() -> None:
    world = KubeletWorld(tenant=1, nodes=1)
    async with world.running():
        world.bind("p")
        await world.until(lambda: world.phase("p") == "Running")
        world.tps[0].fall_silent("BatchUpdateStatus", how="unavailable")
        await world.delete("p", grace_s=1)
        await world.clock.advance(3)
        label(world, "p", "1")
        await world.clock.advance(30)
        assert world.phase("p") == "Running", "nothing of its end is stored, so it must be there"
        world.tps[0].speak()
        await world.until(lambda: world.pod("p") is None, seconds=15)
        assert final_writes(world.tps[0], "p") == ["Succeeded"]


@pytest.mark.parametrize("seed", range(5))
async def test_pods_that_change_while_they_end_all_leave_a_final_status(seed: int) -> None:
    names = [f"p{number}" for number in range(20)]
    world = KubeletWorld(tenant=1, nodes=1, seed=seed, stop_delay="10ms-200ms")
    async with world.running():
        for name in names:
            world.bind(name)
        await world.until(lambda: all(world.phase(name) == "Running" for name in names))
        for name in names:
            await world.delete(name)
        for step in range(60):
            for name in names:
                if world.pod(name) is not None:
                    label(world, name, str(step))
            await world.clock.advance(0.01)
        await world.until(lambda: all(world.pod(name) is None for name in names))
        assert [name for name in names if not final_writes(world.tps[0], name)] == []


async def test_a_final_status_that_is_refused_keeps_no_pod() -> None:
    world = KubeletWorld(tenant=1, nodes=1)
    async with world.running():
        world.bind("p")
        await world.until(lambda: world.phase("p") == "Running")
        world.tps[0].poison("p", status.forbidden("no"))
        await world.delete("p", grace_s=1)
        await world.until(lambda: world.pod("p") is None, seconds=5)


async def test_a_partition_that_returns_while_its_pods_are_stopping_has_them_running_again() -> None:
    world = KubeletWorld(tenant=2, nodes=1, stop_delay="10s")
    async with world.running() as host:
        uids = [world.bind(name, tp=1, tenant="beta").metadata.uid for name in ("stays", "ends", "goes")]
        await world.until(lambda: running(world) == 3 and world.phase("goes", tp=1, tenant="beta") == "Running")
        await world.clock.advance(1)
        world.rps[0].remove(TENANT_PARTITIONS, "tp-2")
        await world.until(lambda: running(world) == 0, seconds=5)
        world.rps[0].put(TENANT_PARTITIONS, partition_object("tp-2"))
        await world.until(lambda: len(host.provenance) == 3 and "pods/tp-2" in host.ready(), seconds=2)
        await world.clock.advance(1)
        await world.delete("goes", tp=1, tenant="beta")
        world.tps[1].remove(PODS, "ends", "beta", "default")
        assert running(world) == 0, "they are still being stopped"
        await world.clock.advance(15)
        assert running(world) == 1
        assert world.phase("stays", tp=1, tenant="beta") == "Running"
        assert world.pod("goes", tp=1, tenant="beta") is None
        assert final_writes(world.tps[1], "goes") == ["Succeeded"]
        assert [uid for uid in uids if host.provenance.peek(uid) is not None] == uids[:1]
        # What runs is known to the kubelet: it answers for it.
        await world.delete("stays", tp=1, tenant="beta")
        await world.until(lambda: world.pod("stays", tp=1, tenant="beta") is None, seconds=30)
        assert running(world) == 0
