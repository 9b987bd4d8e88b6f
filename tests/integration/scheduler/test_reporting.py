"""What a scheduler process says of its work: conditions and events on real servers, by profile; a plug-in of others."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from services.api.pb.ursa.core.v1.event_pb2 import Event
from services.api.pb.ursa.core.v1.pod_pb2 import Pod, PodSchedulingGate
from tests.support.etcd import find_binary
from tests.support.kubelet_processes import eventually
from tests.support.scheduler_processes import Schedulers, schedulers

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(find_binary() is None, reason="no etcd on PATH"),
]

BASE_PORT = 28600
TENANT = "tenant-tp-1"

PLUGIN = """
from collections import Counter

from services.scheduler.core.plugin import Cluster, NodeFilter


class OnlyNode(NodeFilter):
    name = "OnlyNode"
    helped_by = Cluster.NODE_ADDED

    def __init__(self, node):
        self.node = node

    def mask(self, pods, nodes):
        return nodes.named(self.node)

    def reasons(self, pods, nodes, rows):
        return Counter({"node(s) are not the one": len(rows)})


def make(args):
    return OnlyNode(args["node"])
"""

PROFILES = """
[[profiles]]
scheduler_name = "default-scheduler"

[[profiles]]
scheduler_name = "choosy"
plugins.multi_point.enabled = [{ name = "OnlyNode" }]

[[profiles.plugin_config]]
name = "OnlyNode"
args.node = "node-002"
"""


def install(directory: pathlib.Path) -> pathlib.Path:
    """A distribution with the plug-in, as an installer leaves it."""
    directory.mkdir()
    (directory / "only_node.py").write_text(PLUGIN)
    facts = directory / "only_node-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: only-node\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[ursa.scheduler.plugins]\nOnlyNode = only_node:make\n")
    return directory


async def get(made: Schedulers, name: str) -> Pod:
    return await made.connections["tp-1"].clientset.pods.get(name, tenant=TENANT, namespace="default")


async def until_told(made: Schedulers, name: str, reason: str, message: str) -> None:
    async def holds() -> bool:
        conditions = [(c.status, c.reason, c.message) for c in (await get(made, name)).status.conditions]
        return conditions == [("False", reason, message)]

    await eventually(holds, what=f"the condition of {name}")


async def events(made: Schedulers, name: str) -> list[Event]:
    found = await made.connections["tp-1"].clientset.events.list(tenant=TENANT, namespace="default")
    return [event for event in found.items if event.involved_object.name == name]


async def test_profiles_plug_ins_gates_and_reasons_in_a_real_process(tmp_path: pathlib.Path) -> None:
    async with schedulers(tmp_path, BASE_PORT, 1) as made:
        await made.add_nodes(3, cpu="2")
        await made.start_scheduler(
            "tp-1", PROFILES, install(tmp_path / "plugins"), backoff_initial_s=0.1, unschedulable_retry_s=0.5
        )
        # Of several profiles each places its own pods; one of them by a plug-in of somebody else's.
        await made.add_pods("tp-1", ["chosen"], cpu="1", scheduler_name="choosy")
        await made.add_pods("tp-1", ["plain"], cpu="1")
        await made.add_pods("tp-1", ["foreign"], cpu="1", scheduler_name="nobody")
        await made.until_bound(2)
        assert (await get(made, "chosen")).spec.node_name == "node-002"
        # Why a pod waits: the same words in its condition and in one event that counts.
        await made.add_pods("tp-1", ["refused"], cpu="2", scheduler_name="choosy")
        await until_told(
            made,
            "refused",
            "Unschedulable",
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) are not the one.",
        )

        async def counted() -> bool:
            return [event.reason for event in await events(made, "refused") if event.count >= 3] == ["FailedScheduling"]

        await eventually(counted, what="an event that counts")
        (failed,) = await events(made, "refused")
        assert failed.type == "Warning" and failed.message == (await get(made, "refused")).status.conditions[0].message
        # A gated pod says so, and goes as its gates do.
        await made.add_pods(
            "tp-1", ["gated"], cpu="500m", scheduling_gates=[PodSchedulingGate(name="example.com/wait")]
        )
        await until_told(made, "gated", "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")
        gated = await get(made, "gated")
        gated.spec.ClearField("scheduling_gates")
        await made.connections["tp-1"].clientset.pods.update(gated)
        pods = await made.until_bound(3)
        assert {pod.metadata.name for pod in pods if pod.spec.node_name} == {"chosen", "plain", "gated"}

        # Events and metrics are in the name of the pod's own profile.
        async def told() -> bool:
            found = [event for name in ("chosen", "plain", "refused") for event in await events(made, name)]
            return sorted((e.involved_object.name, e.reason, e.source.component) for e in found) == [
                ("chosen", "Scheduled", "choosy"),
                ("plain", "Scheduled", "default-scheduler"),
                ("refused", "FailedScheduling", "choosy"),
            ]

        await eventually(told, what="events by profile")
        attempts = "scheduler_schedule_attempts_total"
        scheduled = {
            name: await asyncio.to_thread(
                lambda name=name: made.metric("tp-1", attempts, profile=name, result="scheduled")  # type: ignore[misc]
            )
            for name in ("default-scheduler", "choosy", "nobody")
        }
        assert scheduled == {"default-scheduler": 2.0, "choosy": 1.0, "nobody": 0.0}
