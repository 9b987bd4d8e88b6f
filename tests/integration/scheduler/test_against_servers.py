"""The scheduler between real partition servers over real etcds, with hollow nodes."""

from __future__ import annotations

import pathlib
import sys
from collections import Counter

import pytest

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.client.partitions import Connection
from tests.support.client_world import pod
from tests.support.etcd import find_binary
from tests.support.kubelet_processes import HOST, Process, cluster, connection, eventually
from tests.support.tenants import make_tenant

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(find_binary() is None, reason="no etcd on PATH"),
]

BASE_PORT = 17620
NODES = 10


def scheduler(directory: pathlib.Path, endpoint: str) -> Process:
    file = directory / "scheduler.toml"
    file.write_text(
        f'name = "scheduler-tp-1"\n[tenant_partition]\nname = "tp-1"\nendpoints = ["{endpoint}"]\n'
        f'[telemetry]\nmetrics_listen = "{HOST}:{BASE_PORT + 30}"\n'
    )
    return Process("scheduler", [sys.executable, "-m", "services.scheduler", "--config", str(file)], directory)


async def pods(tp: Connection) -> list[Pod]:
    return (await tp.clientset.pods.list(tenant="acme", namespace="default")).items


def condition(found: Pod) -> tuple[str, str, str]:
    for item in found.status.conditions:
        if item.type == "PodScheduled":
            return item.status, item.reason, item.message
    return ("", "", "")


async def test_pods_are_bound_and_run_and_those_without_a_node_say_why(tmp_path: pathlib.Path) -> None:
    async with cluster(tmp_path, BASE_PORT, nodes=NODES) as made:
        made.processes["scheduler"] = scheduler(tmp_path, made.endpoint("tp-1"))
        await made.processes["scheduler"].start()
        async with connection("tp-1", made.endpoint("tp-1")) as tp:
            await make_tenant(tp.clientset, "acme")
            outcomes = await tp.clientset.pods.batch_create([pod(f"web-{n}", cpu="100m") for n in range(40)])
            assert [outcome.status for outcome in outcomes] == [None] * 40
            await tp.clientset.pods.create(pod("huge", cpu="4000"))

            async def running() -> bool:
                return sum(found.status.phase == "Running" for found in await pods(tp)) == 40

            await eventually(running, seconds=60, what="40 pods running")
            found = {item.metadata.name: item for item in await pods(tp)}
            per_node = Counter(item.spec.node_name for name, item in found.items() if name != "huge")
            assert len(per_node) == NODES and max(per_node.values()) == 4
            assert all(condition(item)[0] == "True" for name, item in found.items() if name != "huge")

            async def explained() -> bool:
                huge = next(item for item in await pods(tp) if item.metadata.name == "huge")
                return condition(huge) == (
                    "False",
                    "Unschedulable",
                    f"0/{NODES} nodes are available: {NODES} Insufficient cpu.",
                )

            await eventually(explained, what="the condition of the pod that fits nowhere")

            async def told() -> bool:
                events = (await tp.clientset.events.list(tenant="acme", namespace="default")).items
                reasons = Counter(event.reason for event in events if event.source.component == "default-scheduler")
                return reasons["Scheduled"] == 40 and reasons["FailedScheduling"] >= 1

            await eventually(told, what="events")


async def test_killed_between_plan_and_bind_every_pod_is_bound_once(tmp_path: pathlib.Path) -> None:
    async with cluster(tmp_path, BASE_PORT + 40, nodes=NODES) as made:
        process = made.processes["scheduler"] = scheduler(tmp_path, made.endpoint("tp-1"))
        await process.start()
        async with connection("tp-1", made.endpoint("tp-1")) as tp:
            await make_tenant(tp.clientset, "acme")
            for round_ in range(3):
                await tp.clientset.pods.batch_create([pod(f"web-{round_}-{n}", cpu="10m") for n in range(30)])
                await process.kill()
                await process.start()

            async def running() -> bool:
                return sum(found.status.phase == "Running" for found in await pods(tp)) == 90

            await eventually(running, seconds=60, what="90 pods running")
