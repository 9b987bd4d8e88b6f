"""Partition servers and a kubelet host as real processes over a real etcd, on given ports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from services.base.clock import SystemClock
from services.base.rand import Rand
from services.base.tasks import stop_task
from services.client.partitions import Connection
from services.rpc.status import StatusError
from tests.support.etcd import find_binary

HOST = "127.0.0.1"


@dataclass
class Process:
    """A process that can be killed and started again."""

    name: str
    command: list[str]
    directory: pathlib.Path
    process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> pathlib.Path:
        return self.directory / f"{self.name}.log"

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(*self.command, stdout=log, stderr=log)

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)
            await self.process.wait()

    def lines(self, message: str) -> list[dict[str, str]]:
        """The log's JSON lines with this message."""
        if not self.log.exists():
            return []
        found = []
        for line in self.log.read_text().splitlines():
            with contextlib.suppress(ValueError):
                parsed = json.loads(line)
                if isinstance(parsed, dict) and parsed.get("message") == message:
                    found.append(parsed)
        return found


@dataclass
class Cluster:
    """tp-1 and rp-1 behind real servers. ``processes`` by name: etcd-tp-1, etcd-rp-1, tp-1, rp-1, hollow."""

    directory: pathlib.Path
    base_port: int
    nodes: int
    more: str = ""
    more_of_pool: str = ""
    processes: dict[str, Process] = field(default_factory=dict)

    def endpoint(self, name: str) -> str:
        return f"{HOST}:{self.base_port + (0 if name == 'tp-1' else 10)}"

    def plan(self) -> None:
        for name in ("tp-1", "rp-1"):
            self._add_etcd(name)
            self._add_server(name)
        config = f'''name = "hollow-1"
{self.more}
[telemetry]
metrics_listen = "{HOST}:{self.base_port + 20}"
[[pools]]
resource_partition = "rp-1"
endpoints = ["{self.endpoint("rp-1")}"]
nodes = {self.nodes}
name_prefix = "hollow-rp-1-"
{self.more_of_pool}
'''
        self._add_python("hollow", "kubelet", config)

    def _add_etcd(self, name: str) -> None:
        port = int(self.endpoint(name).rsplit(":", 1)[1]) + 2
        client, peer = f"http://{HOST}:{port}", f"http://{HOST}:{port + 1}"
        command = [find_binary() or "etcd", "--name", name, "--data-dir", str(self.directory / f"data-{name}")]
        command += ["--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer]
        command += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"{name}={peer}"]
        command += ["--max-txn-ops", "4096", "--log-level", "error"]
        self.processes[f"etcd-{name}"] = Process(f"etcd-{name}", command, self.directory)

    def _add_server(self, name: str) -> None:
        endpoint = self.endpoint(name)
        port = int(endpoint.rsplit(":", 1)[1])
        tenant = name.startswith("tp")
        other = "rp-1" if tenant else "tp-1"
        links = "resource_partitions" if tenant else "tenant_partitions"
        config = f'''name = "{name}"
listen = "{endpoint}"
{"" if tenant else "placement_home = true"}
[etcd]
endpoints = ["{HOST}:{port + 2}"]
max_txn_ops = 4096
[telemetry]
metrics_listen = "{HOST}:{port + 1}"
[[{links}]]
name = "{other}"
endpoints = ["{self.endpoint(other)}"]
{"placement_home = true" if tenant else ""}
'''
        self._add_python(name, "tenant_partition" if tenant else "resource_partition", config)

    def _add_python(self, name: str, module: str, config: str) -> None:
        file = self.directory / f"{name}.toml"
        file.write_text(config)
        command = [sys.executable, "-m", f"services.{module}", "--config", str(file)]
        self.processes[name] = Process(name, command, self.directory)


@contextlib.asynccontextmanager
async def cluster(
    directory: pathlib.Path, base_port: int, *, nodes: int, more: str = "", more_of_pool: str = ""
) -> AsyncIterator[Cluster]:
    """Everything started; all ended on leaving. ``more`` and ``more_of_pool``: lines of the host's configuration."""
    made = Cluster(directory, base_port, nodes, more, more_of_pool)
    made.plan()
    try:
        for process in made.processes.values():
            await process.start()
        yield made
    finally:
        for process in reversed(made.processes.values()):
            await process.kill()


@contextlib.asynccontextmanager
async def connection(name: str, *endpoints: str) -> AsyncIterator[Connection]:
    """A running connection."""
    made = Connection(name, endpoints, SystemClock(), Rand(1))
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        await stop_task(task)


async def eventually(holds: Callable[[], Awaitable[bool]], *, seconds: float = 30.0, what: str = "") -> None:
    """Ask until it holds; a server that does not answer yet counts as no."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                if await holds():
                    return
            except StatusError:
                pass
            await asyncio.sleep(0.05)
