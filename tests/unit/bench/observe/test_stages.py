"""Stages of a start: they add up to it, whoever was quicker than whom, and what is missing is told."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from services.base.timeline import Stage
from services.bench.observe.document import stages_document
from services.bench.observe.stages import MOMENTS, STAGES, Stages, Watched, collect_stages

ORDER = (
    Stage.SEEN,
    Stage.SCHEDULED,
    Stage.CLAIMED,
    Stage.BOUND,
    Stage.NODE_SEEN,
    Stage.STARTED,
    Stage.RUNNING,
)


def write(path: pathlib.Path, marks: list[tuple[Stage, str, float]]) -> pathlib.Path:
    path.write_text("".join(f"{stage}\t{uid}\t{round(at * 1e9)}\trp-1/n\n" for stage, uid, at in marks))
    return path


def start(uid: str, at: float, step: float = 0.1) -> list[tuple[Stage, str, float]]:
    return [(stage, uid, at + step * number) for number, stage in enumerate(ORDER, 1)]


def test_moments_are_those_of_the_timeline_between_those_of_the_client() -> None:
    assert ("created", *map(str, ORDER), "watched") == MOMENTS


def test_each_stage_is_what_passed_since_the_one_before(tmp_path: pathlib.Path) -> None:
    marks = start("a", 10.0)
    scheduler = write(tmp_path / "scheduler.tl", marks[:4])
    kubelet = write(tmp_path / "kubelet.tl", [*marks[4:], (Stage.END, "a", 11.5), (Stage.SEEN, "other", 1.0)])
    stages = collect_stages([scheduler, kubelet], {"a": Watched(10.0, 10.8)})
    assert stages.total_s() == pytest.approx([0.8])
    assert {stage: pytest.approx(0.1) for stage in STAGES} == {s: v[0] for s, v in stages.steps_s().items()}
    assert stages.reached_s()["bound"] == pytest.approx([0.4])


def test_the_first_mark_counts_where_several_processes_have_one(tmp_path: pathlib.Path) -> None:
    standby = write(tmp_path / "standby.tl", [(Stage.SEEN, "a", 10.3)])
    leader = write(tmp_path / "leader.tl", start("a", 10.0))
    stages = collect_stages([standby, leader], {"a": Watched(10.0, 10.9)})
    assert stages.at_s["seen"] == pytest.approx([10.1])


def test_stages_add_up_though_a_kubelet_was_quicker_than_the_answer_to_the_bind(tmp_path: pathlib.Path) -> None:
    marks = {stage: at for stage, _, at in start("a", 10.0)}
    marks[Stage.NODE_SEEN] = marks[Stage.BOUND] - 0.05
    marks[Stage.RUNNING] = 11.0  # written down after the client's watch had shown it
    file = write(tmp_path / "all.tl", [(stage, "a", at) for stage, at in marks.items()])
    stages = collect_stages([file], {"a": Watched(10.0, 10.9)})
    steps = {stage: float(values[0]) for stage, values in stages.steps_s().items()}
    assert steps["node_seen"] == 0.0
    assert min(steps.values()) >= 0.0
    assert sum(steps.values()) == pytest.approx(0.9) == stages.total_s()


def test_pods_without_every_stage_count_in_the_whole_but_not_in_the_stages(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / "all.tl", [*start("a", 10.0), *start("b", 10.0)[:3]])
    watched = {"a": Watched(10.0, 10.8), "b": Watched(10.0, 12.0), "never": Watched(10.0, float("nan"))}
    stages = collect_stages([file], watched)
    assert stages.whole().tolist() == [True, False, False]
    assert sorted(stages.total_s()) == pytest.approx([0.8, 2.0])
    assert len(stages.steps_s()["bound"]) == 1
    document = stages_document(stages)
    assert (document["pods"], document["pods_with_every_stage"]) == (3, 1)
    assert document["startup_ms"]["p99"] == pytest.approx(2000.0)


def test_no_pod_at_all_has_no_percentiles(tmp_path: pathlib.Path) -> None:
    stages = collect_stages([write(tmp_path / "empty.tl", [])], {})
    assert stages.around(0.5) == {}
    assert stages_document(stages)["startup_ms"] == {"p50": None, "p90": None, "p99": None}


def test_what_pods_at_a_percentile_waited_for_adds_up_to_their_start() -> None:
    rng = np.random.default_rng(7)
    steps = rng.exponential(0.05, (len(STAGES), 1000))
    at = np.vstack([np.full(1000, 5.0), 5.0 + steps.cumsum(axis=0)])
    stages = Stages([str(number) for number in range(1000)], dict(zip(MOMENTS, at, strict=True)))
    for share in (0.5, 0.9, 0.99):
        around = sum(stages.around(share).values())
        rank = np.sort(stages.total_s())[int(np.ceil(share * 1000)) - 1]
        assert around == pytest.approx(rank, rel=0.05)
