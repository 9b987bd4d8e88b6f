"""NodeResourcesFit: what the pods on a node request stays within what the node can give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import and_

import numpy as np

from services.scheduler.core.arrays import Bools, Ints, Rows
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import Cluster, UsageFilter
from services.scheduler.core.pods import PODS, PodClass
from services.scheduler.core.usage import Usage


@dataclass(frozen=True)
class NodeResourcesFit(UsageFilter):
    """kubernetes plugins/noderesources/fit.go: only what the pod requests is looked at, and the pod count.

    ``ignored`` resources, and extended ones whose name begins with a group of ``ignored_groups`` and a slash, are left
    to somebody else.
    """

    ignored: frozenset[str] = frozenset()
    ignored_groups: frozenset[str] = frozenset()
    name = "NodeResourcesFit"
    helped_by = Cluster.NODE_ADDED | Cluster.ALLOCATABLE_GREW | Cluster.POD_GONE

    def passes(self, pods: PodClass, nodes: NodeColumns, usage: Usage, rows: Rows, extra: Ints | int) -> Bools | None:
        if isinstance(extra, int) and extra == 0:
            return self._passes_one(pods, nodes, usage, rows)
        room: Ints | None = None
        for resource, amount in self.requests(pods):
            # Divided, not multiplied: ``amount`` times a count could leave int64.
            times = _free(resource, nodes, usage, rows) // amount
            room = times if room is None else np.minimum(room, times)
        return None if room is None else extra < room

    def _passes_one(self, pods: PodClass, nodes: NodeColumns, usage: Usage, rows: Rows) -> Bools:
        """The same for no extra pods, without the slow division."""
        return reduce(and_, (_free(resource, nodes, usage, rows) >= n for resource, n in self.requests(pods)))

    def reasons(self, pods: PodClass, nodes: NodeColumns, usage: Usage, rows: Ints) -> Counter[str]:
        reasons: Counter[str] = Counter()
        for resource, amount in self.requests(pods):
            short = int(np.count_nonzero(amount > _free(resource, nodes, usage, rows)))
            if short:
                reasons["Too many pods" if resource == PODS else f"Insufficient {resource}"] = short
        return reasons

    def requests(self, pods: PodClass) -> Iterable[tuple[str, int]]:
        """What is looked at: resource and amount."""
        if not self.ignored and not self.ignored_groups:
            return pods.requests.items()
        return [(resource, amount) for resource, amount in pods.requests.items() if not self._ignores(resource)]

    def _ignores(self, resource: str) -> bool:
        group, slash, _ = resource.partition("/")
        # Only extended resources may be ignored: cpu, memory, storage and the pod count never are.
        return bool(slash) and (resource in self.ignored or group in self.ignored_groups)


def _free(resource: str, nodes: NodeColumns, usage: Usage, rows: Rows) -> Ints:
    index = nodes.resources.get(resource)
    if index is None:  # no node has ever listed it
        return np.zeros(len(nodes), dtype=np.int64)[rows]
    free: Ints = nodes.allocatable[index][rows] - usage.requested[index][rows]
    return free
