"""The processes of one workload: an etcd and a server per partition, a scheduler per tenant partition, a controller
manager per resource partition, which ends the capacity claims of pods that are gone. No kubelets, as upstream: nodes
are objects, a pod's way ends when it is bound.

They are not taken from ``ursa up``: its hollow nodes would share the cores.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from services.base.clock import Clock
from services.bench import processes
from services.bench.cluster import ClusterFailed
from services.bench.partition import ETCD_MAX_TXN_OPS, ETCD_QUOTA_BYTES, HOST, etcd_binary

READY_DEADLINE_S = 120.0
PORTS_PER_PARTITION = 10
PLACEMENT_HOME = "rp-1"
_POLL_S = 0.02


@dataclass(frozen=True)
class Shape:
    """How many partitions, and the first of the ports."""

    tenant_partitions: int
    resource_partitions: int
    base_port: int

    def ports(self) -> dict[str, int]:
        """The first of ten ports of each partition, by name: gRPC, metrics, etcd, etcd's peers, and metrics
        of its scheduler or controller manager."""
        names = [f"tp-{number}" for number in range(1, self.tenant_partitions + 1)]
        names += [f"rp-{number}" for number in range(1, self.resource_partitions + 1)]
        return {name: self.base_port + PORTS_PER_PARTITION * index for index, name in enumerate(names)}


class Processes:
    """Running. ``endpoints`` and ``metrics`` are host:port by name."""

    def __init__(self, shape: Shape, home: pathlib.Path, clock: Clock) -> None:
        self._home = home
        self._clock = clock
        self._ports = shape.ports()
        self._running: dict[str, processes.Process] = {}
        self.etcd_version = ""

    @property
    def tenant_partitions(self) -> dict[str, str]:
        return self._endpoints("tp-")

    @property
    def resource_partitions(self) -> dict[str, str]:
        return self._endpoints("rp-")

    @property
    def scheduler_metrics(self) -> list[str]:
        """Where each scheduler's metrics are: URLs."""
        return [f"http://{HOST}:{port + 5}/metrics" for name, port in self._ports.items() if name.startswith("tp-")]

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by component name."""
        return {name: process.pid for name, process in self._running.items()}

    def _endpoints(self, prefix: str) -> dict[str, str]:
        return {name: f"{HOST}:{port}" for name, port in self._ports.items() if name.startswith(prefix)}

    def gone(self) -> list[str]:
        """Components that have ended by themselves."""
        return [name for name, process in self._running.items() if process.returncode is not None]

    def log_end(self, name: str) -> str:
        with contextlib.suppress(OSError):
            return (self._home / f"{name}.log").read_text(errors="replace")[-2000:]
        return ""

    async def start(self) -> None:
        """Raises ``ClusterFailed`` with the end of the log of what did not become ready."""
        binary = await etcd_binary()
        for name, port in self._ports.items():
            await self._start(f"etcd-{name}", _etcd(binary, name, port, self._home))
        await self._ready({f"etcd-{name}": f"http://{HOST}:{port + 2}/health" for name, port in self._ports.items()})
        first = next(iter(self._ports.values()))
        self.etcd_version = json.loads(await get(f"http://{HOST}:{first + 2}/version"))["etcdserver"]
        for name in self._ports:
            module = "services.tenant_partition" if name.startswith("tp-") else "services.resource_partition"
            await self._start(name, self._python(module, name, self._server(name)))
        await self._ready({name: f"http://{HOST}:{port + 1}/readyz" for name, port in self._ports.items()})
        schedulers = {f"scheduler-{name}": port for name, port in self._ports.items() if name.startswith("tp-")}
        for name, port in schedulers.items():
            await self._start(name, self._python("services.scheduler", name, _scheduler(name, port)))
        managers = {f"controller-{name}": port for name, port in self._ports.items() if name.startswith("rp-")}
        for name, port in managers.items():
            await self._start(name, self._python("services.controllers", name, _controllers(name, port)))
        last = schedulers | managers
        await self._ready({name: f"http://{HOST}:{port + 5}/readyz" for name, port in last.items()})

    async def stop(self) -> None:
        """End everything, what only uses others first."""
        # Layer by layer, each at once: one that does not end in time holds up none beside it.
        for layer in (("scheduler-", "controller-"), ("tp-", "rp-"), ("etcd-",)):
            ending = [process for name, process in self._running.items() if name.startswith(layer)]
            await asyncio.gather(*(processes.stop(process) for process in ending))

    async def _start(self, name: str, argv: Sequence[str]) -> None:
        self._running[name] = await processes.start(argv, self._home / f"{name}.log")

    def _python(self, module: str, name: str, config: str) -> list[str]:
        file = self._home / f"{name}.toml"
        file.write_text(config)
        return [sys.executable, "-m", module, "--config", str(file)]

    def _server(self, name: str) -> str:
        port = self._ports[name]
        head = f'name = "{name}"\nlisten = "{HOST}:{port}"\n'
        tenant = name.startswith("tp-")
        if not tenant and name == PLACEMENT_HOME:
            head += "placement_home = true\n"
        etcd = f'[etcd]\nendpoints = ["{HOST}:{port + 2}"]\nmax_txn_ops = {ETCD_MAX_TXN_OPS}\n'
        links = self.resource_partitions if tenant else self.tenant_partitions
        table = "resource_partitions" if tenant else "tenant_partitions"
        return head + etcd + _telemetry(port + 1) + "".join(_link(table, *link) for link in links.items())

    async def _ready(self, urls: Mapping[str, str]) -> None:
        deadline = self._clock.monotonic() + READY_DEADLINE_S
        for name, url in urls.items():
            while True:
                with contextlib.suppress(OSError):
                    await get(url)
                    break
                if self._running[name].returncode is not None or self._clock.monotonic() > deadline:
                    raise ClusterFailed(f"{name} did not become ready\n{self.log_end(name)}")
                await self._clock.sleep(_POLL_S)


@contextlib.asynccontextmanager
async def running(shape: Shape, clock: Clock, keep_logs: pathlib.Path | None = None) -> AsyncIterator[Processes]:
    """The processes for the time of the block, on empty data; nothing is left of them. Raises ``ClusterFailed``."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="ursa-bench-"))
    started = Processes(shape, home, clock)
    try:
        await started.start()
        yield started
    finally:
        # A benchmark that was interrupted still ends what it started.
        await asyncio.shield(_end(started, home, keep_logs))


