"""TaintToleration: taints keep pods away that do not tolerate them; PreferNoSchedule taints only lower the score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from services.api.pb.ursa.core.v1.node_pb2 import Taint
from services.api.pb.ursa.core.v1.pod_pb2 import Toleration
from services.placement.tolerations import HARD_EFFECTS, PREFER_NO_SCHEDULE, untolerated
from services.scheduler.core.arrays import Bools, Ints
from services.scheduler.core.nodes import NodeColumns, TaintSet
from services.scheduler.core.plugin import Cluster, NodeFilter, NodeScore, Normalization
from services.scheduler.core.pods import PodClass


class TaintToleration(NodeFilter):
    """kubernetes plugins/tainttoleration, Filter: NoSchedule and NoExecute taints."""

    name = "TaintToleration"
    helped_by = Cluster.NODE_ADDED | Cluster.TAINTS_CHANGED

    def mask(self, pods: PodClass, nodes: NodeColumns) -> Bools | None:
        tolerations = list(pods.pod.spec.tolerations)
        mask: Bools = _per_class(nodes, lambda taints: not untolerated(taints, tolerations, HARD_EFFECTS)) != 0
        return None if mask.all() else mask

    def reasons(self, pods: PodClass, nodes: NodeColumns, rows: Ints) -> Counter[str]:
        tolerations = list(pods.pod.spec.tolerations)
        reasons: Counter[str] = Counter()
        for taint_class, count in Counter(nodes.taint_class[rows].tolist()).items():
            taint = untolerated(nodes.taint_classes[taint_class], tolerations, HARD_EFFECTS)[0]
            reasons[f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"] += count
        return reasons


class PreferUntainted(NodeScore):
    """kubernetes plugins/tainttoleration, Score: fewer PreferNoSchedule taints that the pod does not tolerate."""

    name = "TaintToleration"
    normalization = Normalization.BY_MAXIMUM_REVERSED

    def raw(self, pods: PodClass, nodes: NodeColumns) -> Ints | None:
        if not any(_has_preference(taints) for taints in nodes.taint_classes):
            return None
        # Upstream looks only at tolerations that could be meant for PreferNoSchedule taints.
        tolerations = [t for t in pods.pod.spec.tolerations if _may_prefer(t)]
        return _per_class(nodes, lambda taints: len(untolerated(taints, tolerations, (PREFER_NO_SCHEDULE,))))


def _per_class(nodes: NodeColumns, answer: Callable[[TaintSet], int]) -> Ints:
    """Asked once per distinct set of taints, not once per node."""
    answers = np.fromiter((answer(taints) for taints in nodes.taint_classes), np.int64, len(nodes.taint_classes))
    by_row: Ints = answers[nodes.taint_class]
    return by_row


def _has_preference(taints: Iterable[Taint]) -> bool:
    return any(taint.effect == PREFER_NO_SCHEDULE for taint in taints)


def _may_prefer(toleration: Toleration) -> bool:
    return toleration.effect in ("", PREFER_NO_SCHEDULE)
