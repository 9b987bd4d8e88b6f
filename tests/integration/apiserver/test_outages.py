"""Servers and etcds that die, come back, or are not there yet; nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.api import kinds
from services.client.clientset import Clientset
from services.rpc.channel import make_channel
from services.rpc.status import StatusError
from tests.integration.apiserver.world import (
    eventually,
    named,
    pod,
    port,
    refused,
    resource_partition_config,
    running,
    tenant_partition_config,
)
from tests.support.etcd import EtcdProcess

pytestmark = pytest.mark.etcd

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture
def etcd() -> Iterator[EtcdProcess]:
    """An etcd that may be killed."""
    process = EtcdProcess(port(), port())
    try:
        yield process.start()
    finally:
        process.remove()


class ServerProcess:
    """``python -m services.tenant_partition`` on one port; may be killed and started again."""

    def __init__(self, directory: pathlib.Path, etcd: str) -> None:
        self.endpoint = f"127.0.0.1:{port()}"
        self._file = directory / "tp-1.toml"
        self._log = directory / "tp-1.log"
        self._file.write_text(f'name = "tp-1"\nlisten = "{self.endpoint}"\n[etcd]\nendpoints = ["{etcd}"]\n')
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "services.tenant_partition", "--config", str(self._file)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env={**os.environ})

    def end(self, number: signal.Signals) -> float:
        """Signal it and wait; the seconds that took."""
        assert self.process is not None
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout=20)
        return time.monotonic() - started

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]


@contextlib.asynccontextmanager
async def server_process(directory: pathlib.Path, etcd: str) -> AsyncIterator[tuple[ServerProcess, Clientset]]:
    server = ServerProcess(directory, etcd)
    server.start()
    channel = make_channel([server.endpoint])
    try:
        await serving(channel)
        yield server, Clientset(channel)
    finally:
        await channel.close()
        if server.process is not None and server.process.poll() is None:
            server.end(signal.SIGKILL)


async def serving(channel: grpc.aio.Channel) -> None:
    """Return when the server's health says SERVING."""
    stub = health_pb2_grpc.HealthStub(channel)

    async def check() -> bool:
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    await eventually(check, within_s=30)


def lease(name: str) -> Any:
    return named(kinds.LEASES, name, tenant="system", namespace="kube-system")


async def test_a_killed_server_loses_nothing_and_continues_its_lists(tmp_path: pathlib.Path, etcd: EtcdProcess) -> None:
    async with server_process(tmp_path, etcd.endpoint) as (server, clients):
        created = [await clients.leases.create(lease(f"l-{n}")) for n in range(4)]
        page = await clients.leases.list(tenant="system", limit=2)
        server.end(signal.SIGKILL)
        server.start()
        rest = await eventually(
            lambda: clients.leases.list(tenant="system", limit=2, continue_token=page.continue_token), within_s=30
        )
        assert [*page.items, *rest.items] == created
        assert rest.resource_version == page.resource_version


async def test_a_terminated_server_stops_in_time_with_watches_open(tmp_path: pathlib.Path, etcd: EtcdProcess) -> None:
    async with server_process(tmp_path, etcd.endpoint) as (server, clients):
        watches = [clients.leases.watch(tenant="system", resource_version=0) for _ in range(20)]
        await clients.leases.create(lease("l"))
        for watch in watches:
            assert (await anext(watch)).events
        took_s = await asyncio.to_thread(server.end, signal.SIGTERM)
        assert took_s < 5
        assert server.process is not None
        assert server.process.returncode == 0, server.log()
        for watch in watches:
            error = await refused(anext(watch))
            assert error.code is grpc.StatusCode.UNAVAILABLE


async def test_a_server_that_cannot_be_configured_says_why(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('name = "tp-1"\nlisten = "127.0.0.1:0"\ncolour = "red"\n[etcd]\nendpoints = ["127.0.0.1:1"]\n')
    for module in ("services.tenant_partition", "services.resource_partition"):
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", module, "--config", str(file)], cwd=ROOT, capture_output=True
        )
        assert done.returncode == 2
        assert b"colour" in done.stderr


async def test_a_port_that_is_taken_is_an_error_that_names_it(tmp_path: pathlib.Path, etcd: EtcdProcess) -> None:
    async with server_process(tmp_path, etcd.endpoint) as (server, _):
        second = [sys.executable, "-m", "services.tenant_partition", "--config", str(tmp_path / "tp-1.toml")]
        done = await asyncio.to_thread(subprocess.run, second, cwd=ROOT, capture_output=True, timeout=20)
        assert done.returncode == 1
        last = done.stderr.decode().splitlines()[-1]
        assert last.startswith(f"tenant-partition: cannot listen on {server.endpoint}")
        assert "Traceback" not in done.stderr.decode()


