"""The kubelet hosts of a run: processes of the benchmark's own, so that the cluster is there before the first node."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from services.bench import processes
from services.bench.heartbeat.parameters import HeartbeatParameters

HOST = "127.0.0.1"
PREFIX = "beat-"


@dataclass(frozen=True)
class KubeletHost:
    """A process with ``nodes`` nodes in all; ``metrics``: host:port."""

    name: str
    nodes: int
    pid: int
    metrics: str


@contextlib.asynccontextmanager
async def running(
    parameters: HeartbeatParameters, servers: Mapping[str, str], home: pathlib.Path
) -> AsyncIterator[list[KubeletHost]]:
    """The hosts for the time of the block. ``servers``: endpoints of the resource partitions by name. Their logs are in
    ``home``. Raises ``OSError``."""
    async with contextlib.AsyncExitStack() as stack:
        hosts = []
        for number in range(parameters.hosts):
            shares = {
                partition: share(parameters.nodes, index * parameters.hosts + number, len(servers) * parameters.hosts)
                for index, partition in enumerate(servers)
            }
            name, port = f"kubelet-{number + 1}", free_port()
            file = home / f"{name}.toml"
            file.write_text(config(name, shares, servers, port, parameters))
            argv = [sys.executable, "-m", "services.kubelet", "--config", str(file)]
            process = await stack.enter_async_context(processes.running(argv, home / f"{name}.log"))
            hosts.append(KubeletHost(name, sum(shares.values()), process.pid, f"{HOST}:{port}"))
        yield hosts


def share(total: int, index: int, parts: int) -> int:
    """How many of ``total`` are in one of ``parts`` parts that differ by one at most."""
    return total // parts + (index < total % parts)


def config(
    name: str, shares: Mapping[str, int], servers: Mapping[str, str], metrics_port: int, parameters: HeartbeatParameters
) -> str:
    """The host's configuration file. ``shares``: nodes by resource partition."""
    lines = [
        f'name = "{name}"',
        "[timing]",
        f"lease_duration_s = {parameters.lease_seconds}",
        f"lease_renew_s = {parameters.renew_seconds:.3f}",
        "[telemetry]",
        f'metrics_listen = "{HOST}:{metrics_port}"',
        'log_level = "warning"',
    ]
    for partition, nodes in shares.items():
        lines += [
            "[[pools]]",
            f'resource_partition = "{partition}"',
            f'endpoints = ["{servers[partition]}"]',
            f"nodes = {nodes}",
            f'name_prefix = "{PREFIX}{partition}-{name.removeprefix("kubelet-")}-"',
        ]
    return "\n".join(lines) + "\n"


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


async def log_ends(home: pathlib.Path) -> str:
    """The last lines of every host's log, for an error message."""
    return await asyncio.to_thread(
        lambda: "\n".join(
            f"{log.name}: {line}"
            for log in sorted(home.glob("kubelet-*.log"))
            for line in log.read_text(errors="replace").splitlines()[-5:]
        )
    )
