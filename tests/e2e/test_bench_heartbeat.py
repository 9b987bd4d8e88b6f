"""``ursa bench heartbeat --quick``: nodes join, stay Ready, and what they cost is told; nothing is left behind."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess

import pytest

from services.bench.report import filesystem
from tests.support.cluster import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_two_hundred_nodes_stay_ready_and_their_renewals_are_counted_three_times(tmp_path: pathlib.Path) -> None:
    home = tmp_path / "tmp"
    home.mkdir()
    page, result, items = (tmp_path / name for name in ("page.html", "result.json", "items.json"))
    words = ("bench", "heartbeat", "--quick", "-o", "json", f"--html={page}", f"--json={result}")
    words += (f"--data-items={items}",)
    done = Cluster(environment={"TMPDIR": str(home)}).run(*words, timeout_s=150)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    figures = {name: figure["value"] for name, figure in document["figures"].items()}
    assert figures["nodes_held_ready"] == 200
    assert figures["node_violations"] == 0
    for side in ("acknowledged", "served", "stored"):
        assert 50 <= figures[f"renewals_{side}_per_second"] <= 150, side
    assert 100 < figures["wal_bytes_per_heartbeat"] < 4000
    assert figures["disk_bytes_per_heartbeat"] > figures["wal_bytes_per_heartbeat"]
    assert figures["heartbeat_cpu_per_10000_nodes"] > 0
    assert 0 < figures["renewal_request_p50"] <= figures["renewal_request_p99"] < 8000
    assert document["observed"]["components"]["kubelet-1"]["kind"] == "kubelet"
    assert "nodes held ready" in page.read_text()
    assert document["machine"]["data_filesystem"] == filesystem(tmp_path.resolve())
    assert json.loads(result.read_text()) == document
    metrics = {item["labels"]["Metric"] for item in json.loads(items.read_text())["dataItems"]}
    assert {"APIResponsiveness", "EtcdMetrics", "ResourceUsage"} <= metrics
    assert re.search(r"^holding: \d/6  nodes Ready 200/200  renewals/s \d+ ", done.stderr, re.MULTILINE), done.stderr
    assert "\x1b" not in done.stderr
    assert list(home.iterdir()) == []
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(home) not in processes


def test_parameters_that_cannot_be_are_a_usage_error() -> None:
    done = Cluster().run("bench", "heartbeat", "--nodes", "1", "--hosts", "2")
    assert done.returncode == 2
    assert "--nodes 1" in done.stderr
