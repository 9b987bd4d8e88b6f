"""Schedulers of two tenant partitions on the same machines, killed ones, lost answers: real processes, real etcds."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from tests.support.etcd import find_binary
from tests.support.kubelet_processes import eventually
from tests.support.scheduler_processes import schedulers
from tests.support.tcp_proxy import TcpProxy

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(find_binary() is None, reason="no etcd on PATH"),
]

BASE_PORT = 28100
NODES = 60
# More than an acknowledgement of the transport: frames with answers in them.
ANSWERS_BYTES = 200


async def test_two_tenant_partitions_race_for_the_last_room_and_exactly_fill_it(tmp_path: pathlib.Path) -> None:
    async with schedulers(tmp_path, BASE_PORT) as made:
        await made.add_nodes(NODES, cpu="4")
        await made.start_schedulers()
        # Nearly full: one and a half pods' room is left on each node.
        await made.add_pods("tp-1", [f"old-{n}" for n in range(NODES)], cpu="2500m")
        await made.until_bound(NODES)
        async with asyncio.TaskGroup() as both:
            for partition in ("tp-1", "tp-2"):
                both.create_task(made.add_pods(partition, [f"new-{n}" for n in range(NODES // 2)], cpu="1"))
        pods = await made.until_bound(2 * NODES)
        await made.assert_sound(pods, per_node=2)
        # One more has no room anywhere, and says so.
        await made.add_pods("tp-2", ["surplus"], cpu="1")

        async def refused() -> bool:
            surplus = next(found for found in await made.pods() if found.metadata.name == "surplus")
            return [condition.reason for condition in surplus.status.conditions] == ["Unschedulable"]

        await eventually(refused, what="the pod that has no room")
        assert sum(bool(found.spec.node_name) for found in await made.pods()) == 2 * NODES
        assert await asyncio.to_thread(made.metric, "tp-2", "ursa_scheduler_claim_outcomes_total") >= NODES // 2


async def test_schedulers_killed_at_any_moment_bind_every_pod_once_and_leave_no_claim(tmp_path: pathlib.Path) -> None:
    async with schedulers(tmp_path, BASE_PORT + 40) as made:
        await made.add_nodes(NODES, cpu="4")
        await made.start_schedulers(backoff_initial_s=0.2)
        for round_ in range(3):
            for partition in ("tp-1", "tp-2"):
                await made.add_pods(partition, [f"p{round_}-{n}" for n in range(30)], cpu="1")
            for partition in ("tp-1", "tp-2"):
                process = made.processes[f"scheduler-{partition}"]
                await process.kill()
                await process.start()
        pods = await made.until_bound(180)
        # Without a reconciler at work: a scheduler takes up the claims of the one before it.
        await made.assert_sound(pods, per_node=4)


@pytest.mark.parametrize("which", ["rp_1", "tp_1"])
async def test_lost_answers_of_either_partition_are_found_out(tmp_path: pathlib.Path, which: str) -> None:
    base = BASE_PORT + (80 if which == "rp_1" else 120)
    target = base + (0 if which == "tp_1" else 10)
    async with (
        TcpProxy(base + 30, target) as proxy,
        schedulers(tmp_path, base, 1, **{which: f"127.0.0.1:{proxy.port}"}) as made,
    ):
        await made.add_nodes(10, cpu="4")
        await made.start_schedulers(bind_timeout_s=1.0, backoff_initial_s=0.2, stale_after_s=60)
        await made.add_pods("tp-1", ["first"], cpu="1")
        await made.until_bound(1)
        for round_ in range(2):
            proxy.swallowed.clear()
            lost = proxy.bytes_swallowed
            proxy.swallow_answers = True
            await made.add_pods("tp-1", [f"p{round_}-{n}" for n in range(15)], cpu="1")
            await asyncio.wait_for(proxy.swallowed.wait(), 30)

            async def more_is_lost(before: int = lost) -> bool:
                """Not only a first frame, but answers to what was sent since."""
                return proxy.bytes_swallowed - before >= ANSWERS_BYTES

            await eventually(more_is_lost, what="lost answers")
            proxy.swallow_answers = False
            proxy.cut()
        pods = await made.until_bound(31)
        await made.assert_sound(pods, per_node=4)
