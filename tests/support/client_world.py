"""A fake partition with a real clientset and a real mux on a fake clock: what client and kubelet tests stand on."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

import grpc

from services.api.pb.ursa.core.v1 import node_pb2, pod_pb2
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.base.clock import Clock, FakeClock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.clientset import Clientset
from services.client.mux import WatchMux
from services.client.partitions import Connection
from tests.support.fake_partition import FakeChannel, FakePartition


def fake_connection(partition: FakePartition, clock: Clock, seed: int = 1) -> Connection:
    """A ``Connection`` whose channel is a ``FakeChannel``."""
    connection = Connection.__new__(Connection)
    connection.name = partition.name
    connection.endpoints = (partition.name,)
    connection.channel = connection.bulk = cast(grpc.aio.Channel, FakeChannel(partition))
    connection.clientset = Clientset(connection.channel)
    connection.mux = WatchMux(connection.channel, clock, Rand(seed), partition=partition.name)
    return connection


@contextlib.asynccontextmanager
async def connected(*partitions: FakePartition, clock: FakeClock) -> AsyncIterator[tuple[Supervisor, list[Connection]]]:
    """Connections to ``partitions`` whose muxes run."""
    async with Supervisor() as tasks:
        connections = [fake_connection(partition, clock, seed) for seed, partition in enumerate(partitions)]
        for connection in connections:
            tasks.start(connection.run(), name=f"connection-{connection.name}")
        await clock.advance(0)
        yield tasks, connections


async def until(clock: FakeClock, holds: Callable[[], bool], *, seconds: float = 60.0, step_s: float = 0.05) -> None:
    """Advance ``clock`` until ``holds()``; fails after ``seconds`` of its time."""
    end = clock.monotonic() + seconds
    while not holds():
        assert clock.monotonic() < end, "did not happen in time"
        await clock.advance(step_s)


def node(name: str, **labels: str) -> node_pb2.Node:
    return node_pb2.Node(metadata=meta_pb2.ObjectMeta(name=name, labels=labels))


def pod(
    name: str, *, tenant: str = "acme", namespace: str = "default", node_name: str = "", cpu: str = "", **spec: Any
) -> pod_pb2.Pod:
    """A pod of one container, bound to ``node_name`` of rp-1 if that is given."""
    container = pod_pb2.Container(name="main", image="registry.example/app:1")
    if cpu:
        container.resources.requests["cpu"] = cpu
    return pod_pb2.Pod(
        metadata=meta_pb2.ObjectMeta(name=name, namespace=namespace, tenant=tenant),
        spec=pod_pb2.PodSpec(
            containers=[container],
            node_name=node_name,
            resource_partition="rp-1" if node_name else "",
            **spec,
        ),
        status=pod_pb2.PodStatus(phase="Pending"),
    )


def names(objects: Sequence[Any]) -> list[str]:
    return sorted(obj.metadata.name for obj in objects)
