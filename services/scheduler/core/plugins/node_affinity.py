"""NodeAffinity: node selector, required node affinity (filter) and preferred node affinity (score).

The operators' meaning is ``services.placement.affinity``; here they are answered per distinct label value.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_

import numpy as np

from services.api.pb.ursa.core.v1.pod_pb2 import NodeAffinity as Affinity
from services.api.pb.ursa.core.v1.pod_pb2 import NodeSelectorRequirement, NodeSelectorTerm
from services.placement.affinity import requirement_matches
from services.scheduler.core.arrays import Bools, Ints
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import Cluster, NodeFilter, NodeScore, Normalization
from services.scheduler.core.pods import PodClass

NAME_FIELD = "metadata.name"


ENFORCED = "node(s) didn't match scheduler-enforced node affinity"
MISMATCH = "node(s) didn't match Pod's node affinity/selector"


@dataclass(frozen=True)
class NodeAffinity(NodeFilter):
    """kubernetes plugins/nodeaffinity, Filter: every pair of the node selector and one of the required terms.

    ``added``: required terms of the scheduler's own (addedAffinity), on top of what the pod says.
    """

    added: Affinity | None = None
    name = "NodeAffinity"
    helped_by = Cluster.NODE_ADDED | Cluster.LABELS_CHANGED

    def mask(self, pods: PodClass, nodes: NodeColumns) -> Bools | None:
        spec = pods.pod.spec
        masks = [nodes.labels.column(key).equals((value,)) for key, value in spec.node_selector.items()]
        masks += _required(spec.affinity.node_affinity, nodes) + self._added(nodes)
        return reduce(and_, masks) if masks else None

    def reasons(self, pods: PodClass, nodes: NodeColumns, rows: Ints) -> Counter[str]:
        enforced = sum(int(np.count_nonzero(~mask[rows])) for mask in self._added(nodes))
        return +Counter({ENFORCED: enforced, MISMATCH: len(rows) - enforced})

    def _added(self, nodes: NodeColumns) -> list[Bools]:
        return [] if self.added is None else _required(self.added, nodes)


@dataclass(frozen=True)
class PreferredNodeAffinity(NodeScore):
    """kubernetes plugins/nodeaffinity, Score: the sum of the weights of the preferred terms that match, the scheduler's
    own (``added``) among them."""

    added: Affinity | None = None
    name = "NodeAffinity"
    normalization = Normalization.BY_MAXIMUM

    def raw(self, pods: PodClass, nodes: NodeColumns) -> Ints | None:
        preferred = list(pods.pod.spec.affinity.node_affinity.preferred_during_scheduling_ignored_during_execution)
        if self.added is not None:
            preferred += self.added.preferred_during_scheduling_ignored_during_execution
        if not preferred:
            return None
        total: Ints = np.zeros(len(nodes), dtype=np.int64)
        for term in preferred:
            total += np.where(matches(term.preference, nodes), term.weight, 0)
        return total


def _required(affinity: Affinity, nodes: NodeColumns) -> list[Bools]:
    """No mask where nothing is required, else one: some term matches."""
    if not affinity.HasField("required_during_scheduling_ignored_during_execution"):
        return []
    terms = affinity.required_during_scheduling_ignored_during_execution.node_selector_terms
    return [reduce(or_, (matches(term, nodes) for term in terms), np.zeros(len(nodes), dtype=np.bool_))]


def matches(term: NodeSelectorTerm, nodes: NodeColumns) -> Bools:
    """Nodes for which every requirement of ``term`` holds; an empty term matches none."""
    masks = [_expression(requirement, nodes) for requirement in term.match_expressions]
    masks += [_field(requirement, nodes) for requirement in term.match_fields]
    return reduce(and_, masks) if masks else np.zeros(len(nodes), dtype=np.bool_)


def _expression(requirement: NodeSelectorRequirement, nodes: NodeColumns) -> Bools:
    column = nodes.labels.column(requirement.key)
    match requirement.operator:
        case "In":
            return column.equals(requirement.values)
        case "NotIn":
            return ~column.equals(requirement.values)
        case _:
            return column.where(
                lambda value: requirement_matches(requirement, {} if value is None else {requirement.key: value})
            )


def _field(requirement: NodeSelectorRequirement, nodes: NodeColumns) -> Bools:
    if requirement.key == NAME_FIELD and requirement.operator in ("In", "NotIn"):
        named = reduce(or_, (nodes.named(name) for name in requirement.values), np.zeros(len(nodes), dtype=np.bool_))
        return named if requirement.operator == "In" else ~named
    answers = (requirement_matches(requirement, {NAME_FIELD: node.name}) for node in nodes.ids)
    return np.fromiter(answers, dtype=np.bool_, count=len(nodes))
