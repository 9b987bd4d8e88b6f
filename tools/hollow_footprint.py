"""What a host of hollow nodes costs by itself: bytes per node and per pod, CPU per pod start, CPU of idle nodes.

The partitions are stand-ins within the process that answer at once and keep nothing but bytes' worth of what they have
to echo, so that the figures are the host's own: real channels and sockets are left out, serialisation is not.

    python tools/hollow_footprint.py --nodes 10000 --pods 50000 --tenant-partitions 2 [--profile]
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import ctypes
import gc
import json
import os
import pathlib
import pstats
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import grpc
import uvloop

from services.api.kinds import PODS
from services.api.pb.ursa.coordination.v1 import lease_service_pb2
from services.api.pb.ursa.core.v1 import node_pb2, node_service_pb2, pod_pb2, pod_service_pb2
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.api.pb.ursa.scheduling.v1 import capacity_pb2
from services.api.pb.ursa.tenancy.v1 import tenancy_pb2
from services.api.pb.ursa.watch.v1 import watch_pb2
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.client.clientset import Clientset
from services.client.mux import WatchMux
from services.client.partitions import Connection
from services.kubelet import app, metrics
from services.kubelet.config import KubeletConfig, Pool
from services.kubelet.host import Host
from services.rpc import methods

EVENTS_PER_MESSAGE = 256


class Stub:
    """A partition that says yes. ``pods``: the bytes of each pod by UID and its watch, as a watch has to echo them."""

    def __init__(self, name: str, partitions: Sequence[str]) -> None:
        self.name = name
        self.partitions = partitions
        self.version = 1
        self.watches: dict[str, int] = {}
        self.pods: dict[str, tuple[int, bytes]] = {}
        self.queue: asyncio.Queue[watch_pb2.WatchServerMessage] = asyncio.Queue()

    def call(self, path: str, data: bytes) -> bytes:
        service, method = path.rsplit("/", 2)[1:]
        if method == "BatchClaim":
            claims = capacity_pb2.BatchClaimRequest.FromString(data).claims
            outcomes = [capacity_pb2.ClaimOutcome(pod_uid=c.metadata.name, state="HELD") for c in claims]
            return capacity_pb2.BatchClaimResponse(outcomes=outcomes).SerializeToString()
        if service.endswith(".Pods"):
            return self._statuses(pod_service_pb2.BatchPodsRequest.FromString(data).objects)
        if service.endswith(".Nodes"):
            objects = node_service_pb2.BatchNodesRequest.FromString(data).objects
            if method == "BatchCreate":
                self._nodes(objects)
            return _yes(len(objects))
        if service.endswith(".Leases"):
            return _yes(len(lease_service_pb2.BatchLeasesRequest.FromString(data).objects))
        return _yes(data.count(b"default"))  # events: nobody reads the outcomes

    def _nodes(self, objects: Sequence[node_pb2.Node]) -> None:
        batch = watch_pb2.WatchBatch(watch_id=self.watches["nodes"], resource_version=self._next())
        for node in objects:
            node.metadata.uid = f"{self.version:08d}-0000-0000-0000-{node.metadata.name[-12:]:0>12}"
            node.metadata.resource_version = self.version
            batch.events.add(type=watch_pb2.ADDED, object=node.SerializeToString())
        self.queue.put_nowait(watch_pb2.WatchServerMessage(batches=[batch]))

    def _statuses(self, objects: Sequence[pod_pb2.Pod]) -> bytes:
        message = watch_pb2.WatchServerMessage()
        version = self._next()
        for told in objects:
            watch_id, data = self.pods[told.metadata.uid]
            pod = pod_pb2.Pod.FromString(data)
            pod.status.CopyFrom(told.status)
            pod.metadata.resource_version = version
            message.batches.add(watch_id=watch_id, resource_version=version).events.add(
                type=watch_pb2.MODIFIED, object=pod.SerializeToString()
            )
        self.queue.put_nowait(message)
        return _yes(len(objects))

    def watch(self, message: watch_pb2.WatchClientMessage) -> None:
        create = message.create
        name = create.selection.field_selector or create.resource
        self.watches[name] = create.watch_id
        batch = watch_pb2.WatchBatch(
            watch_id=create.watch_id, resource_version=self.version, bookmark=True, initial_events_end=True
        )
        if create.resource == "tenantpartitions":
            for partition in self.partitions:
                there = tenancy_pb2.TenantPartition()
                there.metadata.name = partition
                there.spec.endpoints.append(partition)
                batch.events.add(type=watch_pb2.ADDED, object=there.SerializeToString())
        self.queue.put_nowait(watch_pb2.WatchServerMessage(batches=[batch]))

    def bind(self, pods: Sequence[tuple[str, pod_pb2.Pod]]) -> None:
        """As a scheduler would: (the watch's selector, the pod)."""
        message = watch_pb2.WatchServerMessage()
        for selector, pod in pods:
            pod.metadata.resource_version = self._next()
            watch_id, data = self.watches[selector], pod.SerializeToString()
            self.pods[pod.metadata.uid] = (watch_id, data)
            message.batches.add(watch_id=watch_id, resource_version=self.version).events.add(
                type=watch_pb2.ADDED, object=data
            )
        self.queue.put_nowait(message)

    def _next(self) -> int:
        self.version += 1
        return self.version


def _yes(count: int) -> bytes:
    return meta_pb2.BatchResponse(outcomes=[meta_pb2.ItemOutcome() for _ in range(count)]).SerializeToString()


class StubChannel:
    def __init__(self, stub: Stub) -> None:
        self._stub = stub

    def unary_unary(self, path: str, request_serializer: Any, response_deserializer: Any) -> Any:
        async def call(request: Any, *, timeout: float, metadata: Any) -> Any:
            await asyncio.sleep(0.001)
            return response_deserializer(self._stub.call(path, request_serializer(request)))

        return call

    unary_stream = unary_unary

    def stream_stream(self, path: str, request_serializer: Any, response_deserializer: Any) -> Any:
        return lambda: _Watch(self._stub) if path == methods.WATCH_METHOD else _Renewals()

    def get_state(self) -> grpc.ChannelConnectivity:
        return grpc.ChannelConnectivity.READY

    async def close(self) -> None:
        pass


class _Watch:
    def __init__(self, stub: Stub) -> None:
        self._stub = stub

    async def write(self, message: watch_pb2.WatchClientMessage) -> None:
        self._stub.watch(watch_pb2.WatchClientMessage.FromString(message.SerializeToString()))

    async def read(self) -> watch_pb2.WatchServerMessage:
        message = await self._stub.queue.get()
        return watch_pb2.WatchServerMessage.FromString(message.SerializeToString())

    def cancel(self) -> None:
        pass


class _Renewals:
    def __init__(self) -> None:
        self._answers: asyncio.Queue[lease_service_pb2.RenewLeasesResponse] = asyncio.Queue()

    async def write(self, message: lease_service_pb2.RenewLeasesRequest) -> None:
        message.SerializeToString()
        self._answers.put_nowait(lease_service_pb2.RenewLeasesResponse(id=message.id))

    async def read(self) -> lease_service_pb2.RenewLeasesResponse:
        return await self._answers.get()

    def cancel(self) -> None:
        pass


def connection_to(stub: Stub) -> Connection:
    connection = Connection.__new__(Connection)
    connection.name, connection.endpoints = stub.name, (stub.name,)
    connection.channel = connection.bulk = cast(grpc.aio.Channel, StubChannel(stub))
    connection.clientset = Clientset(connection.channel)
    connection.mux = WatchMux(connection.channel, SystemClock(), Rand(1), partition=stub.name)
    return connection


def resident_bytes() -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was given back is not counted
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def a_pod(number: int, node: str, tenant: str) -> pod_pb2.Pod:
    """As a scheduler leaves one: some labels, one container, default tolerations, a condition."""
    pod = pod_pb2.Pod()
    metadata, spec = pod.metadata, pod.spec
    metadata.name, metadata.namespace, metadata.tenant = f"web-{number:07d}-x7k2p", "default", tenant
    metadata.uid = f"{number:08x}-1111-4222-8333-444455556666"
    metadata.labels.update({"app": "web", "pod-template-hash": "6d4cf56db6"})
    metadata.creation_timestamp.seconds = 1_780_000_000
    metadata.owner_references.add(api_version="apps/v1", kind="ReplicaSet", name="web-6d4cf56db6", uid=metadata.uid)
    container = spec.containers.add(name="main", image="registry.example/app:1", image_pull_policy="IfNotPresent")
    container.resources.requests.update({"cpu": "100m", "memory": "128Mi"})
    spec.node_name, spec.resource_partition, spec.capacity_claimed, spec.bind_epoch = node, "rp-1", True, 1
    spec.restart_policy, spec.scheduler_name, spec.dns_policy = "Always", "default-scheduler", "ClusterFirst"
    spec.termination_grace_period_seconds = 30
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        spec.tolerations.add(key=key, operator="Exists", effect="NoExecute", toleration_seconds=300)
    pod.status.phase, pod.status.qos_class = "Pending", "Burstable"
    pod.status.conditions.add(type="PodScheduled", status="True").last_transition_time.seconds = 1_780_000_000
    return pod


def running() -> int:
    return int(metrics.RUNNING_PODS._value.get())


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - what is waited for is counted by others
        await asyncio.sleep(0.01)


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    gc.set_threshold(*app.GC_THRESHOLDS)
    tenant_partitions = [f"tp-{number}" for number in range(1, options.tenant_partitions + 1)]
    stubs = {name: Stub(name, tenant_partitions) for name in (*tenant_partitions, "rp-1")}
    capacity = {"cpu": "64", "memory": "256Gi", "pods": "500"}
    pool = Pool("rp-1", ("rp-1",), nodes=options.nodes, name_prefix="hollow-rp-1-", capacity=capacity, zones=("a", "b"))
    empty = resident_bytes()
    host = Host(
        KubeletConfig(name="hollow-1", pools=(pool,)),
        SystemClock(),
        Rand(1),
        connect=lambda name, _: connection_to(stubs[name]),
    )
    task = asyncio.get_running_loop().create_task(host.run())
    began_s, cpu_s = time.monotonic(), time.process_time()
    await until(lambda: all(host.ready().values()))
    result: dict[str, Any] = {"nodes": options.nodes, "tenant_partitions": options.tenant_partitions}
    result["nodes_ready_s"] = round(time.monotonic() - began_s, 2)
    result["us_per_node"] = round((time.process_time() - cpu_s) / options.nodes * 1e6, 1)
    await asyncio.sleep(1.0)
    with_nodes = resident_bytes()
    result["bytes_per_node"] = round((with_nodes - empty) / options.nodes)
    cpu_s, began_s = time.process_time(), time.monotonic()
    await asyncio.sleep(options.idle_seconds)
    idle_cores = (time.process_time() - cpu_s) / (time.monotonic() - began_s)
    result["idle_cores_per_10000_nodes"] = round(idle_cores / options.nodes * 10_000, 4)

    profile = cProfile.Profile() if options.profile else None
    before = resident_bytes()
    names, tenants = pool.names, [f"tenant-of-{name}" for name in tenant_partitions]
    made = [
        a_pod(number, names[number % options.nodes], tenants[number // EVENTS_PER_MESSAGE % len(tenants)])
        for number in range(options.pods)
    ]
    cpu_s, began_s = time.process_time(), time.monotonic()
    if profile is not None:
        profile.enable()
    for start in range(0, options.pods, EVENTS_PER_MESSAGE):
        wanted = [
            (f"spec.nodeName={pod.spec.node_name},spec.resourcePartition=rp-1", pod)
            for pod in made[start : start + EVENTS_PER_MESSAGE]
        ]
        stubs[tenant_partitions[start // EVENTS_PER_MESSAGE % len(tenant_partitions)]].bind(wanted)
        if start % (16 * EVENTS_PER_MESSAGE) == 0:
            await until(lambda start=start: running() >= start - 8 * EVENTS_PER_MESSAGE)  # type: ignore[misc]
    await until(lambda: running() >= options.pods)
    if profile is not None:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(35)
    result["us_per_pod"] = round((time.process_time() - cpu_s) / options.pods * 1e6, 1)
    result["pods_per_second"] = round(options.pods / (time.monotonic() - began_s))
    await asyncio.sleep(2.0)
    # What the stand-ins keep is not the host's.
    made.clear()
    for stub in stubs.values():
        stub.pods.clear()
    result["bytes_per_pod"] = round((resident_bytes() - before) / options.pods)
    result["pods"] = options.pods
    result["resident_mb"] = round(resident_bytes() / 1e6)
    task.cancel()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--pods", type=int, default=50_000)
    parser.add_argument("--tenant-partitions", type=int, default=2)
    parser.add_argument("--idle-seconds", type=float, default=10.0)
    parser.add_argument("--profile", action="store_true", help="print where the time of the pod starts goes")
    options = parser.parse_args()
    assert PODS.resource == "pods"
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(options)), indent=2))


if __name__ == "__main__":
    main()
