"""`ursa bench storage|watch|list`, very small: each run is valid, has all figures and leaves nothing."""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any

import pytest

from tests.support.cluster import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

LATENCY = ("p50", "p90", "p99")


def shares(*phases: str) -> set[str]:
    return {f"{phase}_{name}_cpu_share" for phase in phases for name in ("server", "etcd", "client")}


def latency(*names: str) -> set[str]:
    return {f"{name}_{share}" for name in names for share in LATENCY}


CALIBRATION = {"calibration_steps_per_second", "calibration_drift"}


def measured(tmp_path: pathlib.Path, *words: str) -> dict[str, Any]:
    """The figures of a run that counts."""
    done = Cluster(environment={"TMPDIR": str(tmp_path)}).run("bench", *words, "--quick", "-o", "json", timeout_s=110)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["benchmark"] == words[0] and "invalid" not in document
    assert list(tmp_path.iterdir()) == []
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in processes
    figures: dict[str, Any] = document["figures"]
    return figures


def positive(figures: dict[str, Any], *names: str) -> bool:
    return all(figures[name]["value"] > 0 for name in names)


def test_storage(tmp_path: pathlib.Path) -> None:
    sizes = ("--creates=300", "--batch-creates=600", "--batch-size=100", "--puts=300", "--echoes=300")
    figures = measured(tmp_path, "storage", *sizes)
    rates = {
        "unary_creates_per_second",
        "batch_creates_per_second",
        "etcd_puts_per_second",
        "etcd_puts_grpc_aio_per_second",
        "batch_creates_to_grpc_aio_puts",
        "echo_calls_per_second",
        "objects_checked",
        "server_memory_after",
    }
    times = latency("unary_create", "batch_create", "etcd_put")
    used = shares("unary_create", "batch_create", "etcd_put", "etcd_put_grpc_aio") | {
        "echo_server_cpu_share",
        "echo_client_cpu_share",
    }
    assert set(figures) == rates | times | used | CALIBRATION
    assert positive(figures, *rates, *times)
    assert figures["objects_checked"]["value"] == 900
    # References: the peer's is quoted with its source, etcd's own is of this run.
    assert figures["unary_creates_per_second"]["reference"] == 989
    assert "kube-apiserver" in figures["unary_creates_per_second"]["reference_source"]
    assert figures["batch_creates_per_second"]["reference"] == pytest.approx(
        figures["etcd_puts_per_second"]["value"], rel=1e-3
    )


def test_watch(tmp_path: pathlib.Path) -> None:
    figures = measured(
        tmp_path,
        "watch",
        *("--watchers=20", "--creates=100", "--latency-seconds=0.5", "--rate=100"),
        *("--node-watches=200", "--node-events=100", "--idle-watches=200", "--idle-seconds=1"),
    )
    rates = {
        "watch_events_per_second",
        "watch_batch_creates_per_second",
        "watched_creates_per_second",
        "watched_creates_events_per_second",
        "multiplexed_events_per_second",
        "watch_latency_writes_per_second",
        "watch_latency_few_writes_per_second",
    }
    times = latency("watched_create", "watch_latency", "watch_latency_unread", "watch_latency_few")
    costs = {"node_watch_cpu_per_event", "node_watch_cpu_per_event_few", "node_watch_cpu_ratio"}
    idle = {"idle_watches_cpu_share", "idle_watches_cpu_added"}
    used = shares("watch_events", "watched_creates", "multiplexed", "watch_latency", "watch_latency_few", "node_watch")
    assert set(figures) == rates | times | costs | idle | used | {"watch_latency_unread_ratio"} | CALIBRATION
    assert positive(figures, *rates, "watched_create_p99", "watch_latency_p99")


def test_ramp(tmp_path: pathlib.Path) -> None:
    figures = measured(tmp_path, "ramp", "--first=20", "--most=40", "--write-seconds=1", "--rate=10")
    ladders = {"ramp_own_streams", "ramp_multiplexed", "ramp_node_watches"}
    shown = {f"{ladder}_{what}" for ladder in ladders for what in ("p99", "memory", "server_cpu_share")}
    assert set(figures) == ladders | shown | CALIBRATION
    assert [figures[ladder]["value"] for ladder in sorted(ladders)] == [40, 1000, 40]
    assert all("nothing broke" in figures[ladder]["reference_source"] for ladder in ladders)


def test_ramp_says_what_broke(tmp_path: pathlib.Path) -> None:
    figures = measured(tmp_path, "ramp", "--first=20", "--most=40", "--write-seconds=0.5", "--rate=20", "--memory-mb=1")
    assert (figures["ramp_own_streams"]["value"], figures["ramp_own_streams"]["reference"]) == (0, 20)
    assert "broke: memory" in figures["ramp_own_streams"]["reference_source"]


def test_list(tmp_path: pathlib.Path) -> None:
    figures = measured(tmp_path, "list", "--pods=2000", "--lists=2", "--at-once=3", "--rounds=1")
    names = {
        "list_objects_per_second",
        "list_consistent_objects_per_second",
        "lists_at_once_objects_per_second",
        "server_memory",
        "server_memory_empty",
        "server_memory_after_restart",
        "etcd_memory",
        "fill_creates_per_second",
        "cache_ready",
        "cache_ready_from_kill",
        "objects_checked",
    }
    assert set(figures) == names | {"lists_at_once_memory_growth"} | shares("list", "lists_at_once") | CALIBRATION
    assert positive(figures, *names)
    assert figures["cache_ready_from_kill"]["value"] >= figures["cache_ready"]["value"]
    assert figures["server_memory"]["reference"] == 2980


def test_a_benchmark_without_an_etcd_says_so(tmp_path: pathlib.Path) -> None:
    etcd = tmp_path / "etcd"
    etcd.write_text("#!/bin/sh\necho no etcd today >&2\nexit 3\n")
    etcd.chmod(0o755)
    done = Cluster(environment={"PATH": f"{tmp_path}:/usr/bin:/bin"}).run("bench", "list", "--quick", timeout_s=60)
    assert done.returncode == 1
    assert "no etcd today" in done.stderr and "Traceback" not in done.stderr
