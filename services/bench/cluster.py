"""The cluster a benchmark measures: a one-box of its own, started and ended by the ``ursa`` command.

Its data directory is temporary and its ports are free ones, so a user's own cluster is never touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from services.bench.report import filesystem

PORTS_NEEDED = 110
FIRST_BASE_PORT = 23000
LAST_BASE_PORT = 32000


class ClusterFailed(Exception):
    """The cluster did not start or did not stop; the message ends with what ``ursa`` said."""


@dataclass(frozen=True)
class BenchCluster:
    """A running cluster. ``status`` is the object of ``ursa status -o json`` at its start."""

    home: pathlib.Path
    status: dict[str, Any]

    def endpoints(self, kind: str) -> dict[str, str]:
        """Endpoint by partition name; ``kind`` is ``tenant`` or ``resource``."""
        return {entry["name"]: entry["endpoint"] for entry in self.status["partitions"] if entry["kind"] == kind}

    def timelines(self) -> list[pathlib.Path]:
        """What schedulers and kubelets wrote of each pod (``services.base.timeline``), if they were asked to."""
        return sorted((self.home / "timelines").glob("*.tl"))

    def machine(self) -> dict[str, str]:
        """What a result says of the cluster beside the machine: etcd's version, and the file system that etcd's writes
        wait for (on tmpfs they wait for nothing)."""
        version = str(self.status.get("etcd_version", ""))
        facts = {"etcd": version, "data_filesystem": filesystem(self.home.resolve())}
        return {name: value for name, value in facts.items() if value}

    async def current_status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(await _ursa(self.home, ["status", "-o", "json"]))
        return document


@contextlib.asynccontextmanager
async def running(
    options: Sequence[str],
    *,
    keep_logs: pathlib.Path | None = None,
    pod_timeline: bool = False,
    base_port: int = 0,
    keep: bool = False,
) -> AsyncIterator[BenchCluster]:
    """``ursa up`` with ``options`` in a temporary home; on leaving, ``ursa down`` and nothing is left.

    ``keep_logs``: copy the components' logs there before they are removed. ``pod_timeline``: have schedulers and
    kubelets write ``timelines/<component>.tl``. ``base_port``: first of the ports, 0: free ones are found. ``keep``:
    the cluster stays up, if it came up. Raises ``ClusterFailed``.
    """
    home = pathlib.Path(tempfile.mkdtemp(prefix="ursa-bench-"))
    words = ["up", "--no-examples", "--base-port", str(base_port or free_base_port()), *options]
    stays = False
    try:
        await _ursa(home, [*words, "--pod-timeline"] if pod_timeline else words)
        started = BenchCluster(home, json.loads(await _ursa(home, ["status", "-o", "json"])))
        stays = keep
        yield started
    finally:
        if not stays:
            # A benchmark that was interrupted still ends what it started.
            await asyncio.shield(_end(home, keep_logs))


async def attached(home: pathlib.Path) -> BenchCluster:
    """The one-box that somebody else runs in ``home`` (absolute). Raises ``ClusterFailed``."""
    return BenchCluster(home, json.loads(await _ursa(home, ["status", "-o", "json"])))


async def _end(home: pathlib.Path, keep_logs: pathlib.Path | None) -> None:
    try:
        await _ursa(home, ["down"])
    finally:
        if keep_logs is not None and (home / "logs").exists():
            shutil.copytree(home / "logs", keep_logs, dirs_exist_ok=True)
        shutil.rmtree(home, ignore_errors=True)


async def _ursa(home: pathlib.Path, words: Sequence[str]) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.cli.main",
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "URSA_HOME": str(home), "NO_COLOR": "1"},
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        raise ClusterFailed(f"ursa {' '.join(words)}: exit code {process.returncode}\n{err.decode()}")
    return out.decode()


def free_base_port() -> int:
    """A base port from which on all the ports of a one-box are free on loopback."""
    for base in range(FIRST_BASE_PORT, LAST_BASE_PORT, PORTS_NEEDED):
        if all(_is_free(base + offset) for offset in range(PORTS_NEEDED)):
            return base
    raise ClusterFailed(f"no {PORTS_NEEDED} free ports in a row between {FIRST_BASE_PORT} and {LAST_BASE_PORT}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
