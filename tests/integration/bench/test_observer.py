"""The observer on a real cluster: every process, what etcd writes, what the API takes, over a restart."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pathlib
import signal

import numpy as np
import pytest

from services.base.clock import SystemClock
from services.bench import cluster
from services.bench.fetching import fetch
from services.bench.observe import Observer, document, page, proc
from services.bench.observe.components import Roster
from services.bench.observe.observations import quiet
from services.bench.report import Report
from services.client.clientset import Clientset
from services.rpc.channel import make_channel
from tests.support.client_world import node

pytestmark = pytest.mark.timeout(180)

OPTIONS = ["--tenant-partitions=1", "--resource-partitions=1", "--nodes=3"]


async def test_everything_is_seen_over_a_restart_at_less_than_a_hundredth_of_a_core() -> None:
    async with cluster.running(OPTIONS) as started:
        async with Observer(started, clock=SystemClock(), period_s=0.25) as observer:
            etcd = Roster(started.home).now()["etcd-rp-1"]
            value = base64.b64encode(os.urandom(900)).decode()
            for number in range(200):
                key = base64.b64encode(f"/bench/{number}".encode()).decode()
                await fetch(etcd.metrics, "/v3/kv/put", body=json.dumps({"key": key, "value": value}).encode())
            async with make_channel([started.endpoints("resource")["rp-1"]]) as channel:
                client = Clientset(channel)
                for number in range(20):
                    await client.nodes.create(node(f"made-{number}"))
            await observer.look()
            observer.mark("fault: controller-rp-1 killed")
            before = Roster(started.home).now()["controller-rp-1"].pid
            os.kill(before, signal.SIGKILL)
            async with asyncio.timeout(30):
                while not _has_come_back(started.home, before):  # noqa: ASYNC110 - it is another process
                    await asyncio.sleep(0.05)
            await observer.look()
        seen = observer.observations()

    assert {"etcd-tp-1", "etcd-rp-1", "tp-1", "rp-1", "scheduler-tp-1", "controller-rp-1", "hollow"} <= set(
        seen.components
    )
    for component in seen.components.values():
        assert quiet(component.resident_bytes).max() > 1e6, component.name
        assert np.all(np.diff(component.cpu_s) >= 0), component.name
        assert np.all(np.diff(component.at_s) >= 0)
    assert seen.components["controller-rp-1"].cpu_s[-1] > 0.2, "its start after the kill is its own work"

    etcd_seen = seen.etcds["etcd-rp-1"]
    assert 200 * 900 < etcd_seen.wal_bytes[-1] < 200 * 900 * 2
    assert seen.components["etcd-rp-1"].written_bytes[-1] >= etcd_seen.wal_bytes[-1]
    # etcd counts either each record once or, as 3.4 does, twice; the growth of its files is what it is.
    ratio = etcd_seen.wal_metric_bytes[-1] / etcd_seen.wal_bytes[-1]
    assert any(abs(ratio - exact) < 0.02 for exact in (1.0, 2.0)), ratio
    assert etcd_seen.fsync.count > 100
    assert etcd_seen.db_bytes[-1] >= etcd_seen.db_in_use_bytes[-1] > 0

    created = seen.api["rp-1", "CREATE", "nodes"]
    assert created.count == 20
    assert 0.0005 < created.quantile(0.99) < 5.0
    assert [mark.text for mark in seen.marks] == ["fault: controller-rp-1 killed"]
    assert seen.observer_cpu_s / seen.seconds < 0.04, "four looks a second here: a hundredth of a core at one"

    whole = document(Report("observed", {}), seen)
    assert json.loads(json.dumps(whole))["observed"]["etcd"]["etcd-rp-1"]["fsyncs"] == etcd_seen.fsync.count
    assert "fault: controller-rp-1 killed" in page(Report("observed", {}), seen)


def _has_come_back(home: pathlib.Path, before: int) -> bool:
    pid = Roster(home).now()["controller-rp-1"].pid
    usage = proc.usage(pid) if pid not in (0, before) else None
    return usage is not None and usage.cpu_s > 0.2
