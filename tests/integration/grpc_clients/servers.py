"""A tenant partition and the resource partition that is its placement home, as real processes over real etcds."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence

import pytest

from services.cli.onebox import etcd_binary
from tests.support.cluster import eventually

# Fourteen ports are taken from the first base that has them free.
BASE_PORTS = (17930, 17945, 17980)
READY_WITHIN_S = 40.0


@contextlib.contextmanager
def tenant_partition(home: pathlib.Path) -> Iterator[str]:
    """host:port of a ready tenant partition `tp-1`; every process has ended on leaving."""
    etcd = etcd_binary.find(print).path
    tenant = _free_base()
    resource = tenant + 10
    (home / "tp-1.toml").write_text(
        _config("tp-1", tenant)
        + f'[[resource_partitions]]\nname = "rp-1"\nendpoints = ["127.0.0.1:{resource}"]\nplacement_home = true\n'
    )
    (home / "rp-1.toml").write_text(
        "placement_home = true\n"
        + _config("rp-1", resource)
        + f'[[tenant_partitions]]\nname = "tp-1"\nendpoints = ["127.0.0.1:{tenant}"]\n'
    )
    with contextlib.ExitStack() as stack:
        for name, port in (("tp-1", tenant), ("rp-1", resource)):
            stack.enter_context(_process(home / f"etcd-{name}.log", _etcd_argv(etcd, home / f"etcd-{name}", port)))
        servers = (("rp-1", "resource_partition", resource), ("tp-1", "tenant_partition", tenant))
        running = {}
        for name, module, _ in servers:
            argv = [sys.executable, "-m", f"services.{module}", "--config", str(home / f"{name}.toml")]
            running[name] = stack.enter_context(_process(home / f"{name}.log", argv))
        for name, _, port in servers:
            eventually(
                lambda name=name, port=port: _running(running[name], home / f"{name}.log") and _ready(port + 1),
                within_s=READY_WITHIN_S,
                what=f"{name} ready; see {home / name}.log",
            )
        yield f"127.0.0.1:{tenant}"


def _config(name: str, port: int) -> str:
    return f"""name = "{name}"
listen = "127.0.0.1:{port}"
[etcd]
endpoints = ["127.0.0.1:{port + 2}"]
[telemetry]
metrics_listen = "127.0.0.1:{port + 1}"
"""


def _etcd_argv(etcd: str, data: pathlib.Path, port: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{port + 2}", f"http://127.0.0.1:{port + 3}"
    return [
        etcd,
        f"--data-dir={data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--logger=zap",
        "--log-level=warn",
    ]


@contextlib.contextmanager
def _process(log: pathlib.Path, argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("wb") as output,
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=etcd_binary.clean_environment(),
        ) as process,
    ):
        try:
            yield process
            _running(process, log)
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _running(process: subprocess.Popen[bytes], log: pathlib.Path) -> bool:
    if process.poll() is not None:
        pytest.fail(
            f"{process.args} ended by itself ({process.returncode}):\n{log.read_text(errors='replace')[-3000:]}"
        )
    return True


def _free_base() -> int:
    for base in BASE_PORTS:
        if all(_free(port) for port in (*range(base, base + 4), *range(base + 10, base + 14))):
            return base
    pytest.fail(f"no free ports from any of {BASE_PORTS}")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
