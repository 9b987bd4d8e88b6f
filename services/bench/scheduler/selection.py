"""Which workloads of the files to run."""

from __future__ import annotations

import fnmatch
import pathlib
from collections.abc import Sequence

from services.bench.scheduler import labels, reader
from services.bench.scheduler.errors import FileError
from services.bench.scheduler.reader import TestCase, Workload

DEFAULT_LABELS = "performance"
"""Upstream's, for its benchmarks."""
SMALL = frozenset(("integration-test", "short"))


def own_files() -> list[pathlib.Path]:
    """The workload files of this project."""
    return sorted((pathlib.Path(__file__).resolve().parent.parent / "workloads").glob("*.yaml"))


def read_all(paths: Sequence[pathlib.Path]) -> list[TestCase]:
    """The test cases of all files. Raises ``FileError``, also when two of them have the same name."""
    cases = [case for path in paths for case in reader.read(path)]
    names = [case.name for case in cases]
    for name in names:
        if names.count(name) > 1:
            raise FileError(f"two test cases are called {name}")
    return cases


def chosen(cases: Sequence[TestCase], patterns: Sequence[str], label_filter: str | None, quick: bool) -> list[Workload]:
    """In the files' order. ``patterns``: a name, or a test case's for all its sizes; ``*`` matches anything.

    Without patterns and filter those labelled ``performance``. ``quick``: the smallest of each test case. Raises
    ``FileError`` for a pattern that matches nothing.
    """
    for pattern in patterns:
        if not any(_matches(workload, [pattern]) for case in cases for workload in case.workloads):
            raise FileError(f"no workload is called {pattern}")
    if label_filter is None:
        label_filter = "" if patterns or quick else DEFAULT_LABELS
    found: list[Workload] = []
    for case in cases:
        of_case = [
            workload
            for workload in case.workloads
            if labels.selected(label_filter, workload.labels) and (not patterns or _matches(workload, patterns))
        ]
        found += _smallest(of_case) if quick else of_case
    return found


def _matches(workload: Workload, patterns: Sequence[str]) -> bool:
    return any(
        fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in (workload.full_name, workload.case.name)
    )


def _smallest(workloads: Sequence[Workload]) -> list[Workload]:
    small = [workload for workload in workloads if workload.labels & SMALL] or workloads
    return [min(small, key=_size)] if small else []


def _size(workload: Workload) -> float:
    return sum(value for value in workload.params.values() if isinstance(value, int | float))
