"""NodePorts: a host port is taken once per node, protocol and address."""

from __future__ import annotations

from collections import Counter

import numpy as np

from services.scheduler.core.arrays import Bools, Ints, Rows
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import Cluster, UsageFilter
from services.scheduler.core.pods import PodClass
from services.scheduler.core.usage import Usage


class NodePorts(UsageFilter):
    """kubernetes plugins/nodeports."""

    name = "NodePorts"
    helped_by = Cluster.NODE_ADDED | Cluster.POD_GONE

    def passes(self, pods: PodClass, nodes: NodeColumns, usage: Usage, rows: Rows, extra: Ints | int) -> Bools | None:
        if not pods.host_ports:
            return None
        free = np.ones(len(nodes), dtype=np.bool_)
        free[list(usage.ports.conflicts(pods.host_ports))] = False
        # A pod of the class takes the very ports that the next one would need.
        mask: Bools = free[rows] & (np.asarray(extra) == 0)
        return mask

    def reasons(self, pods: PodClass, nodes: NodeColumns, usage: Usage, rows: Ints) -> Counter[str]:
        return Counter({"node(s) didn't have free ports for the requested pod ports": len(rows)})
