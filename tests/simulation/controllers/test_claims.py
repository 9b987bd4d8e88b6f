"""The reconciliation of claims against partitions in memory, on a fake clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from services.api.kinds import CAPACITY_CLAIMS, LEASES, PODS, TENANT_PARTITIONS
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.tenancy.v1.tenancy_pb2 import TenantPartition
from services.base.clock import FakeClock
from services.base.ids import sequential_uids
from services.base.rand import Rand
from services.base.tasks import stop_task
from services.client.election import ElectionConfig
from services.controllers.app import ControllerManager
from services.controllers.candidate import LEASE
from services.controllers.config import ControllersConfig, PartitionAddress
from services.rpc import status
from tests.support.claims import ClaimedPartition, RevokingPartition, claim
from tests.support.client_world import fake_connection, pod, until


class World:
    """rp-1 and tenant partitions in memory, and controller managers of rp-1."""

    def __init__(self, tenants: tuple[str, ...] = ("tp-1", "tp-2")) -> None:
        self.clock = FakeClock()
        self.resource = ClaimedPartition("rp-1", clock=self.clock)
        self.tenants = {name: RevokingPartition(name, clock=self.clock) for name in ("tp-1", "tp-2", "tp-3")}
        self.managers: list[tuple[ControllerManager, asyncio.Task[None]]] = []
        for name in tenants:
            self.add_tenant_partition(name)

    def add_tenant_partition(self, name: str) -> None:
        made = TenantPartition()
        made.metadata.name = name
        made.spec.endpoints.append(name)
        self.resource.put(TENANT_PARTITIONS, made)

    def start(self, name: str = "controller-1", *, elect: bool = True) -> ControllerManager:
        address = PartitionAddress("rp-1", ("rp-1",))
        config = ControllersConfig(name, address, leader_election=ElectionConfig(enabled=elect))
        manager = ControllerManager(
            config,
            fake_connection(self.resource, self.clock),
            clock=self.clock,
            rand=Rand(len(self.managers)),
            new_uid=sequential_uids(name),
            connect=lambda partition, endpoints: fake_connection(self.tenants[partition], self.clock),
        )
        self.managers.append((manager, asyncio.create_task(manager.run())))
        return manager

    async def until(self, holds: object, seconds: float = 30.0) -> None:
        assert callable(holds)
        await until(self.clock, holds, seconds=seconds)

    async def started(self) -> ControllerManager:
        manager = self.start()
        await self.until(lambda: manager.claims is not None and all(one.connected for one in self.known(manager)))
        return manager

    @staticmethod
    def known(manager: ControllerManager) -> list[object]:
        assert manager.claims is not None
        return list(manager.claims.tenants.values())

    def claimed(self, name: str, *, partition: str = "tp-1", node: str = "n1", bound: bool = False, **more: int) -> Pod:
        """A pod of ``partition`` with a claim on ``node``, bound to it or not."""
        made = pod(name, node_name=node if bound else "")
        stored: Pod = self.tenants[partition].put(PODS, made)
        created = self.clock.time()
        self.resource.put(CAPACITY_CLAIMS, claim(stored, node, partition=partition, created=created, **more))
        return stored


@contextlib.asynccontextmanager
async def world(*tenants: str) -> AsyncIterator[World]:
    made = World(tenants or ("tp-1", "tp-2"))
    try:
        yield made
    finally:
        for _, task in made.managers:
            await stop_task(task)


async def test_claims_of_finished_and_deleted_pods_are_released_at_once() -> None:
    async with world() as made:
        await made.started()
        done, gone, stays = (made.claimed(name, bound=True) for name in ("done", "gone", "stays"))
        await made.clock.advance(1)
        assert len(made.resource.claims) == 3 and made.tenants["tp-1"].revocations == []
        done.status.phase = "Succeeded"
        made.tenants["tp-1"].put(PODS, done)
        made.tenants["tp-1"].remove(PODS, "gone", "acme", "default")
        await made.until(lambda: len(made.resource.claims) == 1, seconds=0.1)
        assert made.resource.released() == {done.metadata.uid: "TERMINAL", gone.metadata.uid: "ABSENT"}
        await made.clock.advance(600)
        assert made.resource.claims == {stays.metadata.uid}  # a bound pod's claim never ends


async def test_a_claim_that_nobody_binds_is_revoked_after_the_review_period() -> None:
    async with world() as made:
        await made.started()
        orphan = made.claimed("orphan", epoch=2)
        await made.clock.advance(59)
        assert made.resource.claims == {orphan.metadata.uid}
        await made.until(lambda: not made.resource.claims, seconds=2)
        assert made.resource.released() == {orphan.metadata.uid: "REVOKED"}
        # What could still have bound it cannot any more.
        assert made.tenants["tp-1"].get(PODS, "orphan", "acme", "default").spec.bind_epoch == 3


async def test_a_claim_made_again_with_a_later_epoch_survives_the_revocation_of_the_first() -> None:
    async with world() as made:
        await made.started()
        again = made.claimed("again")
        tenant, answers = made.tenants["tp-1"], made.tenants["tp-1"].call

        async def claimed_meanwhile(path: str, data: bytes) -> bytes:
            answer = await answers(path, data)
            if path.endswith("BatchRevokeBind"):
                made.resource.put(CAPACITY_CLAIMS, claim(again, "n1", epoch=1, created=made.clock.time()))
            return answer

        tenant.call = claimed_meanwhile  # type: ignore[method-assign]
        await made.until(lambda: len(tenant.revocations) == 1, seconds=65)
        tenant.call = answers  # type: ignore[method-assign]
        await made.clock.advance(30)
        assert made.resource.claims == {again.metadata.uid}
        again.spec.node_name, again.spec.resource_partition = "n1", "rp-1"
        tenant.put(PODS, again)
        await made.clock.advance(300)
        assert made.resource.claims == {again.metadata.uid}


async def test_a_pod_that_is_bound_elsewhere_loses_its_claim_here() -> None:
    async with world() as made:
        await made.started()
        other_node, other_partition = made.claimed("other-node"), made.claimed("other-partition")
        for one, node, partition in ((other_node, "n2", "rp-1"), (other_partition, "n1", "rp-2")):
            one.spec.node_name, one.spec.resource_partition = node, partition
            made.tenants["tp-1"].put(PODS, one)
        await made.until(lambda: made.resource.claims == {other_partition.metadata.uid}, seconds=0.2)
        await made.until(lambda: not made.resource.claims, seconds=65)
        assert set(made.resource.released().values()) == {"BOUND_ELSEWHERE"}


async def test_a_partition_that_is_down_keeps_its_claims_and_delays_no_other() -> None:
    async with world() as made:
        await made.started()
        lost, other = made.claimed("lost", bound=True), made.claimed("other", partition="tp-2", bound=True)
        orphan = made.claimed("orphan")
        await made.clock.advance(1)
        made.tenants["tp-1"].go_down()
        made.tenants["tp-1"].remove(PODS, "lost", "acme", "default")
        made.tenants["tp-2"].remove(PODS, "other", "acme", "default")
        await made.until(lambda: other.metadata.uid not in made.resource.claims, seconds=0.1)
        await made.clock.advance(300)
        assert made.resource.claims == {lost.metadata.uid, orphan.metadata.uid}
        made.tenants["tp-1"].come_back()
        await made.until(lambda: not made.resource.claims, seconds=20)
        assert made.resource.released()[lost.metadata.uid] == "ABSENT"
        assert made.resource.released()[orphan.metadata.uid] == "REVOKED"


async def test_a_partition_that_was_never_there_and_an_unknown_one_keep_their_claims() -> None:
    async with world() as made:
        made.tenants["tp-2"].go_down()
        manager = made.start()
        await made.until(lambda: manager.claims is not None)
        made.claimed("a", partition="tp-2")
        made.claimed("b", partition="tp-3")
        mine = made.claimed("c", partition="tp-1")
        await made.until(lambda: made.resource.released() == {mine.metadata.uid: "REVOKED"}, seconds=65)
        assert len(made.resource.claims) == 2
        made.add_tenant_partition("tp-3")  # added while running
        await made.until(lambda: len(made.resource.claims) == 1, seconds=70)


async def test_a_removed_partition_keeps_its_claims_until_it_is_back() -> None:
    async with world() as made:
        manager = await made.started()
        made.claimed("a", bound=True)
        await made.clock.advance(1)
        made.resource.remove(TENANT_PARTITIONS, "tp-1")
        made.tenants["tp-1"].remove(PODS, "a", "acme", "default")
        await made.clock.advance(300)
        assert len(made.resource.claims) == 1
        assert manager.claims is not None and "tp-1" in manager.claims.tenants
        made.add_tenant_partition("tp-1")
        await made.until(lambda: not made.resource.claims)


async def test_what_ended_while_no_manager_ran_is_found_at_the_start() -> None:
    async with world() as made:
        kept, gone, young = made.claimed("kept", bound=True), made.claimed("gone", bound=True), None
        made.tenants["tp-1"].remove(PODS, "gone", "acme", "default")
        await made.clock.advance(100)
        young = made.claimed("young")
        await made.started()
        await made.until(lambda: made.resource.released() == {gone.metadata.uid: "ABSENT"}, seconds=1)
        assert made.resource.claims == {kept.metadata.uid, young.metadata.uid}


async def test_what_just_ended_while_no_manager_ran_waits_for_no_review_and_binds_under_way_go_on() -> None:
    async with world() as made:
        pending, absent, over, elsewhere, again = (
            made.claimed(name) for name in ("pending", "absent", "over", "elsewhere", "again")
        )
        tenant = made.tenants["tp-1"]
        tenant.remove(PODS, "absent", "acme", "default")
        over.status.phase = "Failed"
        elsewhere.spec.node_name, elsewhere.spec.resource_partition = "n1", "rp-2"
        for changed in (over, elsewhere):
            tenant.put(PODS, changed)
        tenant.remove(PODS, "again", "acme", "default")
        tenant.put(PODS, pod("again"))
        tenant.fall_silent("Get", how="unavailable")
        await made.started()
        await made.clock.advance(1)
        assert made.resource.released() == {} and tenant.revocations == []
        tenant.speak()
        gone = {absent.metadata.uid: "ABSENT", again.metadata.uid: "ABSENT", over.metadata.uid: "TERMINAL"}
        gone[elsewhere.metadata.uid] = "BOUND_ELSEWHERE"
        await made.until(lambda: made.resource.released() == gone, seconds=10)
        assert made.resource.claims == {pending.metadata.uid}
        assert pending.metadata.uid not in {uid for batch in tenant.revocations for uid in batch}


async def test_one_pod_without_an_answer_holds_up_no_other() -> None:
    async with world() as made:
        await made.started()
        stuck, free = made.claimed("stuck", bound=True), made.claimed("free", bound=True)
        made.tenants["tp-1"].withhold(stuck.metadata.uid)
        await made.clock.advance(1)
        for one in (stuck, free):
            made.tenants["tp-1"].remove(PODS, one.metadata.name, "acme", "default")
        await made.until(lambda: made.resource.claims == {stuck.metadata.uid}, seconds=0.1)
        await made.clock.advance(20)
        assert made.resource.claims == {stuck.metadata.uid}
        made.tenants["tp-1"].answer_for(stuck.metadata.uid)
        await made.until(lambda: not made.resource.claims, seconds=6)


async def test_a_resource_partition_that_does_not_take_releases_gets_them_later() -> None:
    async with world() as made:
        await made.started()
        made.claimed("a", bound=True)
        await made.clock.advance(1)
        answers = made.resource.call
        refused: list[str] = []

        async def refuse(path: str, data: bytes) -> bytes:
            if path.endswith("BatchRelease"):
                refused.append(path)
                raise status.unavailable("not now")
            return await answers(path, data)

        made.resource.call = refuse  # type: ignore[method-assign]
        made.tenants["tp-1"].remove(PODS, "a", "acme", "default")
        await made.clock.advance(5)
        assert len(refused) > 2 and len(made.tenants["tp-1"].revocations) == 1  # a fact is not asked for twice
        made.resource.call = answers  # type: ignore[method-assign]
        await made.until(lambda: not made.resource.claims, seconds=11)


async def test_one_release_that_nobody_can_answer_holds_up_no_other() -> None:
    async with world() as made:
        await made.started()
        stuck, free = made.claimed("stuck", bound=True), made.claimed("free", bound=True)
        made.resource.withhold(stuck.metadata.uid)
        await made.clock.advance(1)
        for one in (stuck, free):
            made.tenants["tp-1"].remove(PODS, one.metadata.name, "acme", "default")
        await made.until(lambda: made.resource.claims == {stuck.metadata.uid}, seconds=0.1)
        late = made.claimed("late", bound=True)
        await made.clock.advance(1)
        made.tenants["tp-1"].remove(PODS, "late", "acme", "default")
        await made.until(lambda: late.metadata.uid not in made.resource.claims, seconds=0.1)
        made.resource.answer_for(stuck.metadata.uid)
        await made.until(lambda: not made.resource.claims, seconds=6)


async def test_many_ends_at_once_go_in_batches() -> None:
    async with world() as made:
        await made.started()
        for number in range(2000):
            made.claimed(f"p{number}", bound=True)
        await made.clock.advance(1)
        for number in range(2000):
            made.tenants["tp-1"].remove(PODS, f"p{number}", "acme", "default")
        await made.until(lambda: not made.resource.claims, seconds=2)
        sizes = [len(batch) for batch in made.tenants["tp-1"].revocations]
        assert sum(sizes) == 2000 and max(sizes) == 512 and len(sizes) < 12


async def test_two_managers_elect_one_and_the_other_takes_over() -> None:
    async with world() as made:
        first = await made.started()
        second = made.start("controller-2")
        await made.clock.advance(5)
        assert first.ready() == {"resource-partition": True} == second.ready()
        assert first.claims is not None and second.claims is None
        made.claimed("a", bound=True)
        await made.clock.advance(1)
        _, task = made.managers[0]
        await stop_task(task)
        assert made.resource.get(LEASES, LEASE, "system", "kube-system").spec.holder_identity == ""
        made.tenants["tp-1"].remove(PODS, "a", "acme", "default")
        await made.until(lambda: not made.resource.claims, seconds=65)
        assert second.candidate.election.leading
