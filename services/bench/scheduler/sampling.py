"""Upstream's throughput: pods bound now, looked at once a second (``throughputCollector`` of scheduler_perf's util.go).

Kept apart from any clock: what was seen when goes in, samples come out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

INTERVAL_S = 1.0


def samples(
    changes: Sequence[tuple[float, int]], before: int, began: float, ended: float, interval_s: float = INTERVAL_S
) -> list[float]:
    """Pods per second. ``changes``: (time, ±1) in order; ``before``: pods bound when sampling ``began``.

    The first sample that finds pods bound is the baseline and is dropped; one that finds nothing new is left out and
    filled, once something is, with copies of the average since the last. Looks happen at ``began`` + k intervals, up
    to ``ended`` inclusive.
    """
    found: list[float] = []
    bound, position = before, 0
    last_bound, last_at = before, began
    started, skipped = False, 0
    for number in range(1, math.floor((ended - began) / interval_s + 1e-9) + 1):
        now = began + number * interval_s
        while position < len(changes) and changes[position][0] <= now:
            bound += changes[position][1]
            position += 1
        if bound == 0:
            continue
        if not started:
            started, last_bound, last_at = True, bound, now
            continue
        if bound == last_bound:
            skipped += 1
            continue
        found += [(bound - last_bound) / (now - last_at)] * (skipped + 1)
        last_bound, last_at, skipped = bound, now, 0
    return found


def poll_end(waiting_since: float, over_at: float, interval_s: float = INTERVAL_S) -> float:
    """When upstream's wait, which looks at once and then every interval, finds that it is over: sampling goes on until
    then."""
    if over_at <= waiting_since:
        return waiting_since
    return waiting_since + math.ceil((over_at - waiting_since) / interval_s - 1e-9) * interval_s


def summary(found: Sequence[float]) -> Mapping[str, float]:
    """Average and percentiles of samples: a percentile is the value at index ⌈n·p/100⌉ − 1. Empty without samples."""
    if not found:
        return {}
    ordered = sorted(found)
    picked = {f"Perc{share}": ordered[math.ceil(len(ordered) * share / 100) - 1] for share in (50, 90, 95, 99)}
    return {"Average": math.fsum(ordered) / len(ordered), **picked}
