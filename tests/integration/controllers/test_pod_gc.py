"""Pod garbage collection on real partitions: what is proven garbage goes, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import Counter, Gauge

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.controllers.podgc import metrics
from tests.integration.apiserver.world import eventually, pod
from tests.integration.controllers.conftest import Cluster
from tests.integration.controllers.test_replica_sets import manager

QUICK: dict[str, Any] = {"period_s": 0.1, "quarantine_s": 0.5, "call_timeout_s": 2.0}


def value(metric: Counter | Gauge, **labels: str) -> float:
    """0 when there is no such sample; the manager runs in this process."""
    for family in metric.collect():
        for sample in family.samples:
            if not sample.name.endswith("_created") and labels.items() <= sample.labels.items():
                return sample.value
    return 0.0


async def names(cluster: Cluster) -> set[str]:
    listing = await cluster.at("tp-1").pods.list(tenant=cluster.tenant())
    return {one.metadata.name for one in listing.items}


async def rounds(count: int) -> None:
    """So many rounds have begun and ended from now on."""
    before = _rounds()

    async def passed() -> bool:
        return _rounds() >= before + count

    await eventually(passed, within_s=10)


def _rounds() -> float:
    [family] = metrics.ROUND_SECONDS.collect()
    return next(sample.value for sample in family.samples if sample.name.endswith("_count"))


async def running(cluster: Cluster, name: str) -> Pod:
    """A claimed and bound pod, as its kubelet has reported it."""
    one = await cluster.placed(name)
    one.status.phase = "Running"
    one.metadata.resource_version = 0
    found: Pod = await cluster.at("tp-1").pods.update_status(one)
    return found


async def test_pods_of_a_deleted_node_fail_and_go_and_those_of_others_stay(cluster: Cluster) -> None:
    lost = [await running(cluster, f"lost-{n}") for n in range(3)]
    seen: list[Pod] = []

    async def watch() -> None:
        async for batch in cluster.at("tp-1").pods.watch(tenant=cluster.tenant(), send_initial_events=True):
            seen.extend(event.object for event in batch.events)

    orphans = value(metrics.DELETED, reason="orphaned", namespace="default")
    watching = asyncio.create_task(watch())
    try:
        async with manager(cluster, **QUICK):
            await cluster.create("unbound")
            await rounds(3)
            assert await names(cluster) == {"lost-0", "lost-1", "lost-2", "unbound"}
            await cluster.at("rp-1").nodes.delete(cluster.node)

            async def gone() -> bool:
                return await names(cluster) == {"unbound"}

            await eventually(gone, within_s=10)
    finally:
        watching.cancel()
    # Other tests' pods on nodes that they deleted may go as well; these three are told one by one below.
    assert value(metrics.DELETED, reason="orphaned", namespace="default") >= orphans + 3
    failed = {one.metadata.uid: one for one in seen if one.status.phase == "Failed"}
    assert failed.keys() == {one.metadata.uid for one in lost}
    for one in failed.values():
        assert ("DisruptionTarget", "True", "DeletionByPodGC") in {
            (condition.type, condition.status, condition.reason) for condition in one.status.conditions
        }


async def test_a_node_that_comes_back_during_its_quarantine_keeps_its_pods(cluster: Cluster) -> None:
    await running(cluster, "stays")
    nodes = cluster.at("rp-1").nodes
    before = await nodes.get(cluster.node)
    async with manager(cluster, **{**QUICK, "quarantine_s": 6.0}):
        await nodes.delete(cluster.node)

        async def quarantined() -> bool:
            return value(metrics.QUARANTINED) == 1

        await eventually(quarantined, within_s=10)
        before.metadata.uid, before.metadata.resource_version = "", 0
        await nodes.create(before)

        async def released() -> bool:
            return value(metrics.QUARANTINED) == 0

        await eventually(released, within_s=10)
        await rounds(70)
        assert await names(cluster) == {"stays"}


async def test_a_partition_that_is_out_of_reach_or_unknown_proves_nothing(cluster: Cluster) -> None:
    await running(cluster, "there")
    elsewhere = pod(cluster.tenant(), "elsewhere")
    elsewhere.spec.node_name, elsewhere.spec.resource_partition = "n1", "rp-9"
    await cluster.at("tp-1").pods.create(elsewhere)
    async with manager(cluster, **QUICK):

        async def unknown_is_told() -> bool:
            return value(metrics.HELD, resource_partition="rp-9", cause="unknown-partition") == 1

        await eventually(unknown_is_told, within_s=10)
        # The node goes, and with it everybody who could say so.
        await cluster.at("rp-1").nodes.delete(cluster.node)
        await cluster.stop("rp-1")

        async def unreachable_is_told() -> bool:
            return value(metrics.HELD, resource_partition="rp-1", cause="unreachable") >= 1

        await eventually(unreachable_is_told, within_s=15)
        await rounds(10)
        assert await names(cluster) == {"there", "elsewhere"}
        await cluster.start("rp-1")

        async def only_the_unknown() -> bool:
            return await names(cluster) == {"elsewhere"}

        await eventually(only_the_unknown, within_s=20)
        await rounds(3)
        assert await names(cluster) == {"elsewhere"}
    assert value(metrics.HELD, resource_partition="rp-9", cause="unknown-partition") == 0


async def test_of_finished_pods_so_many_stay(cluster: Cluster) -> None:
    for number in range(6):
        await cluster.finish(await cluster.create(f"done-{number}"))
    async with manager(cluster, **QUICK, terminated_pod_threshold=2):

        async def two_are_left() -> bool:
            # All of one second: by name.
            return await names(cluster) == {"done-4", "done-5"}

        await eventually(two_are_left, within_s=10)
        await rounds(3)
        assert await names(cluster) == {"done-4", "done-5"}


@pytest.mark.parametrize("tainted", [True, False])
async def test_what_ends_on_a_node_that_is_out_of_service_goes(cluster: Cluster, tainted: bool) -> None:
    ending, stays = await running(cluster, "ending"), await running(cluster, "stays")
    nodes = cluster.at("rp-1").nodes
    node = await nodes.get(cluster.node)
    if tainted:
        node.spec.taints.add(key="node.kubernetes.io/out-of-service", value="nodeshutdown", effect="NoExecute")
        await nodes.update(node)
    await cluster.at("tp-1").pods.delete("ending", tenant=ending.metadata.tenant, namespace="default")
    async with manager(cluster, **QUICK):
        if not tainted:
            await rounds(10)
            assert await names(cluster) == {"ending", "stays"}
            return

        async def gone() -> bool:
            return await names(cluster) == {"stays"}

        await eventually(gone, within_s=10)
    live = await cluster.at("tp-1").pods.get("stays", tenant=stays.metadata.tenant, namespace="default")
    assert live.status.phase == "Running" and not live.metadata.HasField("deletion_timestamp")
