"""The processes under test: an etcd of one or three, API servers of one tenant partition, links between all of them.

The placement home that tenants need once is served by this process, from memory; no fault touches it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc

from services.api.pb.ursa.core.v1 import namespace_pb2
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.api.pb.ursa.tenancy.v1 import tenancy_pb2
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.bench.link import Link
from services.client.clientset import Clientset
from services.resource_partition import app as resource_app
from services.resource_partition import config as resource_config
from services.rpc.channel import make_channel
from services.rpc.status import StatusError
from services.storage.etcd import EtcdConfig
from services.storage.memory import MemoryBackend
from tests.robustness.ports import PortBlock, port_block
from tests.support.etcd import EtcdProcess

TENANTS = ("acme", "beta")
NAMESPACES = ("default", "blue", "green")
READY_S = 60.0

_CONFIG = """\
name = "tp-1"
listen = "127.0.0.1:{port}"

[etcd]
endpoints = {etcd}
request_timeout_s = {request_timeout_s}
compaction_interval_s = 0.0

[watch_cache]
off = {off}
bookmark_period_s = 2.0

[watch_cache.windows.pods]
low = {window}
high = {window_high}
span_s = 5.0

[watch_cache.windows.leases]
low = {window}
high = {window_high}
span_s = 5.0

[[resource_partitions]]
name = "rp-1"
endpoints = ["{home}"]
placement_home = true
"""


@dataclass(frozen=True)
class Settings:
    """``servers``: API servers over the one etcd. ``off``: kinds without a watch cache. ``window``: changes kept.

    ``members``: of etcd. ``binary``: etcd's; "": this machine's own.
    """

    servers: int = 1
    off: tuple[str, ...] = ()
    window: int = 100
    request_timeout_s: float = 3.0
    members: int = 1
    binary: str = ""


class ServerProcess:
    """One API server as a process. ``expected_down``: it was killed on purpose."""

    def __init__(self, directory: pathlib.Path, name: str, config: str, port: int) -> None:
        self.name = name
        self.port = port
        self.log = directory / f"{name}.log"
        self.expected_down = True
        self._config = directory / f"{name}.toml"
        self._config.write_text(config)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.tenant_partition", "--config", str(self._config)],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        self.expected_down = False

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(number)

    async def end(self, number: signal.Signals = signal.SIGKILL, *, within_s: float = 15.0) -> bool:
        """Send ``number`` and wait for the end; False if it had to be killed after all."""
        self.expected_down = True
        process = self._process
        if process is None:
            return True
        self.send(number)
        self.send(signal.SIGCONT)
        deadline = time.monotonic() + within_s
        while process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                return False
            await asyncio.sleep(0.02)
        return True


@dataclass
class Cluster:
    """``links[i]`` leads clients to ``servers[i]``; ``etcd_links`` lead each server to each member of etcd."""

    members: list[EtcdProcess]
    servers: list[ServerProcess]
    links: list[Link]
    etcd_links: list[Link]
    directory: pathlib.Path

    def heal(self) -> None:
        """All links carry, all processes run on."""
        for link in (*self.links, *self.etcd_links):
            link.heal()
        for member in self.members:
            member.resume()
        for server in self.servers:
            server.send(signal.SIGCONT)

    async def ready(self, within_s: float = READY_S) -> bool:
        """Wait until each server serves consistent reads and takes writes' first step; False if one does not."""
        deadline = time.monotonic() + within_s
        for link in self.links:
            async with _clients(link) as clients:
                while not await _answers(clients):
                    if time.monotonic() > deadline:
                        return False
                    await asyncio.sleep(0.05)
        return True


