"""LeastAllocated: prefers the nodes with the largest free share of the resources."""

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
class LeastAllocated(UsageScore):
    """kubernetes plugins/noderesources/least_allocated.go: the default scoring strategy of NodeResourcesFit."""

    resources: tuple[Resource, ...] = DEFAULT_RESOURCES
    name = "NodeResourcesFit"

    def score(self, pods: PodClass, nodes: NodeColumns, usage: Usage, rows: Rows, extra: Ints | int) -> Ints | None:
        total: Ints | int = 0
        weights: Ints | int = 0
        for resource in self.resources:
            found = amounts(resource.name, pods, nodes, usage, rows, extra)
            if found is None:
                continue
            free = np.maximum(found.allocatable - found.wanted, 0)
            total = total + free * SCORE_MAX // np.maximum(found.allocatable, 1) * resource.weight
            weights = weights + (found.allocatable > 0) * resource.weight
        if isinstance(weights, int):
            return None
        score: Ints = total // np.maximum(weights, 1)
        return score
