"""`ursa bench chaos` in small: nodes die, a server is killed, and nothing is lost; a history is
judged again without a cluster."""

from __future__ import annotations

import json
import pathlib

import pytest

from services.bench.chaos.validators import VALIDATORS
from tests.support.cluster import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_a_short_run_violates_nothing_and_leaves_nothing_but_its_history(tmp_path: pathlib.Path) -> None:
    kept, temporary = tmp_path / "kept", tmp_path / "tmp"
    temporary.mkdir()
    done = Cluster(environment={"TMPDIR": str(temporary)}).run(
        "bench", "chaos", "--quick", "--nodes", "12", "--workloads", "2", "--replicas", "6", "--grace", "5",
        "--toleration", "1", "--faults", "node-death,rp-kill", "--seed", "5",
        "--keep", str(kept), "--html", str(tmp_path / "page.html"),
        "--json", str(tmp_path / "result.json"), "--data-items", str(tmp_path / "items.json"), "-o", "json",
        timeout_s=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["guarantees"] == {name: [] for name in VALIDATORS}
    assert [fault["name"] for fault in document["faults"]] == ["node-death", "rp-kill"]
    assert document["figures"]["evicted_pods"]["value"] >= 2, "the nodes that died had no pods"
    assert "<svg" in (tmp_path / "page.html").read_text()
    assert json.loads((tmp_path / "result.json").read_text())["observed"]["etcd"]
    assert document["machine"]["data_filesystem"]
    metrics = {item["labels"]["Metric"] for item in json.loads((tmp_path / "items.json").read_text())["dataItems"]}
    assert {"APIResponsiveness", "EtcdMetrics", "ResourceUsage"} <= metrics
    assert "violations 0" in done.stderr and "\x1b" not in done.stderr
    assert not list(temporary.iterdir())

    again = Cluster().run("bench", "chaos", "--judge", str(kept / "history.jsonl"), "-o", "json", timeout_s=30)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["figures"] == document["figures"]


def test_a_violated_guarantee_is_told_with_its_seed_and_the_story(tmp_path: pathlib.Path) -> None:
    from services.bench.chaos.facts import FinalPod
    from services.bench.chaos.recorder import Recorder
    from tests.unit.bench.chaos.histories import good

    with Recorder(tmp_path / "history.jsonl") as recorder:
        recorder.extend(fact for fact in good() if not (isinstance(fact, FinalPod) and fact.uid == "b2"))
    done = Cluster().run("bench", "chaos", "--judge", str(tmp_path / "history.jsonl"), timeout_s=30)

    assert done.returncode == 1
    assert "no watch told that it was deleted" in done.stderr
    assert "pod b2 tp-2" in done.stderr and "containers begin on rp-1/n2" in done.stderr
    assert "NothingLost" in done.stderr and "seed 7" in done.stderr and str(tmp_path / "history.jsonl") in done.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--faults", "rp-kill,nonsense"], "no such fault: nonsense"),
        (["--death-share", "70%"], "at most 50%"),
        (["--judge", "/nowhere/history.jsonl"], "/nowhere/history.jsonl"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(words: list[str], complaint: str) -> None:
    done = Cluster().run("bench", "chaos", *words, timeout_s=30)

    assert done.returncode != 0
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
