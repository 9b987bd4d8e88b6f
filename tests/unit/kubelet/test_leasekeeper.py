"""Leases of many nodes: made, renewed in even cohorts, retried; one that cannot be renewed holds up no others."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Sequence

import pytest

from services.api.kinds import LEASES
from services.api.pb.ursa.coordination.v1.lease_pb2 import Lease
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.base.tasks import stop_task
from services.kubelet.config import TimingConfig
from services.kubelet.contact import Contact
from services.kubelet.leasekeeper import LeaseKeeper
from services.rpc import status
from tests.support.client_world import fake_connection, until
from tests.support.fake_partition import FakePartition

PLACE = ("system", "kube-node-lease")


class Entry:
    def __init__(self, name: str) -> None:
        self.name = name
        self.contact = Contact(40.0)
        self.silent = False
        self.has_lease = False


class World:
    def __init__(self, nodes: int) -> None:
        self.clock = FakeClock()
        self.partition = FakePartition("rp-1", clock=self.clock)
        self.entries = [Entry(f"n{number}") for number in range(nodes)]
        self.nodes = {entry.name: Node() for entry in self.entries}
        for name, node in self.nodes.items():
            node.metadata.name, node.metadata.uid = name, f"uid-of-{name}"
        self.told: list[str] = []
        self.keeper = LeaseKeeper(
            fake_connection(self.partition, self.clock),
            self.entries,
            self.nodes,
            timing=TimingConfig(),
            clock=self.clock,
            rand=Rand(7),
            on_contact=self.told.extend,
        )

    @contextlib.asynccontextmanager
    async def running(self, *, begun: bool = True) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.keeper.run())
        try:
            if begun:
                self.keeper.begin(entry.name for entry in self.entries)
                await until(self.clock, lambda: all(entry.has_lease for entry in self.entries))
            yield
            if task.done():
                task.result()
        finally:
            await stop_task(task)

    def lease(self, name: str) -> Lease | None:
        found: Lease | None = self.partition.get(LEASES, name, *PLACE)
        return found

    def age_s(self, name: str) -> float:
        lease = self.lease(name)
        assert lease is not None
        time = lease.spec.renew_time
        return self.clock.time() - time.seconds - time.nanos / 1e9

    def hold(self, name: str, holder: str) -> None:
        lease = self.lease(name) or Lease()
        lease.metadata.name, lease.metadata.tenant, lease.metadata.namespace = name, *PLACE
        lease.spec.holder_identity = holder
        self.partition.put(LEASES, lease)

    def renewed(self) -> list[tuple[float, list[str]]]:
        return [
            (request.renew_time.seconds + request.renew_time.nanos / 1e9, [item.name for item in request.renewals])
            for request in self.partition.called("Renew")
        ]


async def test_a_lease_is_made_for_its_node_and_renewed_every_ten_seconds() -> None:
    world = World(1)
    async with world.running():
        lease = world.lease("n0")
        assert lease is not None
        assert (lease.spec.holder_identity, lease.spec.lease_duration_seconds) == ("n0", 40)
        assert [owner.uid for owner in lease.metadata.owner_references] == ["uid-of-n0"]
        await world.clock.advance(200)
    times = [time for time, _ in world.renewed()]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert len(times) >= 19 and all(9.99 <= gap <= 10.45 for gap in gaps), gaps
    assert max(gaps) - min(gaps) > 0.01, "renewals are jittered"


async def test_the_nodes_of_a_large_host_are_renewed_evenly() -> None:
    world = World(2_000)
    async with world.running():
        await world.clock.advance(30)
        begin_s = world.clock.time()
        await world.clock.advance(10)
        renewed = [(time, names) for time, names in world.renewed() if time >= begin_s]
        assert len(renewed) >= 38 and all(len(names) == 50 for _, names in renewed)
        by_second = [0] * 10
        for time, names in renewed:
            by_second[min(9, int(time - begin_s))] += len(names)
        assert max(by_second) <= 2 * 2_000 / 10, by_second
        assert max(world.age_s(entry.name) for entry in world.entries) < 11


async def test_a_lease_that_vanished_is_made_again() -> None:
    world = World(3)
    async with world.running():
        world.partition.remove(LEASES, "n1", *PLACE)
        await until(world.clock, lambda: world.lease("n1") is not None, seconds=11)
        assert world.age_s("n1") < 1


async def test_leases_that_are_there_already_are_renewed() -> None:
    """A host that was started anew."""
    world = World(2)
    world.hold("n0", "n0")
    async with world.running():
        await until(world.clock, lambda: world.age_s("n0") < 1, seconds=2)


def owners(world: World, name: str) -> list[tuple[str, str]]:
    lease = world.lease(name)
    assert lease is not None
    return [(owner.name, owner.uid) for owner in lease.metadata.owner_references]


async def test_a_lease_is_given_to_the_node_that_was_registered_in_the_place_of_its_owner() -> None:
    world = World(2)
    async with world.running():
        lease = world.lease("n0")
        assert lease is not None
        lease.metadata.owner_references.add(api_version="v1", kind="ConfigMap", name="other", uid="uid-of-other")
        world.partition.put(LEASES, lease)
        # The node keeper says so when the watch shows that the node is another one.
        world.nodes["n0"].metadata.uid = "uid-of-the-next-n0"
        world.entries[0].has_lease = False
        world.partition.refuse_next("Get", status.unavailable("no quorum"))
        world.keeper.begin(["n0"], fresh=True)
        await until(world.clock, lambda: ("n0", "uid-of-the-next-n0") in owners(world, "n0"), seconds=3)
        assert owners(world, "n0") == [("other", "uid-of-other"), ("n0", "uid-of-the-next-n0")]
        assert owners(world, "n1") == [("n1", "uid-of-n1")]
        await world.clock.advance(30)
        assert world.age_s("n0") < 11, "it is renewed as ever"


async def test_leases_that_a_host_finds_when_it_starts_are_not_read_one_by_one() -> None:
    world = World(50)
    for entry in world.entries:
        world.hold(entry.name, entry.name)
    async with world.running():
        await world.clock.advance(20)
        assert world.partition.called("Get") == []


async def test_a_lease_that_another_holds_is_told_once_and_taken_up_when_it_is_let_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(3)
    async with world.running():
        world.hold("n1", "another-host")
        with caplog.at_level(logging.ERROR):
            await world.clock.advance(60)
        told = [record for record in caplog.records if "another holds" in record.getMessage()]
        assert [record.__dict__["node"] for record in told] == ["n1"]
        held = world.lease("n1")
        assert held is not None and held.spec.holder_identity == "another-host"
        assert max(world.age_s("n0"), world.age_s("n2")) < 11, "the others of its cohort are renewed as ever"
        world.hold("n1", "n1")
        await until(world.clock, lambda: world.age_s("n1") < 1, seconds=11)


async def test_five_tries_at_once_then_with_backoff() -> None:
    world = World(1)
    async with world.running():
        await until(world.clock, lambda: len(world.renewed()) == 1, seconds=11)
        for _ in range(6):
            world.partition.refuse_next("Renew", status.unavailable("no quorum"))
        await until(world.clock, lambda: len(world.renewed()) == 8, seconds=12)
        times = [time for time, _ in world.renewed()][1:]
        assert times[4] - times[0] < 0.2
        assert times[5] - times[4] >= 0.2
        assert times[6] - times[5] >= 0.4
        assert world.age_s("n0") < 1


async def test_one_lease_that_cannot_be_renewed_holds_up_no_others() -> None:
    world = World(2)
    async with world.running():
        # It is missing, and cannot be made: tried again and again.
        world.partition.objects[LEASES.resource].pop("/ursa/leases/system/kube-node-lease/n1")
        for _ in range(30):
            world.partition.refuse_next("BatchCreate", status.unavailable("no quorum"))
        await world.clock.advance(25)
        assert world.age_s("n0") < 11
        await until(world.clock, lambda: world.lease("n1") is not None)


@pytest.mark.parametrize("how", ["silent", "unregistered"])
async def test_nothing_is_sent_for_a_node_that_is_silent_or_gone(how: str) -> None:
    world = World(2)
    async with world.running():
        await world.clock.advance(11)
        if how == "silent":
            world.entries[0].silent = True
        else:
            del world.nodes["n0"]
        before = len(world.renewed())
        await world.clock.advance(40)
        names: Sequence[list[str]] = [names for _, names in world.renewed()[before:]]
        assert len(names) >= 3 and all(found == ["n1"] for found in names)


async def test_renewals_go_on_after_an_outage_of_the_partition() -> None:
    world = World(200)
    async with world.running():
        world.partition.go_down()
        await world.clock.advance(60)
        world.partition.come_back()
        await until(world.clock, lambda: max(world.age_s(entry.name) for entry in world.entries) < 10.5, seconds=12)


async def test_a_node_is_in_contact_while_its_renewals_are_stored() -> None:
    world = World(2)
    contacts = [entry.contact for entry in world.entries]
    assert all(contact.lost(world.clock.monotonic()) for contact in contacts), "nothing has been stored yet"
    async with world.running():
        assert not any(contact.lost(world.clock.monotonic()) for contact in contacts), "a lease that was made"
        world.hold("n1", "another-host")
        await world.clock.advance(60)
        assert [contact.lost(world.clock.monotonic()) for contact in contacts] == [False, True]
        world.partition.go_down()
        await world.clock.advance(60)
        assert contacts[0].lost(world.clock.monotonic())


async def test_who_waits_for_a_renewal_is_told_when_it_is_stored() -> None:
    world = World(3)
    async with world.running():
        world.partition.go_down()
        await world.clock.advance(50)
        world.entries[1].contact.leave("uid-of-a-pod")
        assert world.told == []
        world.partition.come_back()
        await until(world.clock, lambda: world.told == ["n1"], seconds=12)
        assert [*world.entries[1].contact.take_left()] == ["uid-of-a-pod"]
        await world.clock.advance(30)
        assert world.told == ["n1"]
