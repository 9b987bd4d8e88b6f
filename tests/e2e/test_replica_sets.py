"""A ReplicaSet on two tenant and two resource partitions: its pods come back, whatever happens to them or to the
controller."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cluster import ROOT, OneBox, eventually, onebox

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

EXAMPLE = ROOT / "examples" / "replicaset.yaml"
AT = ("--tenant", "red")
CONTROLLER = "controller-tp-1"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneBox]:
    with onebox(tmp_path_factory.mktemp("sets") / "home", "--no-examples", "--nodes", "10") as running:
        running.ursa("create", "tenant", "red", "--partition", "tp-1")
        yield running


def pods(box: OneBox) -> list[dict[str, Any]]:
    return box.items("pods", "-l", "tier=frontend", *AT)


def settled(box: OneBox, replicas: int) -> bool:
    """So many pods, all running, and the replica set knows."""
    [found] = box.items("rs", "frontend", *AT)
    there = pods(box)
    running = [
        pod for pod in there if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
    ]
    status = found["status"]
    ready = status.get("readyReplicas", 0), status.get("replicas", 0), status.get("availableReplicas", 0)
    return len(there) == len(running) == replicas and ready == (replicas,) * 3


def names(box: OneBox) -> set[str]:
    return {pod["metadata"]["name"] for pod in pods(box)}


def test_an_unmodified_manifest_becomes_running_pods_on_both_resource_partitions(box: OneBox) -> None:
    assert "replicaset.apps/frontend created" in box.ursa("create", "-f", str(EXAMPLE), *AT)
    eventually(lambda: settled(box, 3), within_s=60, what="3 pods Running")
    assert box.ursa("scale", "rs/frontend", "--replicas", "10", *AT) == "replicaset.apps/frontend scaled\n"
    eventually(lambda: settled(box, 10), within_s=60, what="10 pods Running")
    assert {pod["spec"]["resourcePartition"] for pod in pods(box)} == {"rp-1", "rp-2"}
    header, row = box.ursa("get", "rs", *AT).splitlines()
    assert header.split() == ["NAME", "DESIRED", "CURRENT", "READY", "AGE"]
    assert row.split()[:4] == ["frontend", "10", "10", "10"]
    described = box.ursa("describe", "rs", "frontend", *AT)
    assert "10 current / 10 desired" in described and "tier=frontend" in described
    eventually(lambda: "SuccessfulCreate" in box.ursa("describe", "rs", "frontend", *AT), within_s=60, what="an event")


def test_deleted_and_failed_pods_come_back(box: OneBox) -> None:
    before = sorted(names(box))
    box.ursa("delete", "pod", *before[:3], *AT, "--no-wait")
    box.ursa("delete", "pod", before[3], *AT, "--grace-period", "0", "--no-wait")
    eventually(lambda: settled(box, 10), within_s=60, what="10 pods again")
    assert not names(box) & set(before[:4])
    assert set(before[4:]) <= names(box)


def test_scaling_is_refused_when_it_is_not_as_expected(box: OneBox) -> None:
    refused = box.run("scale", "rs/frontend", "--replicas", "4", "--current-replicas", "2", *AT)
    assert refused.returncode == 1 and "Expected replicas to be 2, was 10" in refused.stderr
    refused = box.run("scale", "pod/x", "--replicas", "4", *AT)
    assert refused.returncode != 0 and "pods cannot be scaled" in refused.stderr


def test_a_controller_killed_in_the_midst_neither_doubles_nor_loses(box: OneBox, tmp_path: pathlib.Path) -> None:
    wide = json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": "wide"},
            "spec": {
                "replicas": 300,
                "selector": {"matchLabels": {"app": "wide"}},
                "template": {
                    "metadata": {"labels": {"app": "wide"}},
                    "spec": {"containers": [{"name": "c", "image": "busybox:1"}]},
                },
            },
        }
    )
    restarts = box.component(CONTROLLER)["restarts"]
    box.ursa("scale", "rs/frontend", "--replicas", "40", *AT)
    box.ursa("create", *AT, "-f", "-", stdin=wide)
    box.kill(CONTROLLER)
    box.ursa("delete", "pod", sorted(names(box))[0], *AT, "--no-wait")
    box.ursa("scale", "rs/frontend", "--replicas", "6", *AT)
    eventually(lambda: settled(box, 6), within_s=60, what="6 pods after the kill")

    def wide_is_whole() -> bool:
        [found] = box.items("rs", "wide", *AT)
        there = box.items("pods", "-l", "app=wide", *AT)
        return len(there) == 300 == found["status"].get("readyReplicas")

    eventually(wide_is_whole, within_s=60, what="300 pods Running")
    assert box.component(CONTROLLER)["restarts"] == restarts + 1


def test_deletion_takes_the_pods_along_or_leaves_them(box: OneBox) -> None:
    box.ursa("delete", "rs", "frontend", "--cascade", "orphan", *AT)
    left = names(box)
    assert len(left) == 6
    assert not any(pod["metadata"].get("ownerReferences") for pod in pods(box))
    box.ursa("create", "-f", str(EXAMPLE), *AT)
    eventually(lambda: settled(box, 3), within_s=60, what="3 of the 6 that were there")
    assert names(box) < left
    box.ursa("delete", "rs", "frontend", *AT)
    eventually(lambda: not pods(box), within_s=60, what="no pods left")
