"""A pod's start, split by stage: what the client saw, put together with what schedulers and kubelets wrote down.

All times are of CLOCK_MONOTONIC, one clock for all processes of a machine. A stage is what passed from the latest of
all moments before it to its own: where the next process was quicker than the answer to the one before (a kubelet sees a
pod before its scheduler hears that it is bound) the later of the two took no time. So the stages of a pod add up to its
start, exactly.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from services.base import timeline
from services.base.timeline import Stage

MOMENTS = ("created", *(str(stage) for stage in tuple(Stage)[: list(Stage).index(Stage.RUNNING) + 1]), "watched")
"""In their order; each but the first ends the stage of its name."""

STAGES = MOMENTS[1:]

# What a stage's time went by with, for people.
MEANINGS = {
    "seen": "created → seen by the scheduler",
    "scheduled": "seen → planned",
    "claimed": "planned → claimed",
    "bound": "claimed → bound",
    "node_seen": "bound → seen by the kubelet",
    "started": "seen → started",
    "running": "started → status stored",
    "watched": "stored → seen by the watcher",
}

# Pods around a percentile whose stages tell what those pods waited for: this share of all, but never none.
NEIGHBOURS = 0.01


class Watched(NamedTuple):
    """One pod, as its client saw it; seconds of CLOCK_MONOTONIC (``time.monotonic()``). ``created_s``: when its create
    was sent; ``running_s``: when the client's watch showed it Running, NaN if it never did."""

    created_s: float
    running_s: float


@dataclass(frozen=True)
class Stages:
    """``uids``: the pods, one column each. ``at_s``: by moment, float64 seconds of CLOCK_MONOTONIC, NaN where nothing
    is known (a timeline that was lost with its process, a pod that did not start)."""

    uids: Sequence[str]
    at_s: Mapping[str, np.ndarray]

    def whole(self) -> np.ndarray:
        """Which pods have every moment (bool)."""
        found: np.ndarray = np.ones(len(self.uids), dtype=bool)
        for moment in MOMENTS:
            found &= np.isfinite(self.at_s[moment])
        return found

    def total_s(self) -> np.ndarray:
        """From create to Running as the client saw both, of every pod that it saw Running."""
        total = self.at_s["watched"] - self.at_s["created"]
        known: np.ndarray = total[np.isfinite(total)]
        return known

    def steps_s(self) -> dict[str, np.ndarray]:
        """What each stage took, of the pods that have every moment; they add up to those pods' totals."""
        chosen = self.whole()
        before = self.at_s[MOMENTS[0]][chosen]
        steps = {}
        for stage in STAGES:
            # The watcher's own moment ends the start, whatever was written down later.
            at = np.minimum(np.maximum(before, self.at_s[stage][chosen]), np.maximum(before, self._end(chosen)))
            steps[stage] = at - before
            before = at
        return steps

    def reached_s(self) -> dict[str, np.ndarray]:
        """From the create until each moment, of the pods that have every one."""
        steps = self.steps_s()
        reached, total = {}, np.zeros(int(self.whole().sum()))
        for stage in STAGES:
            total = total + steps[stage]
            reached[stage] = total
        return reached

    def around(self, share: float) -> dict[str, float]:
        """Mean seconds of each stage of the pods next to this percentile of the total: what those pods waited for.
        Empty without pods."""
        steps = self.steps_s()
        totals = sum(steps.values(), np.zeros(int(self.whole().sum())))
        if not len(totals):
            return {}
        order = np.argsort(totals, kind="stable")
        rank = max(0, int(np.ceil(len(order) * share)) - 1)
        reach = int(len(order) * NEIGHBOURS / 2)
        chosen = order[max(0, rank - reach) : rank + reach + 1]
        return {stage: float(step[chosen].mean()) for stage, step in steps.items()}

    def _end(self, chosen: np.ndarray) -> np.ndarray:
        end: np.ndarray = self.at_s[MOMENTS[-1]][chosen]
        return end


def collect_stages(timeline_files: Iterable[pathlib.Path], watcher_times: Mapping[str, Watched]) -> Stages:
    """The pods of ``watcher_times`` (by UID) with what the timelines say of them: the first mark of each stage, as
    standby schedulers and restarted processes write again. Raises ``OSError``, ``ValueError`` (``timeline.read``)."""
    uids = list(watcher_times)
    column = {uid: number for number, uid in enumerate(uids)}
    at_s = {moment: np.full(len(uids), np.inf) for moment in MOMENTS}
    for number, watched in enumerate(watcher_times.values()):
        at_s["created"][number], at_s["watched"][number] = watched
    for file in timeline_files:
        for mark in timeline.read(file):
            pod, moments = column.get(mark.uid), at_s.get(mark.stage)
            if pod is not None and moments is not None:
                moments[pod] = min(moments[pod], mark.monotonic_ns / 1e9)
    return Stages(uids, {moment: np.where(np.isfinite(times), times, np.nan) for moment, times in at_s.items()})
