"""A storm of creates, lists and watch openings leaves lease renewals and binds within a second."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from services.api import kinds
from services.api.pb.ursa.coordination.v1.lease_service_pb2 import LeaseRenewal
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.clientset import Clientset
from services.client.renewals import LeaseRenewals
from services.rpc.channel import make_channel
from tests.integration.apiserver.world import (
    binding,
    named,
    pod,
    resource_partition_config,
    running,
)
from tests.support.etcd import EtcdProcess, free_port
from tests.support.tenants import make_tenant

pytestmark = pytest.mark.etcd

ROOT = pathlib.Path(__file__).resolve().parents[3]
PORTS = range(18_700, 18_900)
STORM_S = 8.0
RSS_BYTES_MAX = 512 << 20
CONFIG = """
name = "tp-1"
listen = "{listen}"
[etcd]
endpoints = ["{etcd}"]
[overload]
writes_at_once_max = 8
writes_waiting_max = 8
lists_at_once_max = 4
lists_waiting_max = 24
openings_at_once_max = 8
openings_waiting_max = 64
workload_bytes_max = 8_000_000
[[resource_partitions]]
name = "rp-1"
endpoints = ["{home}"]
placement_home = true
"""


MEMORY = pathlib.Path("/dev/shm")


@pytest.fixture
def etcds() -> Iterator[list[EtcdProcess]]:
    """Their files are in memory where that can be: a disk that stands still for a second is not what is tested."""
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    with contextlib.ExitStack() as kept:
        pair = []
        for _ in range(2):
            directory = kept.enter_context(tempfile.TemporaryDirectory(prefix="ursa-etcd-", dir=place))
            pair.append(EtcdProcess(free_port(PORTS), free_port(PORTS), data_dir=pathlib.Path(directory)))
            kept.callback(pair[-1].remove)
        yield [process.start() for process in pair]


@contextlib.asynccontextmanager
async def server(directory: pathlib.Path, etcd: str, home: str) -> AsyncIterator[tuple[str, subprocess.Popen[bytes]]]:
    listen = f"127.0.0.1:{free_port(PORTS)}"
    file = directory / "tp-1.toml"
    file.write_text(CONFIG.format(listen=listen, etcd=etcd, home=home))
    with (directory / "tp-1.log").open("ab") as log:
        command = [sys.executable, "-m", "services.tenant_partition", "--config", str(file)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)  # noqa: ASYNC220
    try:
        yield listen, process
    finally:
        process.kill()
        process.wait()


def rss_bytes(process: subprocess.Popen[bytes]) -> int:
    pages = int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * 4096


async def timed(call: Any, taken: list[float]) -> Any:
    started = time.monotonic()
    answer = await call
    taken.append(time.monotonic() - started)
    return answer


def node_lease(name: str) -> Any:
    lease: Any = named(kinds.LEASES, name, tenant="system", namespace="kube-node-lease")
    lease.spec.holder_identity = name
    return lease


async def test_renewals_and_binds_stay_within_a_second(tmp_path: pathlib.Path, etcds: list[EtcdProcess]) -> None:
    """A pause of half a second of everything on this machine is enough to make one p99 late: it is tried once more."""
    told = [await stormed(tmp_path, etcds, 0)]
    if not in_time(told[-1]):
        told.append(await stormed(tmp_path, etcds, 1))
    assert in_time(told[-1]), "\n".join(figures for figures, _ in told)


def in_time(told: tuple[str, list[float]]) -> bool:
    return max(told[1]) <= 1.0


async def stormed(tmp_path: pathlib.Path, etcds: list[EtcdProcess], turn: int) -> tuple[str, list[float]]:
    """What was measured, and the p99 of renewals, heartbeats and binds in seconds. What does not depend on time is
    checked here."""
    tenant = f"acme-{turn}"
    home = resource_partition_config(etcds[1].endpoint, free_port(PORTS))
    async with running(home), server(tmp_path, etcds[0].endpoint, home.listen) as (listen, process):
        channel = make_channel([listen])
        clients = Clientset(channel)
        await make_tenant(clients, tenant)
        waiting = [f"bound-{number}" for number in range(1000)]
        for start in range(0, 1000, 100):
            await clients.pods.batch_create([pod(tenant, name) for name in waiting[start : start + 100]])
        storm = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.overload.storm",
            listen,
            tenant,
            str(STORM_S),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        renewals: list[float] = []
        heartbeats: list[float] = []
        binds: list[float] = []
        rss = 0
        finished = asyncio.get_running_loop().create_task(storm.communicate())

        async def renewing(number: int) -> None:
            lease: Any = named(kinds.LEASES, f"leader-{turn}-{number}", tenant="system", namespace="kube-system")
            lease = await timed(clients.leases.create(lease), renewals)
            while not finished.done():
                lease.spec.holder_identity = f"me-{len(renewals)}"
                lease = await timed(clients.leases.update(lease), renewals)
                await asyncio.sleep(0.02)

        beats = LeaseRenewals(channel, SystemClock(), Rand(), partition="tp-1")
        nodes = [f"node-{turn}-{number}" for number in range(500)]
        await clients.leases.batch_create([node_lease(name) for name in nodes])

        async def beating(number: int) -> None:
            cohort = [LeaseRenewal(name=name, holder_identity=name) for name in nodes[number::10]]
            place = {"tenant": "system", "namespace": "kube-node-lease"}
            while not finished.done():
                sent = beats.renew(cohort, **place, now_s=time.time(), timeout_s=10)
                assert await timed(sent, heartbeats) == {}
                await asyncio.sleep(0.1)

        async def placing() -> None:
            while waiting and not finished.done():
                await timed(clients.pods.bind(binding(tenant, waiting.pop(), "n1")), binds)
                await asyncio.sleep(0.02)

        try:
            async with Supervisor() as streams, asyncio.TaskGroup() as tasks:
                streams.start(beats.run(), name="renewals")
                for number in range(4):
                    tasks.create_task(renewing(number))
                    tasks.create_task(placing())
                for number in range(10):
                    tasks.create_task(beating(number))
                while not finished.done():
                    rss = max(rss, rss_bytes(process))
                    await asyncio.sleep(0.1)
        finally:
            if storm.returncode is None:
                storm.kill()
        output, _ = await finished
        await channel.close()
    report = json.loads(output)
    answers = report["answers"]
    taken = f"renewals {summary(renewals)}, heartbeats {summary(heartbeats)}, binds {summary(binds)}"
    figures = f"{taken}, RSS {rss >> 20} MiB, {answers}"
    print(figures)
    assert len(renewals) > 20 and len(binds) > 20, figures
    assert len(heartbeats) > 20, figures
    assert rss < RSS_BYTES_MAX, figures
    assert not report["unexplained"]
    # Everybody was answered: served, or told to come again.
    assert all(answer.split(" ", 1)[1] in ("OK", "RESOURCE_EXHAUSTED TooManyRequests") for answer in answers), figures
    for what in ("create", "list", "watch"):
        assert answers.get(f"{what} OK", 0) > 0, figures
    assert answers.get("create RESOURCE_EXHAUSTED TooManyRequests", 0) > 0, figures
    return figures, [p99(renewals), p99(heartbeats), p99(binds)]


def p99(taken: list[float]) -> float:
    return sorted(taken)[min(len(taken) - 1, int(len(taken) * 0.99))]


def summary(taken: list[float]) -> str:
    ordered = sorted(taken)
    middle = ordered[len(ordered) // 2]
    return f"{len(taken)}: p50 {middle * 1000:.0f} ms, p99 {p99(taken) * 1000:.0f} ms, max {ordered[-1] * 1000:.0f} ms"