async def test_an_etcd_that_is_not_there_yet_is_waited_for(etcd: EtcdProcess) -> None:
    etcd.stop()
    config = resource_partition_config(etcd.endpoint, port())
    async with running(config, ready=False) as partition:
        stub = health_pb2_grpc.HealthStub(partition.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        for call in (
            partition.clients.nodes.create(named(kinds.NODES, "n1")),
            partition.clients.nodes.get("n1"),
            partition.clients.nodes.list(),
            anext(partition.clients.nodes.watch()),
        ):
            error = await refused(call)
            assert error.code is grpc.StatusCode.UNAVAILABLE, error
            assert error.retry_after_s is not None
        await asyncio.to_thread(etcd.start)
        created = await eventually(lambda: partition.clients.nodes.create(named(kinds.NODES, "n1")), within_s=20)
        assert created.metadata.uid
        await serving(partition.channel)


async def test_an_etcd_that_restarts_loses_no_write_and_no_event(etcd: EtcdProcess) -> None:
    config = resource_partition_config(etcd.endpoint, port())
    async with running(config) as partition:
        nodes = partition.clients.nodes
        stream = nodes.watch(resource_version=0)
        acknowledged: list[str] = []
        seen: list[str] = []

        async def write() -> None:
            for number in range(30):
                if number == 10:
                    await asyncio.to_thread(etcd.restart)
                try:
                    await nodes.create(named(kinds.NODES, f"n-{number:02}"))
                    acknowledged.append(f"n-{number:02}")
                except StatusError as error:
                    assert error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN), error
                    await asyncio.sleep(0.05)

        async def read() -> None:
            async for batch in stream:
                seen.extend(event.object.metadata.name for event in batch.events)
                if "n-29" in seen:
                    return

        async with asyncio.timeout(40), asyncio.TaskGroup() as tasks:
            tasks.create_task(read())
            await write()
            await eventually(lambda: ensure(nodes, "n-29"), within_s=20)
        assert len(acknowledged) > 10
        assert set(acknowledged) <= set(seen)
        assert len(seen) == len(set(seen))
        stored = {item.metadata.name for item in (await nodes.list()).items}
        assert set(acknowledged) <= stored == set(seen)


async def ensure(nodes: Any, name: str) -> bool:
    try:
        await nodes.create(named(kinds.NODES, name))
    except StatusError as error:
        return error.reason == "AlreadyExists"
    return True


async def test_reads_of_any_age_are_served_while_etcd_is_down(etcd: EtcdProcess) -> None:
    config = resource_partition_config(etcd.endpoint, port())
    impatient = dataclasses.replace(config.etcd, request_timeout_s=0.5, outcome_timeout_s=1.0)
    async with running(dataclasses.replace(config, etcd=impatient)) as partition:
        nodes = partition.clients.nodes
        created = await nodes.create(named(kinds.NODES, "n1"))
        await eventually(lambda: nodes.get("n1", resource_version=created.metadata.resource_version))
        etcd.kill()
        assert await nodes.get("n1", resource_version=0) == created
        assert (await nodes.list(resource_version=0)).items == [created]
        # A write that was under way may have happened; those that follow certainly do not.
        error = await refused(nodes.create(named(kinds.NODES, "n2")))
        assert error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN)
        error = await refused(nodes.create(named(kinds.NODES, "n2")))
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert (await refused(nodes.get("n1"))).code is grpc.StatusCode.UNAVAILABLE


async def test_two_servers_of_one_partition_agree(etcd: EtcdProcess) -> None:
    first = tenant_partition_config(etcd.endpoint, port(), f"127.0.0.1:{port()}")
    second = tenant_partition_config(etcd.endpoint, port(), f"127.0.0.1:{port()}")
    async with running(first) as one, running(second) as other:
        for partition, name in ((one, "a"), (other, "b")):
            await partition.clients.leases.create(lease(name))
        for partition in (one, other):
            names = [item.metadata.name for item in (await partition.clients.leases.list(tenant="system")).items]
            assert names == ["a", "b"]
        page = await one.clients.leases.list(tenant="system", limit=1)
        rest = await other.clients.leases.list(tenant="system", continue_token=page.continue_token)
        assert [item.metadata.name for item in rest.items] == ["b"]
        assert (await refused(one.clients.pods.create(pod("nobody")))).code is grpc.StatusCode.UNAVAILABLE


async def test_pages_are_served_from_the_cache_while_etcd_is_down(etcd: EtcdProcess) -> None:
    """Also by a server that never made a continue token: their key is loaded at the start."""
    async with running(resource_partition_config(etcd.endpoint, port())) as rp:
        nodes = rp.clients.nodes
        for number in range(3):
            created = await nodes.create(named(kinds.NODES, f"n{number}"))
        # What the cache has heard of is what it serves.
        await eventually(lambda: nodes.get("n2", resource_version=created.metadata.resource_version))
        await asyncio.to_thread(etcd.kill)
        first = await nodes.list(resource_version=0, limit=2)
        assert [node.metadata.name for node in first.items] == ["n0", "n1"]
        assert first.continue_token
