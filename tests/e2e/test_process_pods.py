"""`ursa up --runtime process` and `ursa logs` as a person uses them."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterator

import pytest

from tests.support.cluster import OneBox, eventually, onebox

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PODS = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: shop}}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - name: app
    image: none
    command: [/bin/sh, -c]
    args: ["echo $(GREETING) $$$$; echo ready; while :; do sleep 60 & wait; done"]
    env: [{name: GREETING, value: hello from}]
  - name: side
    image: registry.k8s.io/pause:3.9
---
apiVersion: v1
kind: Pod
metadata: {name: job, labels: {app: shop}}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: none, command: [sh, -c, "echo one; echo two; echo three; exit 3"]}
---
apiVersion: v1
kind: Pod
metadata: {name: image}
spec:
  containers:
  - {name: main, image: nginx}
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneBox]:
    home = tmp_path_factory.mktemp("onebox") / "home"
    options = ("--runtime", "process", "--nodes", "2", "--tenant-partitions", "1", "--resource-partitions", "1")
    with onebox(home, *options) as running:
        running.environment["URSA_TENANT"] = "acme"
        running.ursa("create", "tenant", "acme")
        running.ursa("create", "tenant", "beta")
        eventually(lambda: running.run("apply", "-f", "-", stdin=PODS).returncode == 0, within_s=60, what="pods made")
        eventually(lambda: phase(running, "web") == "Running", within_s=60, what="web runs")
        eventually(lambda: phase(running, "job") == "Failed", within_s=60, what="job has ended")
        yield running


def phase(box: OneBox, name: str) -> str:
    [pod] = box.items("pod", name)
    return str(pod["status"].get("phase", ""))


def test_a_person_is_told_what_it_means(box: OneBox) -> None:
    told = box.run("up", "--base-port", str(box.base_port), *box.options)
    assert "commands of pods run on this machine as" in told.stdout + told.stderr


def test_logs_show_what_containers_print(box: OneBox) -> None:
    lines = box.ursa("logs", "web", "-c", "app").splitlines()
    assert lines[0].startswith("hello from ")
    assert lines[1:] == ["ready"]
    assert box.ursa("logs", "pod/job") == "one\ntwo\nthree\n"
    assert box.ursa("logs", "job", "--tail", "1") == "three\n"
    assert box.ursa("logs", "job", "--limit-bytes", "5") == "one\nt"
    assert box.ursa("logs", "job", "-f") == "one\ntwo\nthree\n", "it has ended: there is nothing to wait for"
    assert box.ursa("logs", "job", "--since", "1h") == "one\ntwo\nthree\n"
    assert box.ursa("logs", "job", "--since-time", "2999-01-01T00:00:00Z") == ""
    stamped = box.ursa("logs", "job", "--timestamps").splitlines()
    assert [line.split(" ")[1] for line in stamped] == ["one", "two", "three"]
    assert all(line.startswith("20") and line.split(" ")[0].endswith("Z") for line in stamped)
    chosen = box.ursa("logs", "-l", "app=shop", "--all-containers", "--prefix", "--tail", "1")
    assert chosen == "[pod/job/main] three\n[pod/web/app] ready\n"


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("nope",), 1, 'error: from server (NotFound): pods "nope" not found'),
        (("web", "--tenant", "beta"), 1, 'error: from server (NotFound): pods "web" not found'),
        (("web", "-c", "x"), 1, "error: container x is not valid for pod web out of: app, side"),
        (("job", "-p"), 1, 'previous terminated container "main" in pod "job" not found'),
        (("image",), 1, 'container "main" in pod "image" is waiting to start: CreateContainerError'),
        (("kubelet",), 1, "hint: the log of the component: `ursa logs component/kubelet`"),
        ((), 2, "error: expected 'logs [-f] [-p] (POD | component/NAME) [-c CONTAINER]'"),
        (("web", "-l", "app=shop"), 2, "error: only a selector (-l) or a POD name is allowed"),
        (("web", "--tail", "-2"), 2, "error: --tail must be greater than or equal to -1"),
        (("web", "--since", "0s"), 2, "error: --since must be greater than 0"),
        (("web", "--since", "soon"), 2, "error: --since 'soon' is no duration"),
        (("web", "--since", "1s", "--since-time", "2026-01-01T00:00:00Z"), 2, "only one of --since-time / --since"),
        (("rs/web",), 2, "error: there are no logs of 'rs'"),
    ],
)
def test_what_cannot_be_shown_is_told_in_kubectls_words(
    box: OneBox, words: tuple[str, ...], code: int, text: str
) -> None:
    done = box.run("logs", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr


def test_a_default_container_is_named(box: OneBox) -> None:
    assert 'Defaulted container "app" out of: app, side' in box.run("logs", "web").stderr


def test_a_component_has_its_log(box: OneBox) -> None:
    assert "pod started" in box.ursa("logs", "component/kubelet", "--tail", "-1")


def test_pods_outlive_their_kubelet_and_end_with_the_cluster(box: OneBox) -> None:
    first = box.ursa("logs", "web", "-c", "app")
    pid = int(first.split()[2])
    killed = box.kill("kubelet")
    eventually(
        lambda: box.component("kubelet")["pid"] not in (None, 0, killed), within_s=60, what="the kubelet is back"
    )
    eventually(lambda: box.run("logs", "web", "-c", "app").stdout == first, within_s=60, what="its pods are the same")
    os.kill(pid, 0)
    [pod] = box.items("pod", "web")
    assert [status["restartCount"] for status in pod["status"]["containerStatuses"]] == [0, 0], json.dumps(pod)
    box.ursa("down")
    assert not pathlib.Path(f"/proc/{pid}").exists()
