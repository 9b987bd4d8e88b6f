"""The files that heartbeat and chaos leave when they are asked to, and refuse before anything starts."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from typer.testing import CliRunner

from services.bench.chaos import run as chaos_run
from services.bench.cli import app
from services.bench.cluster import BenchCluster
from services.bench.heartbeat import run as heartbeat_run
from services.bench.report import Figure, Report, filesystem
from tests.unit.bench.observe.test_page import observed

BENCHMARKS = pytest.mark.parametrize("benchmark", ["heartbeat", "chaos"])


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    async def played(parameters: Any, display: Any, *_: Any) -> Any:
        name, of = ("chaos", chaos_run) if hasattr(parameters, "seed") else ("heartbeat", heartbeat_run)
        return of.Results(Report(name, {}, {"violations": Figure(0.0, "violations")}), observed(10))

    monkeypatch.setattr(chaos_run, "run", played)
    monkeypatch.setattr(heartbeat_run, "run", played)


@BENCHMARKS
def test_result_page_and_perfdash_are_written(benchmark: str, tmp_path: pathlib.Path) -> None:
    files = {name: tmp_path / name for name in ("json", "html", "data-items")}
    words = [f"--{name}={path}" for name, path in files.items()]
    done = CliRunner().invoke(app, [benchmark, "--quick", *words])
    assert done.exit_code == 0, done.output
    assert json.loads(files["json"].read_text())["observed"]["components"]
    assert files["html"].read_text().startswith("<!doctype html>")
    items = json.loads(files["data-items"].read_text())["dataItems"]
    assert {item["labels"]["Name"] for item in items} == {benchmark}


@BENCHMARKS
@pytest.mark.parametrize("option", ["json", "html", "data-items"])
def test_a_file_that_cannot_be_is_refused_by_its_option(benchmark: str, option: str) -> None:
    done = CliRunner().invoke(app, [benchmark, f"--{option}=/nowhere/file"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 2
    assert f"--{option}" in done.output and "/nowhere is no directory" in done.output


def test_a_cluster_says_which_etcd_it_has_and_what_file_system_it_writes_to(tmp_path: pathlib.Path) -> None:
    cluster = BenchCluster(tmp_path, {"etcd_version": "3.5.1"})
    assert cluster.machine() == {"etcd": "3.5.1", "data_filesystem": filesystem(tmp_path.resolve())}
    assert BenchCluster(tmp_path, {}).machine().keys() == {"data_filesystem"}
