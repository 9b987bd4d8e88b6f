"""Two servers of one resource partition decide on claims over one etcd, and one of them is killed in the middle."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from tests.support.etcd import find_binary
from tests.support.scheduler_processes import Schedulers, schedulers

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(find_binary() is None, reason="no etcd on PATH"),
]

BASE_PORT = 28300
NODES = 100


async def test_two_servers_under_two_schedulers_that_race_for_the_last_room(tmp_path: pathlib.Path) -> None:
    async with schedulers(tmp_path, BASE_PORT, twins=("rp-1",)) as made:
        await made.add_nodes(NODES, cpu="4")
        await made.start_schedulers(backoff_initial_s=0.2, bind_timeout_s=3.0)
        for partition in made.tenants:
            await made.add_pods(partition, ["first"], cpu="1")
        await made.until_bound(2)
        # 400 pods' room for 462 pods, half of which come while one of the servers is gone.
        await add(made, "before", 115)
        await made.until_bound(40)
        victim = made.processes["rp-1-second"]
        await victim.kill()
        await add(made, "after", 115)
        await made.until_bound(260)
        await made.assert_no_node_over_committed()
        await victim.start()
        pods = await made.until_bound(4 * NODES)
        await made.assert_sound(pods, per_node=4)
        assert sum(bool(found.spec.node_name) for found in pods) == 4 * NODES


async def add(made: Schedulers, prefix: str, each: int) -> None:
    """Pods in both tenant partitions at once."""
    async with asyncio.TaskGroup() as both:
        for partition in made.tenants:
            both.create_task(made.add_pods(partition, [f"{prefix}-{n}" for n in range(each)], cpu="1"))
