"""The scheduler as a process over real gRPC: it starts, reports, survives SIGKILL, and two of them get along."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator

from services.api.kinds import NODES, PODS, RESOURCE_PARTITIONS
from services.api.pb.ursa.meta.v1.meta_pb2 import ObjectMeta
from services.api.pb.ursa.tenancy.v1.tenancy_pb2 import ResourcePartition, ResourcePartitionSpec
from tests.support.claiming import ResourcePartitionDouble
from tests.support.fake_partition import serve
from tests.support.kubelet_processes import Process
from tests.support.scheduling import TenantPartitionDouble, make_node, make_pod

TENANT_PORT, RESOURCE_PORTS, METRICS_PORTS = 17600, {"rp-1": 17601, "rp-2": 17602}, (17605, 17606)


class World:
    """Fake partitions on real ports."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.tenant = TenantPartitionDouble("tp-1")
        self.resource = {name: ResourcePartitionDouble(name) for name in RESOURCE_PORTS}
        for name, port in RESOURCE_PORTS.items():
            spec = ResourcePartitionSpec(endpoints=[f"127.0.0.1:{port}"])
            self.tenant.put(RESOURCE_PARTITIONS, ResourcePartition(metadata=ObjectMeta(name=name), spec=spec))

    def scheduler(self, number: int = 0) -> Process:
        name = f"scheduler-{number}"
        file = self.directory / f"{name}.toml"
        file.write_text(f'''name = "{name}"
seed = {number}
[tenant_partition]
name = "tp-1"
endpoints = ["127.0.0.1:{TENANT_PORT}"]
[telemetry]
metrics_listen = "127.0.0.1:{METRICS_PORTS[number]}"
[scheduling]
start_wait_s = 1.0
''')
        return Process(name, [sys.executable, "-m", "services.scheduler", "--config", str(file)], self.directory)

    def add(self, first: int, last: int) -> None:
        for number in range(first, last):
            self.tenant.put(PODS, make_pod(f"p{number}", cpu="100m"))

    async def until_bound(self, pods: int, seconds: float = 30.0) -> None:
        async with asyncio.timeout(seconds):
            while len(self.tenant.placements()) < pods:  # noqa: ASYNC110 - what changes it is another process
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def world(directory: pathlib.Path, *schedulers: int) -> AsyncIterator[tuple[World, list[Process]]]:
    made = World(directory)
    for name, partition in made.resource.items():
        for number in range(5):
            partition.put(NODES, make_node(f"{name}-node-{number}", cpu="32"))
    processes = [made.scheduler(number) for number in schedulers]
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(serve(made.tenant, TENANT_PORT))
        for name, partition in made.resource.items():
            await stack.enter_async_context(serve(partition, RESOURCE_PORTS[name]))
        try:
            for process in processes:
                await process.start()
            yield made, processes
        finally:
            for process in processes:
                await process.kill()


def fetch(path: str, port: int = METRICS_PORTS[0]) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


async def test_it_schedules_on_both_partitions_and_reports(tmp_path: pathlib.Path) -> None:
    async with world(tmp_path, 0) as (made, _):
        made.add(0, 40)
        await made.until_bound(40)
        assert Counter(partition for partition, _ in made.tenant.placements().values()) == {"rp-1": 20, "rp-2": 20}
        ready = json.loads(await asyncio.to_thread(fetch, "/readyz"))
        assert ready == {"tenant-partition": True, "started": True}
        metrics = ""
        # Bound is what the partition says; the scheduler counts when it has the answer.
        async with asyncio.timeout(20):
            while 'attempts_total{profile="default-scheduler",result="scheduled"} 40.0' not in metrics:
                metrics = await asyncio.to_thread(fetch, "/metrics")
        assert 'scheduler_pending_pods{queue="active"}' in metrics
        assert "scheduler_scheduling_attempt_duration_seconds_count" in metrics


async def test_killed_while_pods_are_created_it_goes_on_where_it_was(tmp_path: pathlib.Path) -> None:
    async with world(tmp_path, 0) as (made, [process]):
        made.add(0, 30)
        await made.until_bound(1)
        await process.kill()
        made.add(30, 60)
        await process.start()
        await made.until_bound(60)
        assert max(Counter(uid for uid, _, _ in made.tenant.bindings).values()) == 1


async def test_two_at_once_bind_every_pod_once(tmp_path: pathlib.Path) -> None:
    async with world(tmp_path, 0, 1) as (made, _):
        for batch in range(10):
            made.add(batch * 20, batch * 20 + 20)
            await asyncio.sleep(0.02)
        await made.until_bound(200)
        assert len(made.tenant.bindings) == 200


async def test_a_wrong_configuration_is_named(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('name = "s"\n[tenant_partition]\nname = "tp-1"\nendpoints = []\n[scheduling]\nstart_wait = 1\n')
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.scheduler", "--config", str(file), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"unknown field $.scheduling.start_wait" in errors
