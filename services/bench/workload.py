"""Pods to write, and writers: unary calls with so many in flight, batches, single etcd puts, at full or given speed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.api import wire
from services.api.kinds import PODS
from services.api.pb.ursa.core.v1 import pod_pb2, pod_service_pb2
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.bench import echo
from services.bench.http2 import CallFailed, Connection
from services.bench.partition import NAMESPACE, TENANT
from services.rpc import methods

CREATE = methods.path(PODS, "Create")
BATCH_CREATE = methods.path(PODS, "BatchCreate")
GET = methods.path(PODS, "Get")
ETCD_PUT = "/etcdserverpb.KV/Put"
ECHO = echo.METHOD

_PADDING = "bench.ursa.io/padding"
RESOURCE_PARTITION = "rp-1"


class Wrong(Exception):
    """The system under test answered something that makes the run invalid."""


@dataclass(frozen=True)
class Pods:
    """Pods that are ``padding`` bytes larger than they need be; ``prefix`` keeps the phases' names apart."""

    prefix: str
    padding: int = 0

    def name(self, index: int) -> str:
        return f"{self.prefix}-{index:07d}"

    def make(self, index: int, *, node: str = "") -> pod_pb2.Pod:
        pod = pod_pb2.Pod()
        metadata = pod.metadata
        metadata.tenant, metadata.namespace, metadata.name = TENANT, NAMESPACE, self.name(index)
        metadata.labels["app"] = self.prefix
        if self.padding:
            metadata.annotations[_PADDING] = "x" * self.padding
        container = pod.spec.containers.add(name="pause", image="registry.k8s.io/pause:3.10")
        container.resources.requests["cpu"], container.resources.requests["memory"] = "100m", "500Mi"
        if node:
            pod.spec.node_name, pod.spec.resource_partition = node, RESOURCE_PARTITION
        return pod

    def create(self, index: int, *, node: str = "") -> bytes:
        """A CreatePodRequest."""
        return pod_service_pb2.CreatePodRequest(object=self.make(index, node=node)).SerializeToString()

    def batch(self, indices: Sequence[int], node_of: Callable[[int], str] | None = None) -> bytes:
        """A BatchPodsRequest."""
        objects = [self.make(index, node=node_of(index) if node_of else "") for index in indices]
        return pod_service_pb2.BatchPodsRequest(objects=objects).SerializeToString()


async def sized(connection: Connection, prefix: str, stored_bytes: int) -> Pods:
    """Pods that are ``stored_bytes`` large once the server has completed them: found out with one that it creates."""
    answer = await connection.call(CREATE, Pods(f"probe-{prefix}").create(0))
    plain = pod_pb2.Pod.FromString(answer)
    overhead = len(_PADDING) + 12
    padding = max(0, stored_bytes - len(wire.canonical(plain)) - overhead)
    return Pods(prefix, padding)


@dataclass
class Acknowledged:
    """What was written: how many, when each call began and was answered, and the resource versions if asked for."""

    began: float = 0.0
    ended: float = 0.0
    items: int = 0
    latencies: list[float] = field(default_factory=list)
    at: dict[int, float] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        return self.items / (self.ended - self.began) if self.ended > self.began else 0.0

    def latency_s(self) -> np.ndarray:
        return np.array(self.latencies, dtype=np.float64)


async def calls(
    connections: Sequence[Connection],
    path: str,
    requests: Sequence[bytes],
    in_flight: int,
    *,
    revisions: bool = False,
    within_s: float = float("inf"),
) -> Acknowledged:
    """Unary calls, ``in_flight`` at a time, each timed; none begins after ``within_s``. ``revisions``: note when which
    resource version was acknowledged (a Pod's). Raises ``CallFailed``."""
    done = Acknowledged(began=time.perf_counter())
    work = iter(requests)

    async def line(connection: Connection) -> None:
        for request in work:
            began = time.perf_counter()
            if began - done.began > within_s:
                return
            answer = await connection.call(path, request)
            now = time.perf_counter()
            done.latencies.append(now - began)
            done.items += 1
            if revisions:
                done.at[_revision(answer)] = now

    async with one_failure(), asyncio.TaskGroup() as group:
        for number in range(in_flight):
            group.create_task(line(connections[number % len(connections)]))
    done.ended = time.perf_counter()
    return done