@contextlib.asynccontextmanager
async def running(settings: Settings, directory: pathlib.Path) -> AsyncIterator[Cluster]:
    """The processes, ready, with tenants and namespaces. All of them end with the block."""
    async with contextlib.AsyncExitStack() as stack:
        ports = stack.enter_context(port_block())
        home = await stack.enter_async_context(_placement_home(ports.take()))
        cluster = Cluster(await _etcd(stack, settings, directory, ports), [], [], [], directory)
        for number in range(settings.servers):
            await _add_server(stack, cluster, settings, number, home, ports)
        if not await cluster.ready():
            raise RuntimeError(f"the servers are not ready after {READY_S} s; see {directory}")
        await _populate(cluster)
        yield cluster
        cluster.heal()


async def _etcd(
    stack: contextlib.AsyncExitStack, settings: Settings, directory: pathlib.Path, ports: PortBlock
) -> list[EtcdProcess]:
    """The members, healthy."""
    alone = settings.members == 1
    hasty = () if alone else ("--heartbeat-interval=50", "--election-timeout=500")
    names = ["etcd"] if alone else [f"etcd-{number}" for number in range(settings.members)]
    members = [
        EtcdProcess(
            ports.take(),
            ports.take(),
            data_dir=directory / name,
            binary=settings.binary or None,
            name=name,
            extra=hasty,
        )
        for name in names
    ]
    together = ",".join(member.initial_cluster for member in members)
    for member in members:
        member.directory.mkdir(parents=True, exist_ok=True)
        member.initial_cluster = together
        stack.callback(member.remove)
        await asyncio.to_thread(member.start, wait_s=0)
    for member in members:
        await asyncio.to_thread(member.wait_healthy)
    return members


async def _add_server(
    stack: contextlib.AsyncExitStack, cluster: Cluster, settings: Settings, number: int, home: str, ports: PortBlock
) -> None:
    port = ports.take()
    etcd_links = [await stack.enter_async_context(Link(ports.take(), member.client_port)) for member in cluster.members]
    config = _CONFIG.format(
        port=port,
        etcd=[link.endpoint for link in etcd_links],
        request_timeout_s=settings.request_timeout_s,
        off=list(settings.off),
        window=settings.window,
        window_high=settings.window * 2,
        home=home,
    )
    server = ServerProcess(cluster.directory, f"tp-1-{number}", config, port)
    cluster.servers.append(server)
    cluster.etcd_links += etcd_links
    cluster.links.append(await stack.enter_async_context(Link(ports.take(), port)))
    stack.push_async_callback(server.end)
    server.start()


@contextlib.asynccontextmanager
async def _placement_home(port: int) -> AsyncIterator[str]:
    clock, rand, stopping = SystemClock(), Rand(), asyncio.Event()
    listen = f"127.0.0.1:{port}"
    config = resource_config.Config("rp-1", listen, EtcdConfig(), placement_home=True)
    async with MemoryBackend() as backend, asyncio.TaskGroup() as tasks:
        host = resource_app.assemble(config, backend, clock=clock, rand=rand)
        tasks.create_task(host.run(stopping))
        await host.started.wait()
        try:
            yield listen
        finally:
            stopping.set()


@contextlib.asynccontextmanager
async def _clients(link: Link) -> AsyncIterator[Clientset]:
    channel = make_channel([link.endpoint])
    try:
        yield Clientset(channel)
    finally:
        await channel.close()


async def _answers(clients: Clientset) -> bool:
    try:
        await clients.pods.list(tenant="system", limit=1)
        await clients.leases.list(tenant="system", limit=1)
        await clients.tenants.get("system")
    except StatusError:
        return False
    return True


async def _populate(cluster: Cluster) -> None:
    async with _clients(cluster.links[0]) as clients:
        for tenant in TENANTS:
            await _ensure(clients.tenants.create(tenancy_pb2.Tenant(metadata=meta_pb2.ObjectMeta(name=tenant))))
            for name in NAMESPACES:
                metadata = meta_pb2.ObjectMeta(tenant=tenant, name=name)
                await _ensure(clients.namespaces.create(namespace_pb2.Namespace(metadata=metadata)))


async def _ensure(create: object) -> None:
    try:
        await create  # type: ignore[misc]
    except StatusError as failure:
        if failure.code is not grpc.StatusCode.ALREADY_EXISTS:
            raise
