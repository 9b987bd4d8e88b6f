"""Upstream's throughput: what counts as a sample, what is left out, what is filled."""

from __future__ import annotations

import pytest

from services.bench.scheduler import sampling


def binds(*counts: int, began: float = 100.0) -> list[tuple[float, int]]:
    """So many pods bound in the middle of each second after ``began``."""
    return [(began + second + 0.5, 1) for second, count in enumerate(counts) for _ in range(count)]


@pytest.mark.parametrize(
    ("counts", "before", "seconds", "expected"),
    [
        pytest.param((), 0, 5, [], id="nothing bound: no samples"),
        pytest.param((50,), 0, 1, [], id="the first look that finds pods is the baseline"),
        pytest.param((50, 70), 0, 2, [70.0], id="then a sample each second"),
        pytest.param((0, 0, 50, 70), 0, 4, [70.0], id="looks before the first pod do not count"),
        pytest.param((50, 0, 60), 0, 3, [30.0, 30.0], id="a look that finds nothing new is filled with the average"),
        pytest.param((50, 0, 0, 90, 10), 0, 5, [30.0, 30.0, 30.0, 10.0], id="two in a row are"),
        pytest.param((50, 70, 0, 0), 0, 4, [70.0], id="idle looks at the end are not: no bind follows"),
        pytest.param((0, 40), 10, 2, [40.0], id="pods bound before make the first look the baseline"),
        pytest.param((50, 70, 90), 0, 2.9, [70.0], id="a look that is not over is not taken"),
    ],
)
def test_samples_follow_upstreams_rule(
    counts: tuple[int, ...], before: int, seconds: float, expected: list[float]
) -> None:
    assert sampling.samples(binds(*counts), before, 100.0, 100.0 + seconds) == pytest.approx(expected)


def test_a_deleted_pod_is_no_longer_counted_and_a_rate_may_be_negative() -> None:
    changes = [*binds(50, 20), (102.5, -1), (102.6, -1)]

    assert sampling.samples(changes, 0, 100.0, 103.0) == pytest.approx([20.0, -2.0])


@pytest.mark.parametrize(
    ("since", "over", "expected"),
    [(10.0, 9.0, 10.0), (10.0, 10.0, 10.0), (10.0, 10.2, 11.0), (10.0, 11.0, 11.0), (10.0, 12.3, 13.0)],
)
def test_upstreams_wait_looks_at_once_and_then_every_second(since: float, over: float, expected: float) -> None:
    assert sampling.poll_end(since, over) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param([], {}, id="no samples"),
        pytest.param(
            [7.0], {"Average": 7.0, "Perc50": 7.0, "Perc90": 7.0, "Perc95": 7.0, "Perc99": 7.0}, id="one sample"
        ),
        pytest.param(
            [4.0, 1.0, 3.0, 2.0],
            {"Average": 2.5, "Perc50": 2.0, "Perc90": 4.0, "Perc95": 4.0, "Perc99": 4.0},
            id="index ceil(n p / 100) - 1 of the sorted samples",
        ),
        pytest.param(
            [float(value) for value in range(1, 101)],
            {"Average": 50.5, "Perc50": 50.0, "Perc90": 90.0, "Perc95": 95.0, "Perc99": 99.0},
            id="a hundred",
        ),
    ],
)
def test_a_summary_has_the_average_and_upstreams_percentiles(found: list[float], expected: dict[str, float]) -> None:
    assert sampling.summary(found) == pytest.approx(expected)
