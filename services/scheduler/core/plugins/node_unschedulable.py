"""NodeUnschedulable: a cordoned node takes only pods that tolerate node.kubernetes.io/unschedulable."""

from __future__ import annotations

from collections import Counter

from services.api.pb.ursa.core.v1.node_pb2 import Taint
from services.placement import nodes as facts
from services.scheduler.core.arrays import Bools, Ints
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import Cluster, NodeFilter
from services.scheduler.core.pods import PodClass

UNSCHEDULABLE = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")


class NodeUnschedulable(NodeFilter):
    """kubernetes plugins/nodeunschedulable."""

    name = "NodeUnschedulable"
    helped_by = Cluster.NODE_ADDED | Cluster.NODE_USABLE

    def mask(self, pods: PodClass, nodes: NodeColumns) -> Bools | None:
        if facts.tolerates(pods.pod.spec.tolerations, UNSCHEDULABLE):
            return None
        mask: Bools = ~nodes.unschedulable
        return mask

    def reasons(self, pods: PodClass, nodes: NodeColumns, rows: Ints) -> Counter[str]:
        return Counter({"node(s) were unschedulable": len(rows)})
