"""What counts as broken on the ramp, and which watches of a load are timed."""

from __future__ import annotations

import pytest

from services.bench.ramp import RampParameters, fault
from services.bench.watchers import OWN_STREAMS, WatchLoad, sampled

PARAMETERS = RampParameters(writes_per_second=100.0, late_s_max=1.0, memory_mb_max=500.0)


@pytest.mark.parametrize(
    ("p99_s", "memory_mb", "per_second", "expected"),
    [
        (0.9, 400.0, 95.0, ""),
        (1.1, 400.0, 95.0, "p99 1.10 s"),
        (0.9, 501.0, 95.0, "memory 501 MB"),
        (0.9, 400.0, 89.0, "writes fell to 89/s"),
    ],
)
def test_a_step_breaks_by_lateness_rate_or_memory(
    p99_s: float, memory_mb: float, per_second: float, expected: str
) -> None:
    assert fault(PARAMETERS, p99_s, memory_mb, per_second) == expected


@pytest.mark.parametrize(("watches", "recorded", "every"), [(1000, 100, 10), (50, 100, 1), (1000, 0, 0), (7, 7, 1)])
def test_the_timed_ones_are_spread_evenly(watches: int, recorded: int, every: int) -> None:
    load = WatchLoad("", OWN_STREAMS, watches, 1, "system", "kube-system", recorded=recorded)
    assert sampled(load) == every
