"""Tenant partitions that appear, vanish on purpose, or cannot be reached, as a kubelet host sees them."""

from __future__ import annotations

import pytest

from services.api.kinds import PODS, TENANT_PARTITIONS
from services.kubelet.hollow import HollowRuntime
from tests.support.kubelet_world import KubeletWorld, partition_object

RUN_SECONDS = "ursa.io/hollow-run-seconds"


def running(world: KubeletWorld) -> int:
    """Pods that the runtime runs."""
    assert world.host is not None
    runtime = world.host.nodes[0].runtime
    assert isinstance(runtime, HollowRuntime)
    return len(runtime)


async def test_the_pods_of_a_third_partition_run_as_soon_as_it_is_known() -> None:
    world = KubeletWorld(tenant=3, nodes=1)
    world.rps[0].remove(TENANT_PARTITIONS, "tp-3")
    async with world.running() as host:
        for number, tenant in enumerate(("acme", "beta", "gamma")):
            world.bind("p", tp=number, tenant=tenant)
        await world.until(lambda: world.phase("p", tp=1, tenant="beta") == "Running", seconds=2)
        await world.clock.advance(60)
        assert world.phase("p", tp=2, tenant="gamma") == "Pending"
        world.rps[0].put(TENANT_PARTITIONS, partition_object("tp-3"))
        await world.until(lambda: world.phase("p", tp=2, tenant="gamma") == "Running", seconds=5)
        assert host.ready()["pods/tp-3"]
        assert len(world.started()) == 3


async def test_a_partition_deleted_on_purpose_ends_its_pods_and_no_others() -> None:
    world = KubeletWorld(tenant=2, nodes=1)
    async with world.running() as host:
        world.bind("p", tp=0)
        doomed = world.bind("p", tp=1, tenant="beta")
        await world.until(lambda: running(world) == 2, seconds=5)
        await world.until(lambda: world.phase("p", tp=1, tenant="beta") == "Running")
        world.rps[0].remove(TENANT_PARTITIONS, "tp-2")
        await world.until(lambda: running(world) == 1, seconds=5)
        await world.clock.advance(60)
        assert host.provenance.peek(doomed.metadata.uid) is None
        assert world.phase("p") == "Running"
        assert running(world) == 1


async def test_an_unreachable_partition_changes_nothing_and_is_told_the_last_status() -> None:
    world = KubeletWorld(tenant=2, nodes=1)
    async with world.running():
        world.bind("stays")
        world.bind("ends", annotations={RUN_SECONDS: "100"}, restart_policy="Never")
        await world.until(lambda: {world.phase("stays"), world.phase("ends")} == {"Running"}, seconds=5)
        started = world.started()
        world.tps[0].go_down()
        await world.clock.advance(3600)
        assert running(world) == 1, "what has not ended by itself runs on"
        assert world.started() == started
        written = len(world.tps[0].called("BatchUpdateStatus"))
        world.tps[0].come_back()
        await world.until(lambda: world.phase("ends") == "Succeeded", seconds=15)
        assert world.phase("stays") == "Running"
        assert len(world.tps[0].called("BatchUpdateStatus")) == written + 1, "the last status, and nothing else"


async def test_a_pod_that_was_deleted_in_an_unreachable_partition_ends_when_it_is_back() -> None:
    world = KubeletWorld(tenant=1, nodes=1)
    async with world.running():
        world.bind("p")
        await world.until(lambda: world.phase("p") == "Running", seconds=5)
        world.tps[0].go_down()
        world.tps[0].remove(PODS, "p", "acme", "default")
        await world.clock.advance(3600)
        assert running(world) == 1
        world.tps[0].come_back()
        await world.until(lambda: running(world) == 0, seconds=15)


async def test_a_resource_partition_that_is_lost_removes_no_tenant_partition() -> None:
    world = KubeletWorld(tenant=2, nodes=1)
    async with world.running() as host:
        world.bind("p", tp=1, tenant="beta")
        await world.until(lambda: world.phase("p", tp=1, tenant="beta") == "Running", seconds=5)
        world.rps[0].go_down()
        await world.clock.advance(3600)
        assert running(world) == 1
        assert set(host.ready()) >= {"pods/tp-1", "pods/tp-2"}


async def test_system_pods_of_one_name_in_two_partitions_are_two_pods(caplog: pytest.LogCaptureFixture) -> None:
    """Every tenant partition has a tenant ``system`` of its own."""
    world = KubeletWorld(tenant=2, nodes=1)
    async with world.running() as host:
        uids = [world.bind("agent", tp=tp, tenant="system").metadata.uid for tp in (0, 1)]
        await world.until(lambda: running(world) == 2, seconds=5)
        for uid in uids:
            placed = host.placed("system", "default", "agent", uid)
            assert placed is not None and placed.pod.metadata.uid == uid
        assert host.placed("system", "default", "agent", "another") is None
        assert host.placed("acme", "default", "agent") is None
        assert "tenant seen in two partitions" not in caplog.text
