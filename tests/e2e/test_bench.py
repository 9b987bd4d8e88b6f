"""`ursa bench density` starts its own cluster, prints one object on stdout, and leaves nothing behind."""

from __future__ import annotations

import json
import pathlib
import subprocess
import tempfile

import pytest

from tests.support.cluster import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

# The figure: 1,000 pods on 200 hollow nodes Running within 8 s of the first create, on 2 cores.
ALL_RUNNING_WITHIN_S = 8.0


def test_a_thousand_pods_run_on_two_hundred_nodes_within_eight_seconds(tmp_path: pathlib.Path) -> None:
    cluster = Cluster(environment={"TMPDIR": str(tmp_path)})
    done = cluster.run("bench", "density", "--nodes", "200", "--pods", "1000", "-o", "json", timeout_s=280)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["benchmark"] == "density" and document["parameters"]["pods"] == 1000
    assert document["figures"]["all_running"]["value"] <= ALL_RUNNING_WITHIN_S, document["figures"]
    assert document["figures"]["nodes_used"]["value"] > 100
    assert list(tmp_path.iterdir()) == []
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in processes


def test_a_run_that_does_not_finish_does_not_count() -> None:
    done = Cluster().run(
        "bench", "density", "--nodes", "2", "--pods", "300", "--timeout", "5", "-o", "json", timeout_s=200
    )
    # 2 nodes hold 110 pods each, so 300 cannot run.
    assert done.returncode == 1
    assert "not Running" in json.loads(done.stdout)["invalid"]


def test_wrong_parameters_are_a_usage_error() -> None:
    done = Cluster().run("bench", "density", "--nodes", "3")
    assert done.returncode == 2 and "--nodes" in done.stderr
    assert tempfile.gettempdir() not in done.stderr
