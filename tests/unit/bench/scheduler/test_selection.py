"""Which workloads are chosen by name, label filter and --quick."""

from __future__ import annotations

import pathlib

import pytest

from services.bench.scheduler import labels, reader, selection
from services.bench.scheduler.errors import FileError
from services.bench.scheduler.reader import TestCase

CASES = """
- name: A
  workloadTemplate: [{opcode: createPods, countParam: $pods, collectMetrics: true}]
  workloads:
  - {name: Big, labels: [performance], params: {pods: 100}}
  - {name: Small/er, labels: [integration-test, short], params: {pods: 20}}
  - {name: Smallest, labels: [integration-test, short], params: {pods: 10}}
- name: B
  workloadTemplate: [{opcode: createPods, countParam: $pods, collectMetrics: true}]
  workloads:
  - {name: Only, labels: [performance, short], params: {pods: 5}}
"""


@pytest.fixture
def cases(tmp_path: pathlib.Path) -> list[TestCase]:
    path = tmp_path / "config.yaml"
    path.write_text(CASES)
    return reader.read(path)


@pytest.mark.parametrize(
    ("label_filter", "has", "expected"),
    [
        ("", {"a"}, True),
        ("a", {"a", "b"}, True),
        ("a,b", {"a"}, False),
        ("+a,-b", {"a"}, True),
        ("+a,-b", {"a", "b"}, False),
        ("-a", set(), True),
        ("a, ", {"a"}, True),
    ],
)
def test_a_label_filter_names_what_must_and_must_not_be_there(label_filter: str, has: set[str], expected: bool) -> None:
    assert labels.selected(label_filter, has) is expected


@pytest.mark.parametrize(
    ("patterns", "label_filter", "quick", "expected"),
    [
        ([], None, False, ["A/Big", "B/Only"]),
        ([], "short", False, ["A/Small/er", "A/Smallest", "B/Only"]),
        ([], "performance,-short", False, ["A/Big"]),
        (["A"], None, False, ["A/Big", "A/Small/er", "A/Smallest"]),
        (["A/Small/er"], None, False, ["A/Small/er"]),
        (["*/Small*"], None, False, ["A/Small/er", "A/Smallest"]),
        (["A"], "performance", False, ["A/Big"]),
        ([], None, True, ["A/Smallest", "B/Only"]),
        (["A"], None, True, ["A/Smallest"]),
    ],
)
def test_workloads_are_chosen(
    cases: list[TestCase], patterns: list[str], label_filter: str | None, quick: bool, expected: list[str]
) -> None:
    found = selection.chosen(cases, patterns, label_filter, quick)

    assert [workload.full_name for workload in found] == expected


def test_a_name_that_nothing_has_is_an_error(cases: list[TestCase]) -> None:
    with pytest.raises(FileError, match="no workload is called C"):
        selection.chosen(cases, ["C"], None, False)


def test_two_files_may_not_share_a_case(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CASES)

    with pytest.raises(FileError, match="two test cases are called A"):
        selection.read_all([path, path])
