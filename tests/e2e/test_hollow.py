"""`ursa hollow` as a person uses it: nodes that join a running cluster, are disturbed, and are gone when it ends."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.cluster import OneBox, eventually, free_port_range, onebox

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NODES = 40


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneBox]:
    home = tmp_path_factory.mktemp("hollow") / "home"
    with onebox(home, "--no-examples", "--nodes", "2", "--hollow-hosts", "2", "--tenant-partitions", "1") as running:
        yield running


def nodes(box: OneBox) -> dict[str, bool]:
    """Whether each node that has joined is Ready, by name."""
    listed = json.loads(box.ursa("get", "nodes", "-o", "json"))["items"]
    conditions = {item["metadata"]["name"]: item["status"]["conditions"] for item in listed}
    return {
        name: any(condition["type"] == "Ready" and condition["status"] == "True" for condition in found)
        for name, found in conditions.items()
        if name.startswith("joined-")
    }


def boot_ids(box: OneBox) -> dict[str, str]:
    listed = json.loads(box.ursa("get", "nodes", "-o", "json"))["items"]
    return {item["metadata"]["name"]: item["status"]["nodeInfo"]["bootID"] for item in listed}


def test_nodes_join_are_disturbed_and_leave(box: OneBox, tmp_path: pathlib.Path) -> None:
    address = f"127.0.0.1:{free_port_range(1)}"
    words = ["hollow", "--nodes", str(NODES), "--listen", address, "--delete-on-exit", "--proxy", "--seed", "1"]
    words += ["--start-delay", "lognormal:20ms,0.5", "--zones", "east,west"]
    said = tmp_path / "said"
    with said.open("wb") as output:
        command = subprocess.Popen(
            [sys.executable, "-m", "services.cli.main", *words],
            stdout=output,
            stderr=output,
            env={**os.environ, "URSA_HOME": str(box.home), "NO_COLOR": "1"},
        )
    try:
        eventually(lambda: "nodes Ready after" in said.read_text(), within_s=60, what="the nodes joined")
        found = nodes(box)
        assert len(found) == NODES and all(found.values())
        assert {name.rsplit("-", 1)[0] for name in found} == {"joined-rp-1", "joined-rp-2"}

        before = boot_ids(box)
        share = ["--share", "10%", "--seed", "3", "--at", address]
        struck = box.ursa("hollow", "disturb", "--kind", "death", *share).split()
        assert len(struck) == 4 and set(struck) <= set(found)
        assert box.ursa("hollow", "restore", "--at", address).split() == struck

        def rebooted() -> bool:
            return {name for name, boot_id in boot_ids(box).items() if before[name] != boot_id} == set(struck)

        eventually(rebooted, within_s=60, what="the nodes that died came back with another boot id")
        assert box.ursa("hollow", "disturb", "--kind", "cut", "--node", "hollow-rp-2-h2-0000").split() == [
            "hollow-rp-2-h2-0000"
        ], "the one-box's own, on its second host"
        assert box.ursa("hollow", "restore").split() == ["hollow-rp-2-h2-0000"]
    finally:
        command.send_signal(signal.SIGINT)
        code = command.wait(60)
    assert code == 0, said.read_text()
    assert "the nodes are deleted" in said.read_text()
    assert nodes(box) == {}


def test_what_is_wrong_is_said_and_nothing_joins(box: OneBox) -> None:
    for words, says in [
        (["--nodes", "4", "--start-delay", "soon"], "--start-delay: 'soon' is no duration"),
        (["--nodes", "4", "--death", "150%"], "--death: '150%' is no share"),
        (["--nodes", "1"], "--nodes 1: at least one for each resource partition (rp-1, rp-2)"),
        (["--nodes", "4", "--rp", "tp-1"], "--rp tp-1: nodes live in resource partitions"),
        (["--nodes", "4", "--capacity", "cpu=lots,pods=1"], "--capacity: cpu=lots"),
        ([], "--nodes is missing"),
    ]:
        done = subprocess.run(
            [sys.executable, "-m", "services.cli.main", "hollow", *words],
            capture_output=True,
            text=True,
            env={**os.environ, "URSA_HOME": str(box.home), "NO_COLOR": "1"},
            check=False,
        )
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr
    assert nodes(box) == {}
