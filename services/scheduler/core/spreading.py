"""A class' topology spread constraints, compiled, and whom they count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_

from services.api.pb.ursa.core.v1.pod_pb2 import TopologySpreadConstraint
from services.scheduler.core.arrays import Bools
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugins.node_affinity import NodeAffinity
from services.scheduler.core.plugins.taint_toleration import TaintToleration
from services.scheduler.core.pods import PodClass
from services.scheduler.core.relations import Counted
from services.scheduler.core.selectors import compiled, shared

DO_NOT_SCHEDULE = "DoNotSchedule"
SCHEDULE_ANYWAY = "ScheduleAnyway"
HONOR = "Honor"
IGNORE = "Ignore"

# Labels that controllers give to one pod of a set alone.
LABELS_OF_ONE_POD = frozenset(
    (
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
        "batch.kubernetes.io/job-completion-index",
    )
)

_NODE_AFFINITY = NodeAffinity()
_TAINTS = TaintToleration()


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint with its defaults filled in (kubernetes plugins/podtopologyspread/common.go).

    ``counted`` is ``None`` where the selector is unset, or has no requirements: then it matches every pod, the class
    itself among them, but counts none.
    """

    max_skew: int
    topology_key: str
    counted: Counted | None
    min_domains: int
    honors_affinity: bool
    honors_taints: bool
    matches_itself: bool
    counts_itself: bool

    def eligible(self, pods: PodClass, nodes: NodeColumns) -> Bools | None:
        """Rows that the inclusion policies admit (KEP-3094); ``None``: all."""
        masks = []
        if self.honors_affinity:
            masks.append(_NODE_AFFINITY.mask(pods, nodes))
        if self.honors_taints:
            masks.append(_TAINTS.mask(pods, nodes))
        known = [mask for mask in masks if mask is not None]
        return reduce(and_, known) if known else None


@dataclass(frozen=True)
class DefaultConstraint:
    """A constraint for pods that have none of their own; whom it counts depends on the pod.

    Source: kubernetes PodTopologySpreadArgs.defaultConstraints with defaultingType List.
    """

    max_skew: int
    topology_key: str
    when_unsatisfiable: str
    min_domains: int | None = None
    node_affinity_policy: str = ""
    node_taints_policy: str = ""

    def of(self, labels: Mapping[str, str]) -> TopologySpreadConstraint:
        """For a pod with ``labels``: it counts pods that have them all, but for those that tell replicas apart."""
        message = TopologySpreadConstraint(
            max_skew=self.max_skew,
            topology_key=self.topology_key,
            when_unsatisfiable=self.when_unsatisfiable,
            min_domains=self.min_domains,
            node_affinity_policy=self.node_affinity_policy,
            node_taints_policy=self.node_taints_policy,
        )
        message.label_selector.match_labels.update(labels)
        return message


class Spreading:
    """The constraints of one class with one action."""

    def __init__(self, pods: PodClass, action: str, defaults: Sequence[DefaultConstraint]) -> None:
        own = pods.pod.spec.topology_spread_constraints
        if not own and defaults:
            shared_labels = {key: value for key, value in pods.labels.items() if key not in LABELS_OF_ONE_POD}
            messages = [default.of(shared_labels) for default in defaults] if shared_labels else []
        else:
            messages = list(own)
        self.constraints = tuple(
            _constraint(message, pods) for message in messages if message.when_unsatisfiable == action
        )
        self.topology_keys = frozenset(constraint.topology_key for constraint in self.constraints)


def spreading(pods: PodClass, action: str, defaults: tuple[DefaultConstraint, ...] = ()) -> Spreading | None:
    """The class' constraints with ``action``; ``None`` if it has none. Compiled once.

    ``defaults`` are for classes that have no constraints at all, and labels.
    """
    if not (pods.pod.spec.topology_spread_constraints or defaults):
        return None
    known: Spreading | None = pods.derived.get((Spreading, action, defaults))
    if known is None:
        known = pods.derived[(Spreading, action, defaults)] = Spreading(pods, action, defaults)
    return known if known.constraints else None


def _constraint(message: TopologySpreadConstraint, pods: PodClass) -> Constraint:
    selector = None
    if message.HasField("label_selector"):
        same = shared(message.match_label_keys, pods.labels, "In")  # KEP-3243
        selector = compiled(message.label_selector).narrowed(same)
    matches_itself = selector is not None and selector.matches(pods.labels)
    counts = selector is not None and bool(selector.requirements)
    return Constraint(
        max_skew=message.max_skew,
        topology_key=message.topology_key,
        counted=Counted(pods.tenant, pods.namespace, selector) if selector is not None and counts else None,
        min_domains=message.min_domains if message.HasField("min_domains") else 1,
        honors_affinity=(message.node_affinity_policy or HONOR) == HONOR,
        honors_taints=(message.node_taints_policy or IGNORE) == HONOR,
        matches_itself=matches_itself,
        counts_itself=matches_itself and counts,
    )
