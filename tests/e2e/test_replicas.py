"""`ursa up --schedulers 2`: of a pair one schedules, and the other takes over when it is killed."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.e2e import manifests, scenario
from tests.support.cluster import OneBox, eventually, onebox

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ARGUMENTS = ("--no-examples", "--nodes", "3", "--tenant-partitions", "1", "--resource-partitions", "1")
PAIR = ("scheduler-tp-1", "scheduler-tp-1-2")


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneBox]:
    home: pathlib.Path = tmp_path_factory.mktemp("replicas") / "home"
    with onebox(home, *ARGUMENTS, "--schedulers", "2") as running:
        running.ursa("create", "tenant", "red")
        yield running


def leader(box: OneBox) -> str:
    """The component that holds the schedulers' lease."""
    leases = box.items("leases", "--tenant", "system", "-n", "kube-system", "--partition", "tp-1")
    [holder] = [item["spec"]["holderIdentity"] for item in leases if item["metadata"]["name"] == "default-scheduler"]
    return str(holder).partition("_")[0]


def runs(box: OneBox, name: str) -> bool:
    found = box.items("pods", name, "--tenant", "red")
    return bool(found[0]["status"].get("phase") == "Running")


def test_the_pair_is_there_and_one_of_it_leads(box: OneBox) -> None:
    kinds = {entry["name"]: entry["kind"] for entry in box.status()["components"]}
    assert {name: kinds[name] for name in PAIR} == dict.fromkeys(PAIR, "scheduler")
    assert kinds["controller-rp-1"] == "controllers"
    everybody = (*PAIR, "controller-rp-1")
    eventually(lambda: all(box.component(name)["ready"] for name in everybody), within_s=60, what="all ready")
    assert leader(box) in PAIR


def test_the_other_goes_on_when_the_leader_is_killed(box: OneBox) -> None:
    box.ursa("apply", "--tenant", "red", "-f", "-", stdin=manifests.POD.format(name="before"))
    eventually(lambda: runs(box, "before"), within_s=60, what="a pod before the kill Running")
    first = leader(box)
    box.kill(first)
    box.ursa("apply", "--tenant", "red", "-f", "-", stdin=manifests.POD.format(name="after"))
    eventually(lambda: runs(box, "after"), within_s=60, what="a pod after the kill Running")
    eventually(lambda: all(box.component(name)["ready"] for name in PAIR), within_s=60, what="both ready again")
    assert scenario.claims_of(box) == scenario.holders_of(box)
