"""A class' topology spread constraints, compiled, and whom they count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import and_

from services.api.pb.ursa.core.v1.pod_pb2 import TopologySpreadConstraint
from services.scheduler.core.arrays import Bools
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugins.node_affinity import NodeAffinity
from services.scheduler.core.plugins.taint_toleration import TaintToleration
from services.scheduler.core.pods import PodClass
from services.scheduler.core.relations import Relation, Slot, sources_of
from services.scheduler.core.selectors import Labels, Selector, compiled, shared
from services.scheduler.core.terms import Namespaces

DO_NOT_SCHEDULE = "DoNotSchedule"
SCHEDULE_ANYWAY = "ScheduleAnyway"
HONOR = "Honor"
IGNORE = "Ignore"

_NODE_AFFINITY = NodeAffinity()
_TAINTS = TaintToleration()


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint with its defaults filled in (kubernetes plugins/podtopologyspread/common.go).

    ``selector`` is ``None`` where it is unset and matches nothing. The two facts about
    the class itself differ for a selector without requirements, which matches every pod and counts none.
    """

    max_skew: int
    topology_key: str
    selector: Selector | None
    min_domains: int
    honors_affinity: bool
    honors_taints: bool
    matches_itself: bool
    counts_itself: bool
    slot: Slot

    def counts(self, pods: PodClass) -> bool:
        """Whether a pod of ``pods``, in the namespace of the class, is counted: not if it ends."""
        return not pods.ending and _counts(self.selector, pods.labels)

    def eligible(self, pods: PodClass, nodes: NodeColumns) -> Bools | None:
        """Rows that the inclusion policies admit (KEP-3094); ``None``: all."""
        masks = []
        if self.honors_affinity:
            masks.append(_NODE_AFFINITY.mask(pods, nodes))
        if self.honors_taints:
            masks.append(_TAINTS.mask(pods, nodes))
        known = [mask for mask in masks if mask is not None]
        return reduce(and_, known) if known else None


class Spreading(Relation):
    """The constraints of one class with one action, and the pods that each of them counts."""

    def __init__(self, pods: PodClass, action: str) -> None:
        spec = pods.pod.spec
        self._tenant, self._namespace = pods.tenant, pods.namespace
        self.constraints = tuple(
            _constraint(message, index, pods)
            for index, message in enumerate(spec.topology_spread_constraints)
            if message.when_unsatisfiable == action
        )
        self.topology_keys = frozenset(constraint.topology_key for constraint in self.constraints)
        self.sources = tuple(
            dict.fromkeys(source for c in self.constraints for source in sources_of(c.selector, pods.tenant))
        )

    def numbers(self, other: PodClass, namespaces: Namespaces) -> Mapping[Slot, int]:
        if other.namespace != self._namespace or other.tenant != self._tenant:
            return {}
        return {constraint.slot: 1 for constraint in self.constraints if constraint.counts(other)}


def spreading(pods: PodClass, action: str) -> Spreading | None:
    """The class' constraints with ``action``; ``None`` if it has none. Compiled once."""
    if not pods.pod.spec.topology_spread_constraints:
        return None
    known: Spreading | None = pods.derived.get((Spreading, action))
    if known is None:
        known = pods.derived[(Spreading, action)] = Spreading(pods, action)
    return known if known.constraints else None


def _constraint(message: TopologySpreadConstraint, index: int, pods: PodClass) -> Constraint:
    selector = None
    if message.HasField("label_selector"):
        same = shared(message.match_label_keys, pods.labels, "In")  # KEP-3243
        selector = compiled(message.label_selector).narrowed(same)
    return Constraint(
        max_skew=message.max_skew,
        topology_key=message.topology_key,
        selector=selector,
        min_domains=message.min_domains if message.HasField("min_domains") else 1,
        honors_affinity=(message.node_affinity_policy or HONOR) == HONOR,
        honors_taints=(message.node_taints_policy or IGNORE) == HONOR,
        matches_itself=selector is not None and selector.matches(pods.labels),
        counts_itself=_counts(selector, pods.labels),
        slot=("spread", str(index)),
    )


def _counts(selector: Selector | None, labels: Labels) -> bool:
    return selector is not None and bool(selector.requirements) and selector.matches(labels)
