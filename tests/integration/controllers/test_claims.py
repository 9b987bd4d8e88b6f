"""Claims end on facts of real tenant partitions, and on nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from prometheus_client import Counter

from services.api.pb.ursa.core.v1 import pod_pb2
from services.api.pb.ursa.scheduling.v1 import capacity_pb2
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.base.tasks import stop_task
from services.client.election import ElectionConfig
from services.client.partitions import Connection
from services.controllers.app import ControllerManager
from services.controllers.claims import metrics
from services.controllers.config import ClaimsConfig, ControllersConfig, PartitionAddress
from tests.integration.apiserver.world import eventually
from tests.integration.controllers.conftest import Cluster

REVIEW_S = 1.5
ELECTION = ElectionConfig(lease_s=9.0, renew_deadline_s=6.0, retry_s=0.3)


@contextlib.asynccontextmanager
async def manager(cluster: Cluster, *, review_after_s: float = REVIEW_S) -> AsyncIterator[ControllerManager]:
    """A controller manager of rp-1 that leads and follows both tenant partitions."""
    address = PartitionAddress("rp-1", (cluster.resource.listen,))
    claims = ClaimsConfig(claim_review_after_s=review_after_s, retry_after_s=0.3, backoff_max_s=0.5, call_timeout_s=2.0)
    config = ControllersConfig("controller-rp-1", address, claims=claims, leader_election=ELECTION)
    clock, rand = SystemClock(), Rand(1)
    made = ControllerManager(config, Connection("rp-1", address.endpoints, clock, rand), clock=clock, rand=rand)
    task = asyncio.create_task(made.run())
    try:
        await eventually(lambda: _follows_all(made), within_s=15)
        yield made
    finally:
        await stop_task(task)


def asked(partition: str) -> float:
    return _total(metrics.QUESTIONS, partition)


def failed(partition: str) -> float:
    return _total(metrics.FAILURES, partition)


def _total(counter: Counter, partition: str) -> float:
    """Over all labels but the partition; the manager runs in this process."""
    return sum(
        sample.value
        for family in counter.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and sample.labels["tenant_partition"] == partition
    )


async def _follows_all(made: ControllerManager) -> bool:
    if made.claims is None or not made.claims.claims.connected:
        return False
    tenants = made.claims.tenants
    return len(tenants) == 2 and all(tenant.book.is_open for tenant in tenants.values())


async def _no_claims(cluster: Cluster) -> bool:
    return not await cluster.claims()


async def test_claims_of_finished_and_deleted_pods_are_released_soon_and_others_stay(cluster: Cluster) -> None:
    async with manager(cluster, review_after_s=60.0):
        stays = await cluster.placed("stays")

        async def released() -> bool:
            return await cluster.claims() == {stays.metadata.uid}

        took: list[float] = []
        for turn in range(3):
            done, gone = [await cluster.placed(f"{name}-{turn}") for name in ("done", "gone")]
            assert await cluster.held() == 3
            await asyncio.gather(cluster.finish(done), cluster.delete(gone))
            began = time.monotonic()
            await eventually(released, within_s=30)
            took.append(time.monotonic() - began)
            assert await cluster.held() == 1
        # About 0.02 s on an idle machine; a disk may stand still for a second, but not each time.
        assert min(took) < 1.0, took


async def test_an_orphan_ends_by_revocation_and_what_its_scheduler_sent_cannot_bind_any_more(cluster: Cluster) -> None:
    async with manager(cluster):
        orphan = await cluster.create("orphan")
        assert (await cluster.claim(orphan)).state == capacity_pb2.ClaimOutcome.HELD  # and then its scheduler dies
        await eventually(lambda: _no_claims(cluster), within_s=10)
        assert await cluster.held() == 0
        late = await cluster.bind(orphan)
        assert late is not None and late.code.name == "ABORTED"
        found = await cluster.at("tp-1").pods.get("orphan", tenant=orphan.metadata.tenant, namespace="default")
        assert found.spec.bind_epoch == 1 and not found.spec.node_name
        # The next scheduler takes it from there.
        assert (await cluster.claim(found, epoch=1)).state == capacity_pb2.ClaimOutcome.HELD
        assert await cluster.bind(found, epoch=1) is None


async def test_a_claim_of_a_pod_that_never_was_and_of_a_deleted_tenant_end(cluster: Cluster) -> None:
    async with manager(cluster):
        ghost = pod_pb2.Pod()
        ghost.metadata.uid, ghost.metadata.name, ghost.metadata.namespace = "no-such-uid", "ghost", "default"
        ghost.metadata.tenant = cluster.tenant()
        nobody = pod_pb2.Pod()
        nobody.CopyFrom(ghost)
        nobody.metadata.uid, nobody.metadata.tenant = "no-such-uid-2", "no-such-tenant"
        for one in (ghost, nobody):
            assert (await cluster.claim(one)).state == capacity_pb2.ClaimOutcome.HELD
        await eventually(lambda: _no_claims(cluster), within_s=10)


async def reviewed(cluster: Cluster, name: str, stay: set[str]) -> None:
    """A review has run: it has ended the claim, younger than those of ``stay``, of a pod that nobody binds."""
    before = asked("tp-1")
    orphan = await cluster.create(name)
    assert (await cluster.claim(orphan)).state == capacity_pb2.ClaimOutcome.HELD

    async def ended() -> bool:
        return orphan.metadata.uid not in await cluster.claims()

    await eventually(ended, within_s=10)
    assert asked("tp-1") > before
    assert await cluster.claims() == stay


async def test_a_bound_pods_claim_never_ends_not_even_across_restarts(cluster: Cluster) -> None:
    async with manager(cluster, review_after_s=0.3):
        stays = await cluster.placed("stays")
        for number in range(3):
            await reviewed(cluster, f"first-{number}", {stays.metadata.uid})
    async with manager(cluster, review_after_s=0.3) as again:
        assert again.claims is not None
        for number in range(3):
            await reviewed(cluster, f"again-{number}", {stays.metadata.uid})


async def test_what_ended_while_no_manager_ran_is_found(cluster: Cluster) -> None:
    gone = await cluster.placed("gone")
    await cluster.delete(gone)
    assert await cluster.claims() == {gone.metadata.uid}
    async with manager(cluster):
        await eventually(lambda: _no_claims(cluster), within_s=10)


async def test_a_partition_that_is_down_keeps_its_claims_and_others_proceed(cluster: Cluster) -> None:
    async with manager(cluster):
        kept, orphan = await cluster.placed("kept"), await cluster.create("orphan")
        assert (await cluster.claim(orphan)).state == capacity_pb2.ClaimOutcome.HELD
        other = await cluster.placed("other", "tp-2")
        await cluster.stop("tp-1")
        await cluster.delete(other, "tp-2")

        async def others_gone() -> bool:
            return await cluster.claims() == {kept.metadata.uid, orphan.metadata.uid}

        await eventually(others_gone, within_s=30)
        before = failed("tp-1")

        async def asked_in_vain() -> bool:
            return failed("tp-1") >= before + 2

        await eventually(asked_in_vain, within_s=20)
        assert await others_gone()
        await cluster.start("tp-1")

        async def only_the_bound_ones() -> bool:
            return await cluster.claims() == {kept.metadata.uid}

        await eventually(only_the_bound_ones, within_s=15)


async def test_many_pods_of_both_partitions_that_end_together(cluster: Cluster) -> None:
    async with manager(cluster, review_after_s=60.0):
        for number in range(30):
            for partition in ("tp-1", "tp-2"):
                await cluster.placed(f"p{number}", partition)
        assert await cluster.held() == 60
        for partition in ("tp-1", "tp-2"):
            await cluster.at(partition).pods.delete_collection(
                tenant=cluster.tenant(partition), namespace="default", grace_period_seconds=0
            )
        await eventually(lambda: _no_claims(cluster), within_s=10)
        assert await cluster.held() == 0
