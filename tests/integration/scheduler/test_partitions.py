"""Resource partitions that come, go, fall silent and come back while a scheduler runs: real processes, real etcds."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from tests.support.etcd import find_binary
from tests.support.kubelet_processes import HOST, eventually
from tests.support.scheduler_processes import Schedulers, schedulers

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(find_binary() is None, reason="no etcd on PATH"),
]

BASE_PORT = 28340
START_WAIT_S = 2.0


async def until_metric(made: Schedulers, metric: str, partition: str, value: float) -> None:
    async def holds() -> bool:
        return await asyncio.to_thread(lambda: made.metric("tp-1", metric, resource_partition=partition)) == value

    await eventually(holds, what=f"{metric} of {partition} at {value}")


async def where(made: Schedulers, name: str) -> str:
    """The resource partition of a bound pod; "": it is not bound."""
    found: Pod = await made.connections["tp-1"].clientset.pods.get(name, tenant="tenant-tp-1", namespace="default")
    return found.spec.resource_partition


async def until_at(made: Schedulers, name: str, partition: str) -> None:
    async def holds() -> bool:
        return await where(made, name) == partition

    await eventually(holds, what=f"pod {name} on {partition}")


async def test_partitions_come_and_go_and_fall_silent_and_the_others_go_on(tmp_path: pathlib.Path) -> None:
    async with schedulers(tmp_path, BASE_PORT, 1, 2, unannounced=("rp-2",)) as made:
        await made.add_nodes(2, "rp-1", cpu="4")
        await made.add_nodes(2, "rp-2", cpu="16")
        # Nobody listens there.
        await made.announce("rp-9", [f"{HOST}:{BASE_PORT + 39}"])
        await made.add_pods("tp-1", ["first"], cpu="1")
        await made.start_scheduler("tp-1", start_wait_s=START_WAIT_S, stale_after_s=1.0)
        scheduler = made.processes["scheduler-tp-1"]
        assert scheduler.process is not None
        pid = scheduler.process.pid
        await until_at(made, "first", "rp-1")
        assert [line["partitions"] for line in scheduler.lines("starting without resource partitions")] == [["rp-9"]]

        # One is added: the pods that only it has room for are placed.
        await made.add_pods("tp-1", ["big"], cpu="8")
        await made.announce("rp-2")
        await until_at(made, "big", "rp-2")

        # It falls silent: soon its nodes are no candidates, its pods stay, and the rest goes on.
        await made.processes["rp-2"].kill()
        await until_metric(made, "ursa_scheduler_resource_partition_stale", "rp-2", 1.0)
        await made.add_pods("tp-1", ["waits"], cpu="8")
        await made.add_pods("tp-1", [f"small-{n}" for n in range(6)], cpu="500m")
        for number in range(6):
            await until_at(made, f"small-{number}", "rp-1")
        assert (await where(made, "big"), await where(made, "waits")) == ("rp-2", "")

        # It comes back, and is used by the same process.
        await made.processes["rp-2"].start()
        await until_metric(made, "ursa_scheduler_resource_partition_stale", "rp-2", 0.0)
        await until_at(made, "waits", "rp-2")
        assert scheduler.process.pid == pid and scheduler.process.returncode is None
        await made.assert_sound(await made.pods())

        # It is removed: no more candidates, and its pods stay.
        await made.connections["tp-1"].clientset.resource_partitions.delete("rp-2")
        await until_metric(made, "ursa_scheduler_nodes", "rp-2", 0.0)
        await made.add_pods("tp-1", ["too-big"], cpu="8")

        async def refused() -> bool:
            pods = made.connections["tp-1"].clientset.pods
            found = await pods.get("too-big", tenant="tenant-tp-1", namespace="default")
            return [c.message for c in found.status.conditions] == ["0/2 nodes are available: 2 Insufficient cpu."]

        await eventually(refused, what="the pod that has no room without the removed partition")
        assert await where(made, "big") == "rp-2"


async def test_one_dead_partition_delays_the_start_no_longer_than_it_may(tmp_path: pathlib.Path) -> None:
    async with schedulers(tmp_path, BASE_PORT + 40, 1) as made:
        await made.add_nodes(1, cpu="4")
        await made.announce("rp-9", [f"{HOST}:{BASE_PORT + 79}"])
        await made.add_pods("tp-1", ["first"], cpu="1")
        began = asyncio.get_running_loop().time()
        await made.start_scheduler("tp-1", start_wait_s=START_WAIT_S)
        scheduler = made.processes["scheduler-tp-1"]

        async def waits() -> bool:
            return bool(scheduler.lines("starting without resource partitions"))

        await eventually(waits, what="the start without rp-9")
        took = asyncio.get_running_loop().time() - began
        assert took >= START_WAIT_S, "the others were not waited for"
        await until_at(made, "first", "rp-1")
