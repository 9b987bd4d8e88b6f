"""What the storage benchmarks measure: one tenant partition's server over one etcd, and nothing else.

A whole one-box has a scheduler and kubelets that watch every pod; here nobody competes with the load for the cores.
The processes are started by command line, with the configuration that the one-box writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator

from services.bench import processes
from services.bench.cluster import ClusterFailed, free_base_port

HOST = "127.0.0.1"
# Every tenant partition begins with this tenant and namespace: no resource partition is needed to place another one.
TENANT = "system"
NAMESPACE = "kube-system"

ETCD_MAX_TXN_OPS = 4096
ETCD_QUOTA_BYTES = 8 * 1024**3
READY_DEADLINE_S = 120.0
_POLL_S = 0.01


class Partition:
    """The running processes. ``second``: another server over the same etcd, for readers whose CPU is measured apart
    from the writers'."""

    def __init__(self, home: pathlib.Path, base_port: int, configuration: str = "") -> None:
        self.home = home
        self._configuration = configuration
        self._base = base_port
        self.etcd_endpoint = f"{HOST}:{base_port}"
        self.endpoint = f"{HOST}:{base_port + 2}"
        self.second_endpoint = f"{HOST}:{base_port + 4}"
        self.echo_endpoint = f"{HOST}:{base_port + 6}"
        self._etcd: processes.Process | None = None
        self._servers: dict[str, processes.Process] = {}
        self.etcd_version = ""

    @property
    def server_pid(self) -> int:
        return self._servers[self.endpoint].pid

    @property
    def second_pid(self) -> int:
        return self._servers[self.second_endpoint].pid

    @property
    def etcd_pid(self) -> int:
        assert self._etcd is not None
        return self._etcd.pid

    async def start_etcd(self) -> None:
        client, peer = f"http://{self.etcd_endpoint}", f"http://{HOST}:{self._base + 1}"
        flags = {
            "name": "bench",
            "data-dir": str(self.home / "etcd"),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"bench={peer}",
            "max-txn-ops": str(ETCD_MAX_TXN_OPS),
            "quota-backend-bytes": str(ETCD_QUOTA_BYTES),
            "auto-compaction-retention": "0",
            "logger": "zap",
            "log-level": "warn",
        }
        argv = [await etcd_binary(), *(f"--{name}={value}" for name, value in flags.items())]
        self._etcd = await processes.start(argv, self.home / "etcd.log")
        await self._until(f"{client}/health", self._etcd, "etcd")
        self.etcd_version = json.loads(await _get(f"{client}/version"))["etcdserver"]

    async def start_server(self, endpoint: str = "") -> float:
        """Start a server and wait until it is ready; seconds from its start to ``/readyz``."""
        endpoint = endpoint or self.endpoint
        metrics = f"{HOST}:{int(endpoint.rpartition(':')[2]) + 1}"
        config = self.home / f"server-{endpoint.rpartition(':')[2]}.toml"
        config.write_text(_config(endpoint, metrics, self.etcd_endpoint) + self._configuration)
        began = time.perf_counter()
        argv = [sys.executable, "-m", "services.tenant_partition", "--config", str(config)]
        process = await processes.start(argv, self.home / "server.log")
        self._servers[endpoint] = process
        await self._until(f"http://{metrics}/readyz", process, "the server")
        return time.perf_counter() - began

    async def kill_server(self) -> None:
        await processes.kill(self._servers.pop(self.endpoint))

    async def stop_server(self, endpoint: str) -> None:
        await processes.stop(self._servers.pop(endpoint))

    async def stop(self) -> None:
        for process in self._servers.values():
            await processes.stop(process)
        if self._etcd is not None:
            await processes.stop(self._etcd)

    async def _until(self, url: str, process: processes.Process, name: str) -> None:
        """Ask until the answer is 200. Raises ``ClusterFailed`` with the end of the log."""
        deadline = time.perf_counter() + READY_DEADLINE_S
        while time.perf_counter() < deadline and process.returncode is None:
            with contextlib.suppress(OSError):
                await _get(url)
                return
            await asyncio.sleep(_POLL_S)
        texts = [log.read_text(errors="replace")[-2000:] for log in self.home.glob("*.log")]
        raise ClusterFailed(f"{name} did not become ready\n" + "\n".join(texts))


@contextlib.asynccontextmanager
async def running(configuration: str = "") -> AsyncIterator[Partition]:
    """A partition, whose servers have ``configuration`` (TOML) besides; on leaving, nothing is left.

    Raises ``ClusterFailed``.
    """
    home = pathlib.Path(tempfile.mkdtemp(prefix="ursa-bench-"))
    partition = Partition(home, free_base_port(), configuration)
    try:
        await partition.start_etcd()
        await partition.start_server()
        yield partition
    finally:
        await asyncio.shield(_end(partition))


async def _end(partition: Partition) -> None:
    try:
        await partition.stop()
    finally:
        shutil.rmtree(partition.home, ignore_errors=True)


async def etcd_binary() -> str:
    """The etcd that ``ursa up`` would take."""
    found = shutil.which("etcd")
    if found:
        return found
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.cli.onebox.etcd_binary",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        raise ClusterFailed(err.decode())
    return out.decode().strip()


def _config(listen: str, metrics: str, etcd: str) -> str:
    return f"""\
name = "tp-1"
listen = "{listen}"

[etcd]
endpoints = ["{etcd}"]
max_txn_ops = {ETCD_MAX_TXN_OPS}

[telemetry]
metrics_listen = "{metrics}"
log_level = "warning"
"""


async def _get(url: str) -> bytes:
    """The body of a 200. Raises ``OSError``."""

    def fetch() -> bytes:
        with urllib.request.urlopen(url, timeout=5.0) as answer:
            body: bytes = answer.read()
            return body

    return await asyncio.to_thread(fetch)
