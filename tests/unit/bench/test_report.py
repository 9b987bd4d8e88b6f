"""The object that every benchmark prints."""

from __future__ import annotations

import json
import pathlib

import numpy as np

from services.bench.report import Figure, Report, filesystem, percentile


def test_percentile_is_upstreams_rule() -> None:
    values = np.array([5.0, 1.0, 3.0, 2.0, 4.0])
    assert [percentile(values, share) for share in (0.5, 0.9, 0.99, 0.2)] == [3.0, 5.0, 5.0, 1.0]
    assert percentile(np.array([]), 0.5) == 0.0


def test_the_report_is_the_one_object() -> None:
    report = Report("density", {"pods": 1}, {"rate": Figure(3.0, "pods/s", 2.0, "a reference")})
    document = json.loads(report.dumps())
    assert set(document) == {"benchmark", "commit", "machine", "parameters", "figures"}
    assert document["figures"]["rate"] == {
        "value": 3.0,
        "unit": "pods/s",
        "reference": 2.0,
        "ratio": 1.5,
        "reference_source": "a reference",
    }


def test_the_file_system_is_that_of_the_longest_mount_above() -> None:
    assert filesystem(pathlib.Path("/proc/self")) == "proc"
    assert filesystem(pathlib.Path("/")) not in ("proc", "unknown")
