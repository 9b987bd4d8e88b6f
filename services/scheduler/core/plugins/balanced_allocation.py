"""BalancedAllocation: prefers nodes whose cpu and memory would be used up evenly."""

from __future__ import annotations

import numpy as np

from services.scheduler.core.arrays import Ints, Rows
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import SCORE_MAX, UsageScore
from services.scheduler.core.pods import PodClass
from services.scheduler.core.usage import SCORED_RESOURCES, Usage


class BalancedAllocation(UsageScore):
    """kubernetes plugins/noderesources/balanced_allocation.go with its default resources, cpu and memory.

    For two resources the standard deviation of the used shares is half their distance. A pod that requests neither is
    not scored.
    """

    name = "NodeResourcesBalancedAllocation"

    def score(self, pods: PodClass, nodes: NodeColumns, usage: Usage, rows: Rows, extra: Ints | int) -> Ints | None:
        if not any(resource in pods.requests for resource in SCORED_RESOURCES):
            return None
        more = np.asarray(extra) + 1
        shares = []
        for resource in SCORED_RESOURCES:
            index = nodes.resources[resource]
            allocatable = nodes.allocatable[index][rows]
            wanted = usage.requested[index][rows] + pods.requests.get(resource, 0) * more
            shares.append((np.minimum(wanted / np.maximum(allocatable, 1), 1.0), allocatable > 0))
        (cpu, has_cpu), (memory, has_memory) = shares
        deviation = np.where(has_cpu & has_memory, np.abs(cpu - memory) / 2, 0.0)
        score: Ints = ((1.0 - deviation) * SCORE_MAX).astype(np.int64)
        return score
