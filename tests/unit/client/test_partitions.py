"""The directory of partitions: configuration first, objects after, unreachable removes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from services.api.kinds import TENANT_PARTITIONS
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.api.pb.ursa.tenancy.v1 import tenancy_pb2
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.client.partitions import Connection, PartitionDirectory
from tests.support.client_world import connected, fake_connection, until
from tests.support.fake_partition import FakePartition


def partition_object(name: str, *endpoints: str) -> tenancy_pb2.TenantPartition:
    return tenancy_pb2.TenantPartition(
        metadata=meta_pb2.ObjectMeta(name=name), spec=tenancy_pb2.TenantPartitionSpec(endpoints=endpoints)
    )


class World:
    def __init__(self, **bootstrap: str) -> None:
        self.clock = FakeClock()
        self.log: list[str] = []
        self.directory = PartitionDirectory(
            TENANT_PARTITIONS,
            bootstrap={name.replace("_", "-"): [endpoint] for name, endpoint in bootstrap.items()},
            clock=self.clock,
            rand=Rand(1),
            on_added=lambda name, connection: self.log.append(f"+{name} {','.join(connection.endpoints)}"),
            on_removed=lambda name: self.log.append(f"-{name}"),
            connect=self.connect,
        )

    def connect(self, name: str, endpoints: Sequence[str]) -> Connection:
        connection = fake_connection(FakePartition(name), self.clock)
        connection.endpoints = tuple(endpoints)
        return connection

    def take(self) -> list[str]:
        taken, self.log = self.log, []
        return taken


async def test_configuration_first_then_objects() -> None:
    world, home = World(tp_1="a:1"), FakePartition("rp-1")
    home.put(TENANT_PARTITIONS, partition_object("tp-1", "a:1"))
    home.put(TENANT_PARTITIONS, partition_object("tp-2", "b:1"))
    async with connected(home, clock=world.clock) as (tasks, [connection]):
        tasks.start(world.directory.run(), name="directory")
        await world.clock.advance(0)
        assert world.take() == ["+tp-1 a:1"]
        informer = world.directory.follow(connection.mux)
        await until(world.clock, lambda: informer.connected)
        assert world.take() == ["+tp-2 b:1"]
        home.put(TENANT_PARTITIONS, partition_object("tp-2", "b:2"))
        await world.clock.advance(0)
        assert world.take() == ["+tp-2 b:2"]
        home.remove(TENANT_PARTITIONS, "tp-2")
        home.remove(TENANT_PARTITIONS, "tp-1")
        await world.clock.advance(0)
        assert world.take() == ["-tp-2", "-tp-1"]
        assert world.directory.connections == {}


async def test_an_unreachable_directory_removes_nothing() -> None:
    world, home = World(), FakePartition("rp-1")
    home.put(TENANT_PARTITIONS, partition_object("tp-1", "a:1"))
    async with connected(home, clock=world.clock) as (tasks, [connection]):
        tasks.start(world.directory.run(), name="directory")
        informer = world.directory.follow(connection.mux)
        await until(world.clock, lambda: informer.connected)
        world.take()
        home.go_down()
        await world.clock.advance(120)
        assert world.take() == []
        assert list(world.directory.connections) == ["tp-1"]


async def test_two_sources_a_partition_goes_when_the_last_one_drops_it() -> None:
    world, one, two = World(), FakePartition("rp-1"), FakePartition("rp-2")
    for home in (one, two):
        home.put(TENANT_PARTITIONS, partition_object("tp-1", "a:1"))
    async with connected(one, two, clock=world.clock) as (tasks, connections):
        tasks.start(world.directory.run(), name="directory")
        informers = [world.directory.follow(connection.mux) for connection in connections]
        await until(world.clock, lambda: all(informer.connected for informer in informers))
        assert world.take() == ["+tp-1 a:1"]
        one.remove(TENANT_PARTITIONS, "tp-1")
        await world.clock.advance(0)
        assert world.take() == []
        two.remove(TENANT_PARTITIONS, "tp-1")
        await world.clock.advance(0)
        assert world.take() == ["-tp-1"]
