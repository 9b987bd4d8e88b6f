"""A fixed piece of work, timed before and after a benchmark: did the machine stay as fast as it was?"""

from __future__ import annotations

import time

from services.bench.report import Figure

_ROUNDS = 5
_STEPS = 300_000


def score() -> float:
    """Steps per second of a fixed loop, the best of a few rounds: what the machine can do when it is let."""
    best = 0.0
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        total = 0
        for step in range(_STEPS):
            total = (total * 31 + step) & 0xFFFF
        best = max(best, _STEPS / (time.perf_counter() - began))
    return best


class Calibration:
    """Made before a benchmark; ``figures`` after it."""

    def __init__(self) -> None:
        self._before = score()

    def figures(self) -> dict[str, Figure]:
        """``calibration_drift``: 0.1 means that the machine ran the loop 10 % slower or faster after than before."""
        after = score()
        return {
            "calibration_steps_per_second": Figure(after, "1/s", self._before, "the same loop before the benchmark"),
            "calibration_drift": Figure(abs(after / self._before - 1.0), "ratio"),
        }
