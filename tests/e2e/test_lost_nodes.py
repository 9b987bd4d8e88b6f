"""A host of kubelets is killed: its pods are evicted on both tenant partitions; it returns, and nothing is left."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import scenario
from tests.support.cluster import ROOT, OneBox, eventually, onebox
from tests.support.etcd import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TENANTS = {"red": "tp-1", "blue": "tp-2"}
PORTS = range(24_300, 24_400)
GRACE_S = 25
SETTINGS = tuple(
    word
    for field in (f"grace_s={GRACE_S}", "startup_grace_s=30", "monitor_period_s=1", "eviction_rate_per_s=1")
    for word in ("--set", f"controller-rp-1.nodes.{field}")
)
DOOMED = ("doomed-0000", "doomed-0001")
# Grace, a look, a taint, three seconds of toleration; the rest is a busy machine's.
EVICTED_WITHIN_S = GRACE_S + 45


class Host:
    """A process with two nodes of rp-1 in a zone of their own."""

    def __init__(self, directory: pathlib.Path, endpoint: str) -> None:
        self._directory = directory
        self._file = directory / "doomed.toml"
        self._file.write_text(
            f'''name = "doomed"
[telemetry]
metrics_listen = "127.0.0.1:{free_port(PORTS)}"
[[pools]]
resource_partition = "rp-1"
endpoints = ["{endpoint}"]
nodes = {len(DOOMED)}
name_prefix = "doomed-"
zones = ["zone-d"]
capacity = {{ cpu = "32", memory = "256Gi", pods = "110" }}
'''
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._directory / "doomed.log").open("ab") as log:
            command = [sys.executable, "-m", "services.kubelet", "--config", str(self._file)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneBox]:
    home = tmp_path_factory.mktemp("lost") / "home"
    with onebox(home, "--no-examples", "--nodes", "4", *SETTINGS) as running:
        for tenant, partition in TENANTS.items():
            running.ursa("create", "tenant", tenant, "--partition", partition)
        yield running


@pytest.fixture(scope="module")
def host(box: OneBox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    endpoint = next(entry["endpoint"] for entry in box.status()["partitions"] if entry["name"] == "rp-1")
    made = Host(tmp_path_factory.mktemp("host"), endpoint)
    made.start()
    try:
        eventually(lambda: all(ready(box, name) == "True" for name in DOOMED), within_s=60, what="nodes Ready")
        yield made
    finally:
        made.kill()


def ready(box: OneBox, name: str) -> str:
    return next((c["status"] for c in node(box, name)["status"].get("conditions", []) if c["type"] == "Ready"), "")


def node(box: OneBox, name: str) -> dict[str, Any]:
    return next((one for one in box.items("nodes") if one["metadata"]["name"] == name), {"status": {}})


def taints(box: OneBox, name: str) -> set[str]:
    return {f"{taint['key']}:{taint['effect']}" for taint in node(box, name).get("spec", {}).get("taints", [])}


def manifest(name: str, hostname: str, stays_s: int | None = 3) -> str:
    """``stays_s`` None: what admission gives it, five minutes."""
    spec: dict[str, Any] = {
        "containers": [{"name": "main", "image": "busybox", "resources": {"requests": {"cpu": "10m"}}}],
        "nodeSelector": {"kubernetes.io/hostname": hostname},
    }
    if stays_s is not None:
        key = "node.kubernetes.io/unreachable"
        toleration = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": stays_s}
        spec["tolerations"] = [toleration]
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


def pods(box: OneBox, tenant: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in box.items("pods", "--tenant", tenant)}


def phases(box: OneBox) -> list[str]:
    return [one["status"].get("phase", "") for tenant in TENANTS for one in pods(box, tenant).values()]


def going(box: OneBox, tenant: str) -> set[str]:
    return {name for name, one in pods(box, tenant).items() if "deletionTimestamp" in one["metadata"]}


def test_pods_of_a_killed_host_are_evicted_and_it_returns_to_none_of_them(box: OneBox, host: Host) -> None:
    for tenant in TENANTS:
        for number, hostname in enumerate((*DOOMED, "hollow-rp-2-0000")):
            box.ursa("create", "--tenant", tenant, "-f", "-", stdin=manifest(f"pod-{number}", hostname))
    eventually(lambda: phases(box) == ["Running"] * 6, within_s=60, what="all pods Running")

    host.kill()
    doomed = {"pod-0", "pod-1"}
    for tenant in TENANTS:
        eventually(
            lambda tenant=tenant: going(box, tenant) == doomed,
            within_s=EVICTED_WITHIN_S,
            what=f"the pods of {tenant} on the killed host being deleted",
            pause_s=1.0,
        )
        for name in doomed:
            conditions = {c["type"]: c for c in pods(box, tenant)[name]["status"]["conditions"]}
            assert conditions["DisruptionTarget"]["reason"] == "DeletionByTaintManager"
            assert conditions["Ready"]["status"] == "False"
    for name in DOOMED:
        assert ready(box, name) == "Unknown"
        unreachable = "node.kubernetes.io/unreachable"
        assert taints(box, name) == {f"{unreachable}:NoExecute", f"{unreachable}:NoSchedule"}
    assert "NodeNotReady" in box.ursa("describe", "node", DOOMED[0])
    assert "TaintManagerEviction" in box.ursa("describe", "pod", "pod-0", "--tenant", "red")

    host.start()
    eventually(lambda: all(ready(box, name) == "True" for name in DOOMED), within_s=60, what="nodes Ready again")
    eventually(lambda: all(taints(box, name) == set() for name in DOOMED), within_s=60, what="no taint left")
    for tenant in TENANTS:
        eventually(
            lambda tenant=tenant: set(pods(box, tenant)) == {"pod-2"},
            within_s=60,
            what=f"the evicted pods of {tenant} gone, and no other",
        )
    eventually(
        lambda: scenario.claims_of(box) == scenario.holders_of(box), within_s=60, what="one claim per pod, none more"
    )
    assert phases(box) == ["Running"] * 2


def test_a_host_that_was_only_silent_for_a_while_keeps_its_pods_and_they_are_ready_again(
    box: OneBox, host: Host
) -> None:
    box.ursa("create", "--tenant", "red", "-f", "-", stdin=manifest("calm", DOOMED[0], None))
    eventually(lambda: pod_ready(box, "calm") == "True", within_s=60, what="the pod ready")
    host.signal(signal.SIGSTOP)
    try:
        eventually(
            lambda: pod_ready(box, "calm") == "False", within_s=EVICTED_WITHIN_S, what="the pod not ready", pause_s=1.0
        )
    finally:
        host.signal(signal.SIGCONT)
    eventually(lambda: taints(box, DOOMED[0]) == set(), within_s=60, what="no taint left")
    eventually(lambda: pod_ready(box, "calm") == "True", within_s=60, what="the pod ready again")
    assert going(box, "red") == set()


def pod_ready(box: OneBox, name: str) -> str:
    conditions = pods(box, "red")[name]["status"].get("conditions", [])
    return next((c["status"] for c in conditions if c["type"] == "Ready"), "")
