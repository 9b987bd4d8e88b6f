"""Density: start P pods on N hollow nodes of a multi-partition cluster and time each one's way to Running.

Pods are created by parallel unary creators (``create_batch`` 1, as kube-scheduler's own scheduler_perf does) or in
batches, spread evenly over one tenant per tenant partition. The clock of every stage is the driver's: a stage is over
when the driver's own watch shows it. A run is valid only if every acknowledged pod was seen Running, on a node that
exists, bound once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass, field

import numpy as np

from services.api.pb.ursa.core.v1 import pod_pb2
from services.api.pb.ursa.tenancy.v1 import tenancy_pb2
from services.base.tasks import Supervisor
from services.bench import cluster
from services.bench.report import Figure, Report, latency_figures
from services.client.clientset import Clientset
from services.rpc.channel import make_channel

NAMESPACE = "default"
WATCH_EVENT_DELETED = 3

# Kubernetes' pod start-up SLO: 99 % of pods Running within 5 s of their creation, image pulls aside.
POD_STARTUP_SLO_MS = 5000.0


@dataclass(frozen=True)
class DensityParameters:
    """``nodes``: in all, spread evenly over the resource partitions. ``pods_per_second`` 0: as fast as they go."""

    nodes: int = 200
    pods: int = 1000
    tenant_partitions: int = 2
    resource_partitions: int = 2
    creators: int = 30
    create_batch: int = 1
    pods_per_second: float = 0.0
    start_delay_ms: int = 0
    timeout_seconds: float = 120.0


@dataclass
class PodTimes:
    """When the driver saw what of one pod, in seconds of its monotonic clock; NaN until then."""

    started: float = float("nan")
    created: float = float("nan")
    scheduled: float = float("nan")
    running: float = float("nan")
    homes: set[tuple[str, str]] = field(default_factory=set)


class Timeline:
    """Every pod's times, by (tenant, name), filled by creators and watchers; knows when all pods run."""

    def __init__(self, pods: int) -> None:
        self._wanted = pods
        self._running = 0
        self.pods: dict[tuple[str, str], PodTimes] = {}
        self.all_running = asyncio.Event()
        self.violations: list[str] = []

    @property
    def running(self) -> int:
        return self._running

    def of(self, tenant: str, name: str) -> PodTimes:
        return self.pods.setdefault((tenant, name), PodTimes())

    def observe(self, pod: pod_pb2.Pod, event_type: int, now: float) -> None:
        """Take one watch event. A pod that vanishes or moves is a violation."""
        identity = f"{pod.metadata.tenant}/{pod.metadata.name}"
        if event_type == WATCH_EVENT_DELETED:
            self.violations.append(f"{identity} was deleted")
            return
        times = self.of(pod.metadata.tenant, pod.metadata.name)
        if pod.spec.node_name:
            times.homes.add((pod.spec.resource_partition, pod.spec.node_name))
            if len(times.homes) > 1:
                self.violations.append(f"{identity} was bound twice: {sorted(times.homes)}")
            if np.isnan(times.scheduled):
                times.scheduled = now
        if pod.status.phase == "Running" and np.isnan(times.running):
            times.running = now
            self._running += 1
            if self._running >= self._wanted:
                self.all_running.set()
        elif pod.status.phase == "Failed":
            self.violations.append(f"{identity} failed: {pod.status.reason} {pod.status.message}")
            self.all_running.set()

    def column(self, stage: str) -> np.ndarray:
        """The times of one stage of all pods, float64 seconds."""
        return np.array([getattr(times, stage) for times in self.pods.values()], dtype=np.float64)


Progress = Callable[[str], None]


async def run(parameters: DensityParameters, progress: Progress) -> Report:
    """Start a cluster, run the workload, report. Raises ``cluster.ClusterFailed``, ``StatusError``."""
    options = [
        f"--tenant-partitions={parameters.tenant_partitions}",
        f"--resource-partitions={parameters.resource_partitions}",
        f"--nodes={parameters.nodes // parameters.resource_partitions}",
        f"--start-delay-ms={parameters.start_delay_ms}",
    ]
    progress(
        f"starting {parameters.tenant_partitions} TP / {parameters.resource_partitions} RP, {parameters.nodes} nodes"
    )
    async with cluster.running(options) as started:
        timeline = Timeline(parameters.pods)
        async with clients(started) as by_tenant, Supervisor() as tasks:
            await place_tenants(by_tenant)
            synced = [asyncio.Event() for _ in by_tenant]
            for (tenant, client), ready in zip(by_tenant.items(), synced, strict=True):
                tasks.start(watch(client, tenant, timeline, ready), name=f"watch-{tenant}")
            for ready in synced:
                await ready.wait()
            reporter = tasks.start(report_progress(timeline, parameters.pods, progress), name="progress")
            await load(by_tenant, parameters, timeline)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(parameters.timeout_seconds):
                    await timeline.all_running.wait()
            reporter.cancel()
            nodes = await node_names(started)
        return evaluate(parameters, timeline, nodes, str(started.status.get("etcd_version", "")))


@contextlib.asynccontextmanager
async def clients(started: cluster.BenchCluster) -> AsyncIterator[dict[str, Clientset]]:
    """One tenant per tenant partition, named after it, each with a client of its partition."""
    async with contextlib.AsyncExitStack() as stack:
        by_tenant: dict[str, Clientset] = {}
        for partition, endpoint in started.endpoints("tenant").items():
            channel = await stack.enter_async_context(make_channel([endpoint]))
            bulk = await stack.enter_async_context(make_channel([endpoint]))
            by_tenant[f"bench-{partition}"] = Clientset(channel, bulk=bulk)
        yield by_tenant


