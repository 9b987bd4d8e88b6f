"""`ursa up` as a person uses it: two tenants on two tenant partitions, nodes in two resource partitions."""

from __future__ import annotations

import pathlib
import socket
from collections.abc import Iterator

import pytest

from tests.e2e import scenario
from tests.support.cluster import Cluster, OneBox, eventually, free_port_range, onebox

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneBox]:
    with onebox(tmp_path_factory.mktemp("onebox") / "home", "--no-examples", "--nodes", "10") as running:
        yield running


@pytest.mark.parametrize("step", scenario.STEPS, ids=lambda step: step.__name__)
def test_two_tenants(box: Cluster, step: object) -> None:
    assert callable(step)
    step(box)


def test_status_is_one_object_about_everything(box: OneBox) -> None:
    # An etcd whose disk stands still for two seconds is "no answer" to the one who asks then.
    parts = ("partitions", "components")
    eventually(
        lambda: all(entry["ready"] for part in parts for entry in box.status()[part]), within_s=60, what="all ready"
    )
    status = box.status()
    assert {entry["name"]: entry["kind"] for entry in status["partitions"]} == {
        "tp-1": "tenant",
        "tp-2": "tenant",
        "rp-1": "resource",
        "rp-2": "resource",
    }
    assert all(entry["endpoint"] and entry["etcd"] for entry in status["partitions"])
    assert all(entry["pid"] and entry["restarts"] == 0 for entry in status["components"])
    assert status["nodes"] == {"rp-1": {"total": 10, "ready": 10}, "rp-2": {"total": 10, "ready": 10}}
    assert status["pods"]["blue"]["Running"] == 3


def test_a_crashed_component_is_restarted_and_status_says_so(box: OneBox) -> None:
    killed = box.kill("scheduler-tp-2")

    def restarted() -> bool:
        entry = box.component("scheduler-tp-2")
        return bool(entry["ready"]) and entry["pid"] != killed and entry["restarts"] == 1

    eventually(restarted, within_s=60, what="scheduler-tp-2 restarted once")
    assert "scheduler-tp-2" in box.ursa("status")


def test_a_second_up_is_safe(box: OneBox) -> None:
    before = {entry["name"]: entry["pid"] for entry in box.status()["components"]}
    box.up()
    assert {entry["name"]: entry["pid"] for entry in box.status()["components"]} == before


def test_state_survives_down_and_up(box: OneBox) -> None:
    uids = {pod["metadata"]["uid"] for pod in box.items("pods", "--tenant", "blue", "-n", "shop")}
    assert uids
    box.down()
    assert box.run("get", "pods", "--tenant", "blue", "-n", "shop").returncode == 3
    box.up()
    pods = box.items("pods", "--tenant", "blue", "-n", "shop")
    assert {pod["metadata"]["uid"] for pod in pods} == uids
    eventually(
        lambda: scenario.phases(box, "blue") == {"Running": len(uids)},
        within_s=60,
        what="the pods Running after a restart",
    )


def test_a_busy_port_is_reported_by_name(tmp_path: pathlib.Path) -> None:
    base = free_port_range()
    box = OneBox(tmp_path / "home", "--no-examples", base_port=base)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + 10))
        taken.listen()
        refused = box.run("up", "--base-port", str(base), "--no-examples")
    assert refused.returncode != 0
    assert str(base + 10) in refused.stderr and "tp-1" in refused.stderr, refused.stderr
    assert not box.status().get("components") or not any(entry["ready"] for entry in box.status()["components"])
