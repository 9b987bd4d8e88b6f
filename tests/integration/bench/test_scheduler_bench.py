"""``ursa bench scheduler`` as a command, on real processes: a tiny workload, and an interruption."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import signal
import socket
import sys

import pytest

from tests.support import etcd_binaries

CONFIG = """
- name: Tiny
  defaultPodTemplatePath: pod.yaml
  workloadTemplate:
  - {opcode: createNodes, countParam: $nodes}
  - {opcode: createPods, count: 3, skipWaitToCompletion: true}
  - {opcode: barrier}
  - {opcode: churn, mode: recreate, number: 1, intervalMilliseconds: 50, templatePaths: [pod.yaml]}
  - {opcode: createPods, countParam: $pods, collectMetrics: true}
  workloads:
  - {name: Works, threshold: 1, labels: [performance], params: {nodes: 4, pods: 20}}
- name: TooMany
  workloadTemplate:
  - {opcode: createNodes, count: 1}
  - {opcode: createPods, count: 60, collectMetrics: true}
  workloads:
  - {name: ForItsNode, labels: [performance]}
- name: Claims
  workloadTemplate:
  - {opcode: createResourceDriver}
  - {opcode: createPods, count: 1, collectMetrics: true}
  workloads:
  - {name: Devices, labels: [performance]}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {generateName: tiny-}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: pause, image: pause, resources: {requests: {cpu: 10m}}}]
"""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.etcd,
    pytest.mark.skipif(etcd_binaries.machines_own() is None, reason="no etcd binary"),
]


@pytest.fixture
def config(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "pod.yaml").write_text(POD)
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def free_base_port() -> int:
    """Of forty ports that are free now."""
    for base in range(22500, 22960, 40):
        try:
            for port in range(base, base + 40):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise AssertionError("no forty free ports in a row")


async def bench(config: pathlib.Path, *options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.cli.main",
        "bench",
        "scheduler",
        f"--config={config}",
        f"--base-port={free_base_port()}",
        *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=_heed_interrupts,
    )


def _heed_interrupts() -> None:
    """A shell that runs the tests in the background has its children ignore SIGINT, and Python then does (sh(1))."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 10)], ids=["one of each, unary", "two of each, batches"])
async def test_workloads_are_measured_fail_or_are_not_supported(
    config: pathlib.Path, shape: tuple[int, int, int]
) -> None:
    html, data_items = config.with_name("report.html"), config.with_name("items.json")
    tenants, resources, batch = shape
    process = await bench(
        config,
        f"--tenant-partitions={tenants}",
        f"--resource-partitions={resources}",
        f"--create-batch={batch}",
        "--timeout=12",
        f"--html={html}",
        f"--data-items={data_items}",
        "-o",
        "json",
    )
    out, err = await process.communicate()

    # One of the workloads cannot place all its pods: the run does not count, and all others are reported.
    assert process.returncode == 1, err.decode()
    document = json.loads(out)
    found = {entry["name"]: entry for entry in document["workloads"]}
    assert {name: entry["result"] for name, entry in found.items()} == {
        "Tiny/Works": "measured",
        "TooMany/ForItsNode": "failed",
        "Claims/Devices": "not supported",
    }, err.decode()
    assert "pods are unbound" in found["TooMany/ForItsNode"]["reason"]
    assert "Insufficient cpu" in found["TooMany/ForItsNode"]["reason"]
    assert "dynamic resource allocation" in found["Claims/Devices"]["reason"]
    assert "TooMany/ForItsNode" in err.decode()

    figures = document["figures"]
    assert figures["Tiny/Works"]["unit"] == "pods/s"
    assert figures["Tiny/Works"]["value"] > 1
    assert figures["Tiny/Works"]["reference"] == 1.0
    assert figures["Tiny/Works/overcommitted_nodes"]["value"] == 0
    assert figures["Tiny/Works/memory/scheduler-tp-1"]["value"] > 1
    assert "calibration_drift" in figures
    (window,) = found["Tiny/Works"]["windows"]
    assert window["pods"] == 20

    items = json.loads(data_items.read_text())
    assert items["version"] == "v1"
    metrics = {item["labels"]["Metric"]: item for item in items["dataItems"]}
    assert metrics["PodsPerSecond"]["labels"]["Name"].startswith("Tiny/Works/")
    assert metrics["scheduler_scheduling_attempt_duration_seconds"]["unit"] == "ms"
    text = html.read_text()
    assert text.startswith("<!doctype html>") and "Tiny/Works" in text and "<svg" in text


async def test_an_interruption_ends_every_process(config: pathlib.Path) -> None:
    process = await bench(config, "--workload=TooMany", "--timeout=60")
    async with asyncio.timeout(40.0):
        while not (started := _scheduler_of(process.pid)):  # noqa: ASYNC110 - what changes it is another process
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(60.0):
        await process.communicate()

    assert process.returncode == 130
    assert not _is_alive(started)
    assert not _children(process.pid)


def _scheduler_of(parent: int) -> int:
    """The pid of the scheduler that ``parent`` has started; 0 if there is none yet."""
    return next((pid for pid, argv in _children(parent).items() if "services.scheduler" in argv), 0)


def _children(parent: int) -> dict[int, list[str]]:
    found = {}
    for directory in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
            argv = (directory / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if int(fields[1]) == parent:
            found[int(directory.name)] = argv
    found.pop(os.getpid(), None)
    return found


def _is_alive(pid: int) -> bool:
    return pathlib.Path(f"/proc/{pid}").exists()
