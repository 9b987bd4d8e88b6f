"""MostAllocated: prefers the nodes that would be used the most, so that others stay empty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.scheduler.core.arrays import Ints, Rows
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import SCORE_MAX, UsageScore
from services.scheduler.core.plugins.resource_amounts import DEFAULT_RESOURCES, Resource, amounts
from services.scheduler.core.pods import PodClass
from services.scheduler.core.usage import Usage


@dataclass(frozen=True)
class MostAllocated(UsageScore):
    """kubernetes plugins/noderesources/most_allocated.go: a scoring strategy of NodeResourcesFit."""

    resources: tuple[Resource, ...] = DEFAULT_RESOURCES
    name = "NodeResourcesFit"

    def score(self, pods: PodClass, nodes: NodeColumns, usage: Usage, rows: Rows, extra: Ints | int) -> Ints | None:
        total: Ints | int = 0
        weights: Ints | int = 0
        for resource in self.resources:
            found = amounts(resource.name, pods, nodes, usage, rows, extra)
            if found is None:
                continue
            # More than there is (pods that ask for nothing count as something) is as good as all of it.
            used = np.minimum(found.wanted, found.allocatable)
            total = total + used * SCORE_MAX // np.maximum(found.allocatable, 1) * resource.weight
            weights = weights + (found.allocatable > 0) * resource.weight
        if isinstance(weights, int):
            return None
        score: Ints = total // np.maximum(weights, 1)
        return score
