"""NodeReady: a node that is not ready, or whose partition has been out of reach for too long, takes no new pods."""

from __future__ import annotations

from collections import Counter

from services.scheduler.core.arrays import Bools, Ints
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import Cluster, NodeFilter
from services.scheduler.core.pods import PodClass


class NodeReady(NodeFilter):
    """Own rule: what is not known to work is no candidate. The pods that run there are left alone."""

    name = "NodeReady"
    helped_by = Cluster.NODE_ADDED | Cluster.NODE_USABLE

    def mask(self, pods: PodClass, nodes: NodeColumns) -> Bools | None:
        mask: Bools = nodes.ready & ~nodes.stale
        return mask

    def reasons(self, pods: PodClass, nodes: NodeColumns, rows: Ints) -> Counter[str]:
        reasons: Counter[str] = Counter()
        for row in rows.tolist():
            if nodes.stale[row]:
                partition = nodes.partitions[nodes.partition[row]]
                reasons[f"node(s) were in resource partition {partition}, which cannot be reached"] += 1
            else:
                reasons["node(s) were not ready"] += 1
        return reasons
