"""RequestedToCapacityRatio: scores how full a node would be by a line through given points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from services.scheduler.core.arrays import Ints, Rows
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import SCORE_MAX, UsageScore
from services.scheduler.core.plugins.resource_amounts import DEFAULT_RESOURCES, Resource, amounts
from services.scheduler.core.pods import PodClass
from services.scheduler.core.usage import Usage

UTILIZATION_MAX = 100
POINT_SCORE_MAX = 10


class ShapePoint(NamedTuple):
    """At ``utilization`` (0…100, in percent) a resource scores ``score`` (0…10)."""

    utilization: int
    score: int


@dataclass(frozen=True)
class RequestedToCapacityRatio(UsageScore):
    """kubernetes plugins/noderesources/requested_to_capacity_ratio.go: a scoring strategy of NodeResourcesFit.

    ``shape``: at least one point, utilizations rising. A resource that scores 0 does not count in the average.
    """

    shape: tuple[ShapePoint, ...]
    resources: tuple[Resource, ...] = DEFAULT_RESOURCES
    name = "NodeResourcesFit"

    @cached_property
    def _by_percent(self) -> Ints:
        return np.asarray([broken_line(self.shape, percent) for percent in range(UTILIZATION_MAX + 1)])

    def score(self, pods: PodClass, nodes: NodeColumns, usage: Usage, rows: Rows, extra: Ints | int) -> Ints | None:
        total: Ints | int = 0
        weights: Ints | int = 0
        for resource in self.resources:
            found = amounts(resource.name, pods, nodes, usage, rows, extra)
            if found is None:
                continue
            used = np.minimum(found.wanted, found.allocatable)
            points = self._by_percent[used * UTILIZATION_MAX // np.maximum(found.allocatable, 1)]
            counts = (points > 0) & (found.allocatable > 0)
            total = total + counts * points * resource.weight
            weights = weights + counts * resource.weight
        if isinstance(weights, int):
            return None
        # Rounded to the nearest, halves up.
        score: Ints = (2 * total + weights) // np.maximum(2 * weights, 1)
        return score


def broken_line(shape: Sequence[ShapePoint], percent: int) -> int:
    """The score (0…100) at ``percent``: straight between points, level before the first and after the last.

    Divisions round towards zero, as in Go.
    """
    scale = SCORE_MAX // POINT_SCORE_MAX
    before = shape[0]
    for point in shape:
        if percent <= point.utilization:
            if point is shape[0]:
                return point.score * scale
            rise = (point.score - before.score) * scale * (percent - before.utilization)
            width = point.utilization - before.utilization
            return before.score * scale + (rise // width if rise >= 0 else -(-rise // width))
        before = point
    return before.score * scale
