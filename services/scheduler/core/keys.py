"""The key of a node for one more pod of a class: the smallest key is the best node.

::

    bits 46…62   SCORE_LIMIT - score
    bits 26…45   pods on the node, so that coarse scores do not pile pods on one node
    bits  0…25   the node's rank in the order of hash(seed, scheduler, rp/name)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from services.scheduler.core.arrays import Bools, Ints, Rows
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import SCORE_MAX, Normalization
from services.scheduler.core.pods import PodClass
from services.scheduler.core.profile import Profile
from services.scheduler.core.usage import Usage

RANK_BITS = 26
PODS_BITS = 20
SCORE_SHIFT = RANK_BITS + PODS_BITS
RANK_MASK = (1 << RANK_BITS) - 1
PODS_LIMIT = (1 << PODS_BITS) - 1
SCORE_LIMIT = (1 << (63 - SCORE_SHIFT)) - 1
INFEASIBLE = np.iinfo(np.int64).max

# How many further placements on one node are scored at a time, once the first lot is used up.
MORE_STEPS = 16

# The normalised scores' raw values by row, how they are normalised, and their weights.
RawScores: TypeAlias = tuple[tuple[Ints, Normalization, int], ...]


def fits(
    pods: PodClass, nodes: NodeColumns, usage: Usage, profile: Profile, rows: Rows, extra: Ints | int
) -> Bools | slice:
    """Where every usage filter lets one more pod pass after ``extra`` of the class; a slice: everywhere."""
    passes: Bools | None = None
    for usage_filter in profile.usage_filters:
        passed = usage_filter.passes(pods, nodes, usage, rows, extra)
        if passed is not None:
            passes = passed if passes is None else passes & passed
    return slice(None) if passes is None else passes


class NodeKeys:
    """Makes keys; ``normalised`` must have been told which nodes are feasible."""

    def __init__(
        self, pods: PodClass, nodes: NodeColumns, usage: Usage, profile: Profile, normalised: Normalised
    ) -> None:
        self._pods = pods
        self._nodes = nodes
        self._usage = usage
        self._profile = profile
        self._normalised = normalised

    def __call__(self, rows: Ints, extra: Ints | int) -> Ints:
        """Shape broadcast(extra, rows); ``INFEASIBLE`` where one more pod does not fit."""
        score = self._normalised.score(rows)
        for usage_score, weight in self._profile.usage_scores:
            values = usage_score.score(self._pods, self._nodes, self._usage, rows, extra)
            if values is not None:
                score = score + values * weight
        pods = np.minimum(self._usage.pods[rows] + extra, PODS_LIMIT)
        keys: Ints = ((SCORE_LIMIT - score) << SCORE_SHIFT) | (pods << RANK_BITS) | self._nodes.tie_rank[rows]
        passes = fits(self._pods, self._nodes, self._usage, self._profile, rows, extra)
        return keys if isinstance(passes, slice) else np.where(passes, keys, INFEASIBLE)

    def after(self, row: int, start: int, steps: int = MORE_STEPS) -> Iterator[int]:
        """The keys of one node after ``start``, ``start`` + 1… placements there, without end."""
        only = np.asarray([row])
        while True:
            yield from self(only, np.arange(start, start + steps)[:, None])[:, 0].tolist()
            start += steps
            steps = MORE_STEPS


@dataclass(eq=False)
class Normalised:
    """The weighted sum of the normalised scores over the nodes that were feasible at first."""

    raw: RawScores
    maxima: list[int]
    # How many feasible nodes have the maximum: at 0 every normalised value may change.
    holders: list[int]

    @classmethod
    def over(cls, feasible: Ints, raw: RawScores) -> Normalised:
        if not len(feasible):
            return cls((), [], [])
        maxima = [_maximum(values[feasible], normalization) for values, normalization, _ in raw]
        holders = [
            int(np.count_nonzero(values[feasible] == maximum))
            for (values, _, _), maximum in zip(raw, maxima, strict=True)
        ]
        return cls(raw, maxima, holders)

    def score(self, rows: Ints) -> Ints:
        total: Ints = np.zeros(len(rows), dtype=np.int64)
        for (values, normalization, weight), maximum in zip(self.raw, self.maxima, strict=True):
            if normalization is Normalization.NONE:
                total += weight * values[rows]
                continue
            # Nodes that were not feasible may have more than the maximum: they are scored anew when they are.
            share = np.minimum(values[rows] * SCORE_MAX // maximum, SCORE_MAX) if maximum else np.zeros_like(total)
            total += weight * (share if normalization is Normalization.BY_MAXIMUM else SCORE_MAX - share)
        return total

    def without(self, row: int) -> bool:
        """``row`` is feasible no more; false: the values must be normalised again."""
        for index, (values, _, _) in enumerate(self.raw):
            if values[row] == self.maxima[index]:  # never, where nothing is normalised
                self.holders[index] -= 1
                if not self.holders[index]:
                    return False
        return True


def _maximum(values: Ints, normalization: Normalization) -> int:
    """What the values are normalised by; -1, which no value is, where they are not normalised."""
    return -1 if normalization is Normalization.NONE else int(values.max())