async def paced(
    connection: Connection, path: str, requests: Sequence[bytes], per_second: float, *, in_flight: int
) -> Acknowledged:
    """Unary calls at a steady rate for the time that ``requests`` take at that rate; notes the resource versions.

    A server that does not keep up has at most ``in_flight`` calls before it: then fewer than ``requests`` are made.
    """
    done = Acknowledged(began=time.perf_counter())
    end = done.began + len(requests) / per_second
    work = iter(enumerate(requests))

    async def line() -> None:
        for number, request in work:
            pause = done.began + number / per_second - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            began = time.perf_counter()
            if began > end:
                return
            answer = await connection.call(path, request)
            now = time.perf_counter()
            done.latencies.append(now - began)
            done.items += 1
            done.at[_revision(answer)] = now

    async with one_failure(), asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(line())
    done.ended = time.perf_counter()
    return done


async def batch_creates(connection: Connection, requests: Iterator[bytes], in_flight: int = 2) -> Acknowledged:
    """BatchCreates, ``in_flight`` at a time. Raises ``CallFailed``, ``Wrong`` for an item that failed."""
    done = Acknowledged(began=time.perf_counter())

    async def line() -> None:
        for request in requests:
            began = time.perf_counter()
            answer = await connection.call(BATCH_CREATE, request)
            done.latencies.append(time.perf_counter() - began)
            done.items += outcomes(answer)

    async with one_failure(), asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(line())
    done.ended = time.perf_counter()
    return done


async def paced_batches(connection: Connection, requests: Sequence[bytes], period_s: float) -> Acknowledged:
    """BatchCreates, one begun every ``period_s``, one after the other. Raises as ``batch_creates``."""
    done = Acknowledged(began=time.perf_counter())
    for number, request in enumerate(requests):
        pause = done.began + number * period_s - time.perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        done.items += outcomes(await connection.call(BATCH_CREATE, request))
    done.ended = time.perf_counter()
    return done


async def current_revision(connection: Connection) -> int:
    """The partition's resource version now, from a consistent list of one pod."""
    request = meta_pb2.ListRequest(tenant=TENANT, namespace=NAMESPACE, limit=1)
    answer = await connection.call(methods.path(PODS, "List"), request.SerializeToString())
    return pod_service_pb2.PodList.FromString(answer).metadata.resource_version


def outcomes(answer: bytes) -> int:
    """How many items of a BatchResponse there are. Raises ``Wrong`` if one failed."""
    response = meta_pb2.BatchResponse.FromString(answer)
    for outcome in response.outcomes:
        if not outcome.resource_version:
            raise Wrong(f"{outcome.name} was not created: {outcome.status}")
    return len(response.outcomes)


def put_requests(count: int, size: int) -> list[bytes]:
    """etcd PutRequests of ``size``-byte values (fields 1 and 2 of rpc.proto's message)."""
    value = b"x" * size
    return [wire.frame(1, b"/bench/%07d" % index) + wire.frame(2, value) for index in range(count)]


def chunks(count: int, size: int, first: int = 0) -> Iterator[range]:
    for start in range(first, first + count, size):
        yield range(start, min(start + size, first + count))


@contextlib.asynccontextmanager
async def one_failure() -> AsyncIterator[None]:
    """Around a task group: its first failure instead of the group."""
    try:
        yield
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from group


def _revision(answer: bytes) -> int:
    """The resource version at the end of a served object."""
    position = len(answer) - 1
    while answer[position - 1] & 0x80:
        position -= 1
    number = 0
    for shift, byte in enumerate(answer[position:]):
        number |= (byte & 0x7F) << 7 * shift
    if answer[position - 1] != 0x30:
        raise CallFailed("an object without its resource version at the end")
    return number
