"""BalancedAllocation: prefers nodes whose resources would be used up evenly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.scheduler.core.arrays import Bools, Floats, Ints, Rows
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import SCORE_MAX, UsageScore
from services.scheduler.core.plugins.resource_amounts import requested_amounts
from services.scheduler.core.pods import PodClass
from services.scheduler.core.usage import SCORED_RESOURCES, Usage


@dataclass(frozen=True)
class BalancedAllocation(UsageScore):
    """kubernetes plugins/noderesources/balanced_allocation.go: one minus the standard deviation of the used shares.

    A pod that requests none of ``resources`` is not scored. Of two resources the deviation is half their distance, of
    one it is none.
    """

    resources: tuple[str, ...] = SCORED_RESOURCES
    name = "NodeResourcesBalancedAllocation"

    def score(self, pods: PodClass, nodes: NodeColumns, usage: Usage, rows: Rows, extra: Ints | int) -> Ints | None:
        if not any(resource in pods.requests for resource in self.resources):
            return None
        shares, has = [], []
        for resource in self.resources:
            found = requested_amounts(resource, pods, nodes, usage, rows, extra)
            if found is None:
                continue
            shares.append(np.minimum(found.wanted / np.maximum(found.allocatable, 1), 1.0))
            has.append(found.allocatable > 0)
        if not shares:
            return None
        deviation = _deviation(np.asarray(shares), np.asarray(has))
        score: Ints = ((1.0 - deviation) * SCORE_MAX).astype(np.int64)
        return score


def _deviation(shares: Floats, has: Bools) -> Floats:
    """Over the resources that each node has: ``shares`` is (resources, *any, rows), ``has`` is (resources, rows)."""
    present = has.reshape(len(has), *(1,) * (shares.ndim - has.ndim), has.shape[-1])
    count = present.sum(axis=0)
    if len(shares) == 2:
        return np.where(count == 2, np.abs(shares[0] - shares[1]) / 2, 0.0)
    highest = np.where(present, shares, -np.inf).max(axis=0)
    lowest = np.where(present, shares, np.inf).min(axis=0)
    held = np.where(present, shares, 0.0)
    mean = held.sum(axis=0) / np.maximum(count, 1)
    variance = np.where(present, (held - mean) ** 2, 0.0).sum(axis=0) / np.maximum(count, 1)
    spread = np.where(count == 2, highest - lowest, 0.0) / 2
    return np.where(count > 2, np.sqrt(variance), spread)
