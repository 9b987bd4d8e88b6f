"""Storage: how fast writes are acknowledged, beside what the transport and etcd alone can do for the same client.

Every acknowledged pod must be listed afterwards, or the run does not count.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

from services.bench import http2, partition, processes, trial, usage, workload
from services.bench.report import Figure, Report, latency_figures
from services.bench.trial import Progress
from services.bench.workload import Wrong
from services.client.clientset import Clientset
from services.rpc.channel import make_channel
from services.storage.etcd import EtcdConfig
from services.storage.etcd.channel import make_channel as make_etcd_channel

PEER = "kube-apiserver 1.32, 2 cores, client in Go, 64 in flight"
PEER_CREATES_PER_SECOND = 989.0
PEER_CREATE_MS = {"p50": 57.0, "p99": 158.0}


@dataclass(frozen=True)
class StorageParameters:
    """``creates``, ``batch_creates``, ``puts``, ``echoes``: how many of each; the last two are references.

    ``batches_in_flight``: BatchCreates of ``batch_size`` pods under way at a time.
    """

    creates: int = 20_000
    in_flight: int = 64
    pod_bytes: int = 600
    batch_creates: int = 60_000
    batch_size: int = 500
    batches_in_flight: int = 2
    puts: int = 20_000
    echoes: int = 20_000

    def quick(self) -> StorageParameters:
        return StorageParameters(creates=6000, batch_creates=15_000, puts=8000, echoes=8000)


async def run(parameters: StorageParameters, progress: Progress) -> Report:
    """Start a partition, run every phase, report. Raises ``cluster.ClusterFailed``."""
    async with trial.started("storage", parameters, progress) as started:
        bench = Bench(parameters, started, await http2.connect(started.partition.endpoint))
        await bench.prepare()
        await started.run(
            bench.echo,
            bench.puts,
            bench.puts_by_grpc_aio,
            bench.unary_creates,
            bench.batch_creates,
            bench.check,
        )
    return started.report


class Bench:
    """The phases. Each returns figures, or raises ``Wrong``."""

    def __init__(self, parameters: StorageParameters, started: trial.Trial, connection: http2.Connection) -> None:
        self._parameters = parameters
        self._partition = started.partition
        self._connection = connection
        self._progress = started.progress
        self._meter = started.meter
        self._pods = workload.Pods("")
        self._puts_per_second = 0.0
        self._aio_puts_per_second = 0.0
        self._expected: set[str] = set()

    async def prepare(self) -> None:
        self._pods = await workload.sized(self._connection, "storage", self._parameters.pod_bytes)
        await self._warm_up()

    async def _warm_up(self) -> None:
        pods = workload.Pods("warm", self._pods.padding)
        requests = [pods.create(index) for index in range(min(1000, self._parameters.creates))]
        await workload.calls([self._connection], workload.CREATE, requests, self._parameters.in_flight)

    async def echo(self) -> dict[str, Figure]:
        """The transport's reference: a bare grpc.aio server that answers with the request."""
        self._progress(f"{self._parameters.echoes} calls of a bare grpc.aio echo server")
        endpoint, log = self._partition.echo_endpoint, self._partition.home / "echo.log"
        argv = [sys.executable, "-m", "services.bench.echo", "--listen", endpoint]
        async with processes.running(argv, log) as server:
            connection = await http2.connect_soon(endpoint)
            body = b"x" * self._parameters.pod_bytes
            requests = [body] * self._parameters.echoes
            meter = usage.Meter({"server": (server.pid,), "client": (os.getpid(),)})
            done = await workload.calls([connection], workload.ECHO, requests, self._parameters.in_flight)
            used = meter.stop()
            connection.close()
        return {"echo_calls_per_second": Figure(done.per_second, "1/s"), **used.figures("echo")}

    async def puts(self) -> dict[str, Figure]:
        """The store's reference: single puts of the same size into the same etcd, by the same client."""
        self._progress(f"{self._parameters.puts} single etcd puts")
        connection = await http2.connect(self._partition.etcd_endpoint)
        requests = workload.put_requests(self._parameters.puts, self._parameters.pod_bytes)
        meter = self._meter()
        done = await workload.calls([connection], workload.ETCD_PUT, requests, self._parameters.in_flight)
        used = meter.stop()
        connection.close()
        self._puts_per_second = done.per_second
        return {
            "etcd_puts_per_second": Figure(done.per_second, "1/s"),
            **latency_figures("etcd_put", done.latency_s()),
            **used.figures("etcd_put"),
        }

    async def puts_by_grpc_aio(self) -> dict[str, Figure]:
        """The same puts on the channel that the server itself uses: what Python's own gRPC client makes of them."""
        self._progress(f"{self._parameters.puts} single etcd puts by grpc.aio")
        requests = iter(workload.put_requests(self._parameters.puts, self._parameters.pod_bytes))
        async with make_etcd_channel((self._partition.etcd_endpoint,), EtcdConfig()) as channel:
            put: Any = channel.unary_unary(workload.ETCD_PUT)

            async def line() -> None:
                for request in requests:
                    await put(request)

            await channel.channel_ready()
            began = time.perf_counter()
            meter = self._meter()
            async with asyncio.TaskGroup() as group:
                for _ in range(self._parameters.in_flight):
                    group.create_task(line())
            self._aio_puts_per_second = self._parameters.puts / (time.perf_counter() - began)
            used = meter.stop()
        rate = Figure(self._aio_puts_per_second, "1/s")
        return {"etcd_puts_grpc_aio_per_second": rate, **used.figures("etcd_put_grpc_aio")}

    async def unary_creates(self) -> dict[str, Figure]:
        count = self._parameters.creates
        self._progress(f"{count} unary creates, {self._parameters.in_flight} in flight")
        pods = workload.Pods("unary", self._pods.padding)
        requests = [pods.create(index) for index in range(count)]
        meter = self._meter()
        done = await workload.calls([self._connection], workload.CREATE, requests, self._parameters.in_flight)
        used = meter.stop()
        self._expected |= {pods.name(index) for index in range(count)}
        figures = latency_figures("unary_create", done.latency_s())
        for share, reference in PEER_CREATE_MS.items():
            figure = figures[f"unary_create_{share}"]
            figures[f"unary_create_{share}"] = Figure(figure.value, figure.unit, reference, PEER)
        return {
            "unary_creates_per_second": Figure(done.per_second, "pods/s", PEER_CREATES_PER_SECOND, PEER),
            **figures,
            **used.figures("unary_create"),
        }

    async def batch_creates(self) -> dict[str, Figure]:
        count, size = self._parameters.batch_creates, self._parameters.batch_size
        self._progress(f"{count} creates in batches of {size}")
        pods = workload.Pods("batch", self._pods.padding)
        requests = [pods.batch(indices) for indices in workload.chunks(count, size)]
        meter = self._meter()
        done = await workload.batch_creates(self._connection, iter(requests), self._parameters.batches_in_flight)
        used = meter.stop()
        self._expected |= {pods.name(index) for index in range(count)}
        return {
            "batch_creates_per_second": Figure(
                done.per_second, "pods/s", self._puts_per_second, "single puts, same client, same etcd, same run"
            ),
            "batch_creates_to_grpc_aio_puts": Figure(done.per_second / self._aio_puts_per_second, "ratio"),
            **latency_figures("batch_create", done.latency_s()),
            **used.figures("batch_create"),
        }

    async def check(self) -> dict[str, Figure]:
        """Raises ``Wrong`` unless exactly what was acknowledged is listed."""
        self._progress("listing what was created")
        async with make_channel([self._partition.endpoint]) as channel:
            listing = await Clientset(channel).pods.list(tenant=partition.TENANT, namespace=partition.NAMESPACE)
        names = [pod.metadata.name for pod in listing.items]
        missing = self._expected - set(names)
        if missing:
            raise Wrong(f"{len(missing)} of {len(self._expected)} created pods are not listed: {sorted(missing)[:3]}")
        if len(set(names)) != len(names):
            raise Wrong("a pod is listed twice")
        return {
            "objects_checked": Figure(float(len(self._expected)), "objects"),
            "server_memory_after": Figure(usage.resident_bytes(self._partition.server_pid) / 1e6, "MB"),
        }
