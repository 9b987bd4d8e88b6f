"""List: a hundred thousand pods listed once and eight times at once, what they weigh, and a restart under them.

Every list must hold every pod that was created, or the run does not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from services.bench import crew, http2, partition, trial, usage, workload
from services.bench.report import Figure, Report
from services.bench.trial import Progress
from services.bench.worker import LISTS
from services.bench.workload import Wrong
from services.client.clientset import Clientset
from services.rpc.channel import make_channel

PEER = "kube-apiserver 1.32, 2 cores, 100,000 pods of 1.35 kB"
PEER_OBJECTS_PER_SECOND = 31_000.0
PEER_OBJECTS_PER_SECOND_AT_ONCE = 57_000.0
PEER_MEMORY_MB = 2_980.0
PEER_GROWTH_MB = 1_340.0

_BATCH = 500
_MEGABYTE = 1e6


@dataclass(frozen=True)
class ListParameters:
    """``lists``: single lists in a row, of which the median counts. ``at_once``: how many stream together, ``rounds``
    times. ``restarts``: how often the server is killed and started again."""

    pods: int = 100_000
    pod_bytes: int = 1300
    lists: int = 7
    at_once: int = 8
    rounds: int = 3
    restarts: int = 3

    def quick(self) -> ListParameters:
        return ListParameters(pods=30_000, lists=3, rounds=2, restarts=1)


async def run(parameters: ListParameters, progress: Progress) -> Report:
    """Start a partition, fill it, run every phase, report. Raises ``cluster.ClusterFailed``."""
    async with trial.started("list", parameters, progress) as started:
        bench = Bench(parameters, started)
        await started.run(bench.fill, bench.one_by_one, bench.at_once, bench.restart, bench.check)
    return started.report


class Bench:
    """The phases. Each returns figures, or raises ``Wrong``."""

    def __init__(self, parameters: ListParameters, started: trial.Trial) -> None:
        self._parameters = parameters
        self._partition = started.partition
        self._progress = started.progress
        self._meter = started.meter
        self._pods = workload.Pods("")
        self._listed = 0

    async def fill(self) -> dict[str, Figure]:
        count = self._parameters.pods
        self._progress(f"creating {count} pods")
        empty = usage.resident_bytes(self._partition.server_pid)
        connection = await http2.connect(self._partition.endpoint)
        sized = await workload.sized(connection, "list", self._parameters.pod_bytes)
        self._pods = workload.Pods("list", sized.padding)
        # The pod that the size was found with is listed too.
        self._listed = count + 1

        def requests() -> Iterator[bytes]:
            for indices in workload.chunks(count, _BATCH):
                yield self._pods.batch(indices)

        done = await workload.batch_creates(connection, requests())
        await workload.current_revision(connection)
        connection.close()
        full = usage.resident_bytes(self._partition.server_pid)
        return {
            "server_memory": Figure(full / _MEGABYTE, "MB", PEER_MEMORY_MB, PEER),
            "server_memory_empty": Figure(empty / _MEGABYTE, "MB"),
            "etcd_memory": Figure(usage.resident_bytes(self._partition.etcd_pid) / _MEGABYTE, "MB"),
            "fill_creates_per_second": Figure(done.per_second, "pods/s"),
        }

    async def one_by_one(self) -> dict[str, Figure]:
        async with self._client() as client:
            await self._list(client, 1, any_age=True)
            rates: dict[bool, list[float]] = {True: [], False: []}
            meter = self._meter(client.pid)
            for number in range(self._parameters.lists):
                for any_age in (True, False):
                    rates[any_age].append(await self._list(client, 1, any_age=any_age))
                self._progress(f"list {number + 1}: {rates[True][-1]:,.0f} objects/s")
            used = meter.stop()
        return {
            "list_objects_per_second": Figure(_median(rates[True]), "objects/s", PEER_OBJECTS_PER_SECOND, PEER),
            "list_consistent_objects_per_second": Figure(_median(rates[False]), "objects/s", 35_500.0, PEER),
            **used.figures("list"),
        }

    async def at_once(self) -> dict[str, Figure]:
        count = self._parameters.at_once
        rates: list[float] = []
        growth = 0
        async with self._client() as client:
            meter = self._meter(client.pid)
            for _ in range(self._parameters.rounds):
                before = usage.resident_bytes(self._partition.server_pid)
                over = asyncio.Event()
                async with asyncio.TaskGroup() as group:
                    peak = group.create_task(usage.peak_resident_bytes(self._partition.server_pid, over))
                    rates.append(await self._list(client, count, any_age=True))
                    over.set()
                growth = max(growth, peak.result() - before)
                self._progress(f"{count} lists at once: {rates[-1]:,.0f} objects/s")
            used = meter.stop()
        return {
            "lists_at_once_objects_per_second": Figure(
                _median(rates), "objects/s", PEER_OBJECTS_PER_SECOND_AT_ONCE, PEER
            ),
            "lists_at_once_memory_growth": Figure(growth / _MEGABYTE, "MB", PEER_GROWTH_MB, PEER),
            **used.figures("lists_at_once"),
        }

    async def restart(self) -> dict[str, Figure]:
        from_start, from_kill = [], []
        for number in range(self._parameters.restarts):
            killed = time.perf_counter()
            await self._partition.kill_server()
            from_start.append(await self._partition.start_server())
            from_kill.append(time.perf_counter() - killed)
            self._progress(f"restart {number + 1}: ready after {from_start[-1]:.2f} s")
        memory = usage.resident_bytes(self._partition.server_pid)
        async with self._client() as client:
            await self._list(client, 1, any_age=True)
        return {
            "cache_ready": Figure(_median(from_start), "s"),
            "cache_ready_from_kill": Figure(_median(from_kill), "s"),
            "server_memory_after_restart": Figure(memory / _MEGABYTE, "MB"),
        }

    async def check(self) -> dict[str, Figure]:
        """Raises ``Wrong`` unless a client that decodes finds exactly the names that were created."""
        self._progress("checking every name")
        async with make_channel([self._partition.endpoint]) as channel:
            listing = await Clientset(channel).pods.list(tenant=partition.TENANT, namespace=partition.NAMESPACE)
        names = {pod.metadata.name for pod in listing.items}
        missing = {self._pods.name(index) for index in range(self._parameters.pods)} - names
        if missing or len(listing.items) != self._listed:
            raise Wrong(f"{len(listing.items)} of {self._listed} pods listed, missing {sorted(missing)[:3]}")
        return {"objects_checked": Figure(float(self._parameters.pods), "objects")}

    # -- inside

    def _client(self) -> contextlib.AbstractAsyncContextManager[crew.Worker]:
        load = {
            "mode": LISTS,
            "endpoint": self._partition.endpoint,
            "tenant": partition.TENANT,
            "namespace": partition.NAMESPACE,
        }
        return crew.worker(load, self._partition.home)

    async def _list(self, client: crew.Worker, lists: int, *, any_age: bool) -> float:
        """Objects per second of all lists together. Raises ``Wrong`` for an incomplete one."""
        seen = await client.ask(lists=lists, any_age=any_age)
        check(seen["items"], self._listed, complete=seen["complete"], ends=seen["ends"])
        rate: float = sum(seen["items"]) / seen["seconds"]
        return rate


def check(items: list[int], expected: int, *, complete: bool, ends: list[str]) -> None:
    """Raises ``Wrong`` unless every list has ``expected`` items and its metadata."""
    if not complete or any(count != expected for count in items):
        raise Wrong(f"lists of {expected} pods had {sorted(set(items))} items: {sorted(set(ends))[:3]}")


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