async def _end(started: Processes, home: pathlib.Path, keep_logs: pathlib.Path | None) -> None:
    try:
        await started.stop()
    finally:
        _clear(home, keep_logs)


def _clear(home: pathlib.Path, keep_logs: pathlib.Path | None) -> None:
    if keep_logs is not None:
        keep_logs.mkdir(parents=True, exist_ok=True)
        for log in home.glob("*.log"):
            shutil.copy(log, keep_logs / log.name)
    shutil.rmtree(home, ignore_errors=True)


async def get(url: str) -> bytes:
    """The body of a 200. Raises ``OSError``."""

    def fetch() -> bytes:
        with urllib.request.urlopen(url, timeout=10.0) as answer:
            body: bytes = answer.read()
            return body

    return await asyncio.to_thread(fetch)


def _telemetry(port: int) -> str:
    return f'[telemetry]\nmetrics_listen = "{HOST}:{port}"\nlog_level = "warning"\n'


def _link(table: str, name: str, endpoint: str) -> str:
    home = "placement_home = true\n" if table == "resource_partitions" and name == PLACEMENT_HOME else ""
    return f'[[{table}]]\nname = "{name}"\nendpoints = ["{endpoint}"]\n{home}'


def _scheduler(name: str, port: int) -> str:
    partition = name.removeprefix("scheduler-")
    seed = partition.rpartition("-")[2]
    link = f'[tenant_partition]\nname = "{partition}"\nendpoints = ["{HOST}:{port}"]\n'
    return f'name = "{name}"\nseed = {seed}\n{link}{_telemetry(port + 5)}'


def _controllers(name: str, port: int) -> str:
    partition = name.removeprefix("controller-")
    link = f'[resource_partition]\nname = "{partition}"\nendpoints = ["{HOST}:{port}"]\n'
    # One manager per partition: nothing to elect. Nobody renews the nodes' leases, so nobody may judge them by those.
    alone = "[leader_election]\nenabled = false\n[nodes]\nenabled = false\n"
    return f'name = "{name}"\n{link}{alone}{_telemetry(port + 5)}'


def _etcd(binary: str, name: str, port: int, home: pathlib.Path) -> list[str]:
    client, peer = f"http://{HOST}:{port + 2}", f"http://{HOST}:{port + 3}"
    flags = {
        "name": name,
        "data-dir": str(home / f"etcd-{name}"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"{name}={peer}",
        "max-txn-ops": str(ETCD_MAX_TXN_OPS),
        "quota-backend-bytes": str(ETCD_QUOTA_BYTES),
        "auto-compaction-retention": "0",
        "logger": "zap",
        "log-level": "warn",
    }
    return [binary, *(f"--{flag}={value}" for flag, value in flags.items())]
