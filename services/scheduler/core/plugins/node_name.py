"""NodeName: a pod that names its node (and resource partition) goes there or nowhere."""

from __future__ import annotations

from collections import Counter

from services.scheduler.core.arrays import Bools, Ints
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import Cluster, NodeFilter
from services.scheduler.core.pods import PodClass


class NodeName(NodeFilter):
    """kubernetes plugins/nodename; ``spec.resourcePartition`` alone restricts the pod to that partition's nodes."""

    name = "NodeName"
    helped_by = Cluster.NODE_ADDED

    def mask(self, pods: PodClass, nodes: NodeColumns) -> Bools | None:
        spec = pods.pod.spec
        if not spec.node_name and not spec.resource_partition:
            return None
        mask: Bools = nodes.named(spec.node_name) if spec.node_name else nodes.alive
        if spec.resource_partition:
            mask = mask & (nodes.partition == nodes.partition_code(spec.resource_partition))
        return mask

    def reasons(self, pods: PodClass, nodes: NodeColumns, rows: Ints) -> Counter[str]:
        return Counter({"node(s) didn't match the requested node name": len(rows)})