async def place_tenants(by_tenant: dict[str, Clientset]) -> None:
    for tenant, client in by_tenant.items():
        request = tenancy_pb2.Tenant()
        request.metadata.name = tenant
        await client.tenants.create(request)


async def watch(client: Clientset, tenant: str, timeline: Timeline, ready: asyncio.Event) -> None:
    async for batch in client.pods.watch(tenant=tenant, namespace=NAMESPACE, send_initial_events=True, bookmarks=True):
        now = time.perf_counter()
        for event in batch.events:
            timeline.observe(event.object, event.type, now)
        if batch.initial_events_end:
            ready.set()


async def load(by_tenant: dict[str, Clientset], parameters: DensityParameters, timeline: Timeline) -> None:
    """Create all pods: ``creators`` workers, each taking the next batch when it is due and its last is acknowledged."""
    tenants = list(by_tenant)
    begin = time.perf_counter()

    def schedule() -> Iterator[tuple[float, str, list[int]]]:
        for number, first in enumerate(range(0, parameters.pods, parameters.create_batch)):
            indices = list(range(first, min(first + parameters.create_batch, parameters.pods)))
            due = begin + first / parameters.pods_per_second if parameters.pods_per_second else begin
            yield due, tenants[number % len(tenants)], indices

    work = schedule()

    async def creator() -> None:
        for due, tenant, indices in work:
            pause = due - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            await create(by_tenant[tenant], tenant, indices, timeline)

    async with asyncio.TaskGroup() as group:
        for _ in range(parameters.creators):
            group.create_task(creator())


async def create(client: Clientset, tenant: str, indices: list[int], timeline: Timeline) -> None:
    pods = [make_pod(tenant, index) for index in indices]
    entries = [timeline.of(tenant, pod.metadata.name) for pod in pods]
    now = time.perf_counter()
    for entry in entries:
        entry.started = now
    if len(pods) == 1:
        await client.pods.create(pods[0])
    else:
        for outcome in await client.pods.batch_create(pods):
            if outcome.status is not None:
                raise outcome.status
    now = time.perf_counter()
    for entry in entries:
        entry.created = now


def make_pod(tenant: str, index: int) -> pod_pb2.Pod:
    """Upstream's pod-default template: one pause container that requests 100m CPU and 500Mi."""
    pod = pod_pb2.Pod()
    pod.metadata.tenant, pod.metadata.namespace, pod.metadata.name = tenant, NAMESPACE, f"density-{index:07d}"
    container = pod.spec.containers.add(name="pause", image="registry.k8s.io/pause:3.10")
    container.ports.add(container_port=80)
    for quantities in (container.resources.requests, container.resources.limits):
        quantities["cpu"], quantities["memory"] = "100m", "500Mi"
    return pod


async def report_progress(timeline: Timeline, pods: int, progress: Progress) -> None:
    while True:
        await asyncio.sleep(1.0)
        progress(f"{timeline.running}/{pods} pods Running")


async def node_names(started: cluster.BenchCluster) -> set[tuple[str, str]]:
    names: set[tuple[str, str]] = set()
    for partition, endpoint in started.endpoints("resource").items():
        async with make_channel([endpoint]) as channel:
            listing = await Clientset(channel).nodes.list()
            names |= {(partition, node.metadata.name) for node in listing.items}
    return names


def evaluate(
    parameters: DensityParameters, timeline: Timeline, nodes: set[tuple[str, str]], etcd_version: str
) -> Report:
    """Figures from the timeline, and whether they count."""
    report = Report("density", asdict(parameters), machine={"etcd": etcd_version} if etcd_version else {})
    homes = {home for times in timeline.pods.values() for home in times.homes}
    started, created = timeline.column("started"), timeline.column("created")
    scheduled, running = timeline.column("scheduled"), timeline.column("running")
    problems = list(timeline.violations[:3])
    if missing := int(np.isnan(running).sum()) + parameters.pods - len(timeline.pods):
        problems.append(f"{missing} pods were not Running within {parameters.timeout_seconds} s")
    if homes - nodes:
        problems.append(f"pods on nodes that do not exist: {sorted(homes - nodes)[:3]}")
    report.invalid = "; ".join(problems)
    if report.invalid:
        return report
    total = float(running.max() - started.min())
    startup = latency_figures("pod_startup", running - started)
    startup["pod_startup_p99"] = Figure(
        startup["pod_startup_p99"].value, "ms", POD_STARTUP_SLO_MS, "Kubernetes' pod start-up SLO"
    )
    report.figures = {
        "all_running": Figure(total, "s"),
        "pods_running_per_second": Figure(parameters.pods / total, "pods/s"),
        "creates_per_second": Figure(parameters.pods / float(created.max() - started.min()), "pods/s"),
        **startup,
        **latency_figures("create_acknowledged", created - started),
        # The watch may show a binding before the creator's own answer has been read; such a stage took no time.
        **latency_figures("created_to_scheduled", np.maximum(scheduled - created, 0.0)),
        **latency_figures("scheduled_to_running", running - scheduled),
        "nodes_used": Figure(float(len(homes)), "nodes"),
    }
    return report
