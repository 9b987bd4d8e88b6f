"""Histograms as the schedulers export them: differences, merging, quantiles."""

from __future__ import annotations

import pytest

from services.bench import histograms
from services.bench.histograms import Histogram

NAME = "scheduler_scheduling_attempt_duration_seconds"


def exposition(fast: int, slow: int, result: str = "scheduled") -> str:
    """So many observations of 0.5 s and of 3 s."""
    labels = f'result="{result}"'
    return (
        f"# TYPE {NAME} histogram\n"
        f'{NAME}_bucket{{{labels},le="1.0"}} {fast}\n'
        f'{NAME}_bucket{{{labels},le="2.0"}} {fast}\n'
        f'{NAME}_bucket{{{labels},le="4.0"}} {fast + slow}\n'
        f'{NAME}_bucket{{{labels},le="+Inf"}} {fast + slow}\n'
        f"{NAME}_count{{{labels}}} {fast + slow}\n"
        f"{NAME}_sum{{{labels}}} {fast * 0.5 + slow * 3.0}\n"
        "# TYPE scheduler_attempts_total counter\n"
        f"scheduler_attempts_total {fast + slow}\n"
        "# TYPE python_info gauge\npython_info 1\n"
    )


def read(text: str) -> histograms.Reading:
    return histograms.read(text, lambda name: name.startswith("scheduler_"))[0]


def test_a_quantile_is_linear_within_its_bucket() -> None:
    (histogram,) = read(exposition(fast=50, slow=50))[NAME].values()

    assert histogram.quantile(0.25) == pytest.approx(0.5)
    assert histogram.quantile(0.5) == pytest.approx(1.0)
    assert histogram.quantile(0.75) == pytest.approx(3.0)
    assert histogram.average() == pytest.approx(1.75)


def test_beyond_the_last_finite_bound_that_bound_is_the_answer() -> None:
    histogram = Histogram({1.0: 1.0, float("inf"): 10.0}, 10.0, 50.0)

    assert histogram.quantile(0.9) == 1.0


def test_a_window_sees_only_what_was_observed_in_it() -> None:
    before, after = read(exposition(fast=90, slow=0)), read(exposition(fast=90, slow=10))

    (histogram,) = histograms.since(before, after)[NAME].values()

    assert histogram.count == 10
    assert histogram.average() == pytest.approx(3.0)
    assert histogram.quantile(0.5) == pytest.approx(3.0)


def test_processes_are_merged_and_labels_that_do_not_matter_are_too() -> None:
    together = histograms.merged([read(exposition(10, 0)), read(exposition(0, 30, "unschedulable"))])

    apart = histograms.grouped(together[NAME], ("result",))
    (merged,) = histograms.grouped(together[NAME], ()).values()

    assert {labels: one.count for labels, one in apart.items()} == {
        (("result", "scheduled"),): 10,
        (("result", "unschedulable"),): 30,
    }
    assert merged.count == 40


def test_counters_are_read_beside_them() -> None:
    _, counters = histograms.read(exposition(3, 4), lambda name: name.startswith("scheduler_"))

    assert counters == {("scheduler_attempts_total", ()): 7.0}


def test_the_longest_is_known_by_its_bucket() -> None:
    assert Histogram().longest() == 0.0
    (mixed,) = read(exposition(fast=50, slow=1))[NAME].values()
    assert mixed.longest() == 4.0
    (fast,) = read(exposition(fast=50, slow=0))[NAME].values()
    assert fast.longest() == 1.0
