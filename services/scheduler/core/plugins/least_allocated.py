"""LeastAllocated: prefers the nodes with the largest free share of cpu and memory."""

from __future__ import annotations

import numpy as np

from services.scheduler.core.arrays import Ints, Rows
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import SCORE_MAX, UsageScore
from services.scheduler.core.pods import PodClass
from services.scheduler.core.usage import SCORED_RESOURCES, Usage


class LeastAllocated(UsageScore):
    """kubernetes plugins/noderesources/least_allocated.go with its default resources: cpu and memory, weight 1 each."""

    name = "NodeResourcesFit"

    def score(self, pods: PodClass, nodes: NodeColumns, usage: Usage, rows: Rows, extra: Ints | int) -> Ints | None:
        more = np.asarray(extra) + 1
        total: Ints | int = 0
        weights: Ints | int = 0
        for resource_index, resource in enumerate(SCORED_RESOURCES):
            allocatable = nodes.allocatable[nodes.resources[resource]][rows]
            listed = allocatable > 0
            wanted = usage.scoring[resource_index][rows] + pods.scoring_requests[resource_index] * more
            free = np.maximum(allocatable - wanted, 0)
            total = total + free * SCORE_MAX // np.maximum(allocatable, 1)
            weights = weights + listed
        score: Ints = total // np.maximum(weights, 1)
        return score
