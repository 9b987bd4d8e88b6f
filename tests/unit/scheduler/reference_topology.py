"""The slow scheduler's rules for what depends on other nodes, pod by pod and node by node, from upstream's text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod, PodAffinityTerm, TopologySpreadConstraint
from services.placement import affinity, tolerations

HOSTNAME = "kubernetes.io/hostname"

# (resource partition, node, pods on it)
Place = tuple[str, Node, Sequence[Pod]]
NamespaceLabels = Mapping[tuple[str, str], Mapping[str, str]]


def selects(selector: Any, labels: Mapping[str, str]) -> bool:
    for key, value in selector.match_labels.items():
        if labels.get(key) != value:
            return False
    for expression in selector.match_expressions:
        value_or_none = labels.get(expression.key)
        holds = {
            "In": value_or_none in expression.values,
            "NotIn": value_or_none not in expression.values,
            "Exists": value_or_none is not None,
            "DoesNotExist": value_or_none is None,
        }[expression.operator]
        if not holds:
            return False
    return True


def domain(key: str, place: Place) -> object | None:
    """A host belongs to its resource partition."""
    partition, node, _ = place
    if key not in node.metadata.labels:
        return None
    value = node.metadata.labels[key]
    return (partition, value) if key == HOSTNAME else value


# Inter-pod affinity


def means(owner: Pod, term: PodAffinityTerm, other: Pod, namespaces: NamespaceLabels) -> bool:
    mine, theirs = owner.metadata, other.metadata
    if mine.tenant != theirs.tenant or not term.HasField("label_selector"):
        return False
    in_scope = theirs.namespace in term.namespaces
    if term.HasField("namespace_selector"):
        in_scope |= selects(term.namespace_selector, namespaces.get((theirs.tenant, theirs.namespace), {}))
    elif not term.namespaces:
        in_scope = theirs.namespace == mine.namespace
    for key in term.match_label_keys:
        if key in mine.labels and theirs.labels.get(key) != mine.labels[key]:
            return False
    for key in term.mismatch_label_keys:
        if key in mine.labels and theirs.labels.get(key) == mine.labels[key]:
            return False
    return in_scope and selects(term.label_selector, theirs.labels)


def near_terms(pod: Pod) -> Sequence[PodAffinityTerm]:
    return pod.spec.affinity.pod_affinity.required_during_scheduling_ignored_during_execution


def away_terms(pod: Pod) -> Sequence[PodAffinityTerm]:
    return pod.spec.affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution


def affinity_allows(pod: Pod, at: Place, places: Sequence[Place], namespaces: NamespaceLabels) -> bool:
    required = near_terms(pod)
    near: set[tuple[str, object]] = set()
    for place in places:
        for other in place[2]:
            if required and all(means(pod, term, other, namespaces) for term in required):
                near |= {
                    (term.topology_key, domain(term.topology_key, place))
                    for term in required
                    if domain(term.topology_key, place) is not None
                }
            for term in away_terms(pod):
                here = domain(term.topology_key, at)
                if (
                    here is not None
                    and here == domain(term.topology_key, place)
                    and means(pod, term, other, namespaces)
                ):
                    return False
            for term in away_terms(other):
                here = domain(term.topology_key, at)
                if (
                    here is not None
                    and here == domain(term.topology_key, place)
                    and means(other, term, pod, namespaces)
                ):
                    return False
    if any(domain(term.topology_key, at) is None for term in required):
        return False
    if all((term.topology_key, domain(term.topology_key, at)) in near for term in required):
        return True
    return not near and all(means(pod, term, pod, namespaces) for term in required)


def affinity_scores(
    pod: Pod, feasible: Sequence[Place], places: Sequence[Place], namespaces: NamespaceLabels, hard_weight: int = 1
) -> list[int]:
    weights: dict[tuple[str, object], int] = {}

    def wish(owner: Pod, term: PodAffinityTerm, other: Pod, place: Place, weight: int) -> None:
        where = domain(term.topology_key, place)
        if where is not None and means(owner, term, other, namespaces):
            weights[(term.topology_key, where)] = weights.get((term.topology_key, where), 0) + weight

    for place in places:
        for other in place[2]:
            for owner, meant in ((pod, other), (other, pod)):
                wanted = owner.spec.affinity
                for soft in wanted.pod_affinity.preferred_during_scheduling_ignored_during_execution:
                    wish(owner, soft.pod_affinity_term, meant, place, soft.weight)
                for soft in wanted.pod_anti_affinity.preferred_during_scheduling_ignored_during_execution:
                    wish(owner, soft.pod_affinity_term, meant, place, -soft.weight)
            for term in near_terms(other):
                wish(other, term, pod, place, hard_weight)
    raw = [sum(weight for (key, where), weight in weights.items() if domain(key, place) == where) for place in feasible]
    least, greatest = min(raw), max(raw)
    if greatest == least:
        return [0] * len(raw)
    return [int(100.0 * ((value - least) / (greatest - least))) for value in raw]


# Spreading


def constraints(pod: Pod, action: str) -> list[TopologySpreadConstraint]:
    return [c for c in pod.spec.topology_spread_constraints if c.when_unsatisfiable == action]


def _selected(pod: Pod, constraint: TopologySpreadConstraint, other: Pod) -> bool:
    if not constraint.HasField("label_selector"):
        return False
    for key in constraint.match_label_keys:
        if key in pod.metadata.labels and other.metadata.labels.get(key) != pod.metadata.labels[key]:
            return False
    return selects(constraint.label_selector, other.metadata.labels)


def _counted(pod: Pod, constraint: TopologySpreadConstraint, pods: Sequence[Pod]) -> int:
    keys = [key for key in constraint.match_label_keys if key in pod.metadata.labels]
    selector = constraint.label_selector
    if not (selector.match_labels or selector.match_expressions or keys):
        return 0
    return sum(
        _selected(pod, constraint, other)
        for other in pods
        if other.metadata.tenant == pod.metadata.tenant
        and other.metadata.namespace == pod.metadata.namespace
        and not other.metadata.HasField("deletion_timestamp")
    )


def _included(pod: Pod, constraint: TopologySpreadConstraint, node: Node) -> bool:
    if constraint.node_affinity_policy != "Ignore" and not affinity.pod_matches_node(
        pod, node.metadata.labels, node.metadata.name
    ):
        return False
    return constraint.node_taints_policy != "Honor" or not tolerations.untolerated(
        node.spec.taints, pod.spec.tolerations
    )


def _counts(
    pod: Pod, constraint: TopologySpreadConstraint, all_of: Sequence[TopologySpreadConstraint], places: Sequence[Place]
) -> dict[object, int]:
    counts: dict[object, int] = {}
    for place in places:
        if any(other.topology_key not in place[1].metadata.labels for other in all_of):
            continue
        if _included(pod, constraint, place[1]):
            where = domain(constraint.topology_key, place)
            counts[where] = counts.get(where, 0) + _counted(pod, constraint, place[2])
    return counts


def spreading_allows(pod: Pod, at: Place, places: Sequence[Place]) -> bool:
    hard = constraints(pod, "DoNotSchedule")
    for constraint in hard:
        where = domain(constraint.topology_key, at)
        if where is None:
            return False
        counts = _counts(pod, constraint, hard, places)
        wanted = constraint.min_domains if constraint.HasField("min_domains") else 1
        least = 0 if len(counts) < wanted else min(counts.values())
        if counts.get(where, 0) + _selected(pod, constraint, pod) - least > constraint.max_skew:
            return False
    return True


def spreading_scores(pod: Pod, feasible: Sequence[Place], places: Sequence[Place]) -> list[int]:
    soft = constraints(pod, "ScheduleAnyway")
    if not soft:
        return [0] * len(feasible)
    scored = [place for place in feasible if all(c.topology_key in place[1].metadata.labels for c in soft)]
    totals: dict[int, float] = {id(place): 0.0 for place in scored}
    for constraint in soft:
        key = constraint.topology_key
        size = len(scored) if key == HOSTNAME else len({domain(key, place) for place in scored})
        weight = math.log(size + 2)
        counts = _counts(pod, constraint, soft, places)
        for place in scored:
            count = _counted(pod, constraint, place[2]) if key == HOSTNAME else counts.get(domain(key, place), 0)
            totals[id(place)] += count * weight + (constraint.max_skew - 1)
    raw = {at: math.floor(total + 0.5) for at, total in totals.items()}
    least, greatest = min(raw.values(), default=0), max(raw.values(), default=0)
    scores = []
    for place in feasible:
        if id(place) not in raw:
            scores.append(0)
        else:
            scores.append(100 if not greatest else 100 * (greatest + least - raw[id(place)]) // greatest)
    return scores
