"""InterPodAffinity: near to, or away from, pods that selectors match; and the wishes of pods that are there already.

Required terms filter, preferred terms score. What placed pods require or prefer of newcomers counts as well: their
required anti-affinity keeps pods away, their required affinity (with ``hard_pod_affinity_weight``) and their
preferences score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from functools import reduce
from operator import and_

import numpy as np

from services.scheduler.core.arrays import ALL, Bools, Ints, Rows
from services.scheduler.core.domains import DomainCounts, Extremes, united
from services.scheduler.core.labels import ABSENT
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import (
    SCORE_MAX,
    Cluster,
    DomainFilter,
    DomainMask,
    DomainPoints,
    DomainScore,
    PodChange,
)
from services.scheduler.core.pods import PodClass
from services.scheduler.core.relations import Relation, Slot, sources_of, sources_of_seekers
from services.scheduler.core.terms import Namespaces, Term
from services.scheduler.core.topology import Topology
from services.scheduler.core.usage import Usage

NOT_NEAR = "node(s) didn't match pod affinity rules"
TOO_NEAR = "node(s) didn't match pod anti-affinity rules"
NOT_WANTED = "node(s) didn't satisfy existing pods anti-affinity rules"

# Pods that match every required term.
NEAR: Slot = ("near", "")
# By topology key: own anti-affinity terms that pods match; anti-affinity terms of pods that the class matches; and the
# weights of all preferences.
AWAY = "away"
KEPT_AWAY = "kept away"
WISHES = "wishes"


class InterPodAffinity(DomainFilter):
    """kubernetes plugins/interpodaffinity/filtering.go."""

    name = "InterPodAffinity"
    helped_by = (
        Cluster.NODE_ADDED | Cluster.LABELS_CHANGED | Cluster.POD_ADDED | Cluster.POD_GONE | Cluster.NAMESPACE_CHANGED
    )

    def helps(self, pods: PodClass, change: PodChange) -> bool:
        """A pod came that is to be near, or one left that kept this one away; either way round.

        Namespace selectors are taken to match: the labels of namespaces are not at hand. A wake too many at worst.
        """
        if change.what & Cluster.POD_ADDED and any(_may_match(term, change.kind) for term in pods.terms.required):
            return True
        if not change.what & Cluster.POD_GONE:
            return False
        away = any(_may_match(term, change.kind) for term in pods.terms.anti)
        return away or any(_may_match(term, pods) for term in change.kind.terms.anti)

    def topology_keys(self, pods: PodClass, usage: Usage) -> Collection[str]:
        rules = _rules(pods)
        keys = {term.topology_key for term in (*pods.terms.required, *pods.terms.anti)}
        return keys | _keys_in_use(rules, KEPT_AWAY, usage)

    def open(self, pods: PodClass, nodes: NodeColumns, usage: Usage, topology: Topology) -> DomainMask:
        return _AffinityMask(pods, usage, topology)


class PodAffinityScore(DomainScore):
    """kubernetes plugins/interpodaffinity/scoring.go, with its argument hardPodAffinityWeight (0…100)."""

    name = "InterPodAffinity"

    def __init__(self, hard_pod_affinity_weight: int = 1) -> None:
        self._hard_weight = hard_pod_affinity_weight

    def topology_keys(self, pods: PodClass, usage: Usage) -> Collection[str]:
        wishes = _wishes(pods, self._hard_weight)
        keys = {key for what, key in wishes.numbers(pods, usage.census.namespaces) if what == WISHES}
        return keys | _keys_in_use(wishes, WISHES, usage)

    def open(self, pods: PodClass, nodes: NodeColumns, usage: Usage, topology: Topology) -> DomainPoints:
        wishes = _wishes(pods, self._hard_weight)
        keys = self.topology_keys(pods, usage)
        counts = {key: _counts((WISHES, key), key, wishes, usage, topology) for key in sorted(keys)}
        return _AffinityPoints(counts, _of_itself(pods, wishes, usage))


class _Rules(Relation):
    """What is required: of the class by itself, and of it by others."""

    def __init__(self, pods: PodClass) -> None:
        self._pods = pods
        terms = pods.terms
        # A pod counts as near if it matches every required term: it is found where the first one looks.
        own = (*terms.required[:1], *terms.anti)
        found = [source for term in own for source in sources_of(term.selector, pods.tenant)]
        self.sources = tuple(dict.fromkeys((*found, *sources_of_seekers(pods))))

    def numbers(self, other: PodClass, namespaces: Namespaces) -> Mapping[Slot, int]:
        pods = self._pods
        numbers: Counter[Slot] = Counter()
        if pods.terms.required and all(_matches(term, other, namespaces) for term in pods.terms.required):
            numbers[NEAR] = 1
        for term in pods.terms.anti:
            numbers[(AWAY, term.topology_key)] += _matches(term, other, namespaces)
        for term in other.terms.anti:
            numbers[(KEPT_AWAY, term.topology_key)] += _matches(term, pods, namespaces)
        return {slot: number for slot, number in numbers.items() if number}


class _Wishes(Relation):
    """What is preferred: by the class of others, and by others of it."""

    def __init__(self, pods: PodClass, hard_weight: int) -> None:
        self._pods = pods
        self._hard_weight = hard_weight
        found = [source for term in pods.terms.preferred for source in sources_of(term.selector, pods.tenant)]
        self.sources = tuple(dict.fromkeys((*found, *sources_of_seekers(pods))))

    def numbers(self, other: PodClass, namespaces: Namespaces) -> Mapping[Slot, int]:
        pods = self._pods
        numbers: Counter[Slot] = Counter()
        for term in pods.terms.preferred:
            numbers[(WISHES, term.topology_key)] += term.weight * _matches(term, other, namespaces)
        for term in other.terms.preferred:
            numbers[(WISHES, term.topology_key)] += term.weight * _matches(term, pods, namespaces)
        for term in other.terms.required if self._hard_weight else ():
            numbers[(WISHES, term.topology_key)] += self._hard_weight * _matches(term, pods, namespaces)
        return {slot: number for slot, number in numbers.items() if number}


class _AffinityMask(DomainMask):
    def __init__(self, pods: PodClass, usage: Usage, topology: Topology) -> None:
        rules = _rules(pods)
        self._itself = _of_itself(pods, rules, usage)
        near_keys = sorted({term.topology_key for term in pods.terms.required})
        away_keys = sorted({term.topology_key for term in pods.terms.anti})
        kept_away_keys = _keys_in_use(rules, KEPT_AWAY, usage) | {
            key for what, key in self._itself if what == KEPT_AWAY
        }
        self._near = [_counts(NEAR, key, rules, usage, topology) for key in near_keys]
        self._away = {key: _counts((AWAY, key), key, rules, usage, topology) for key in away_keys}
        self._kept_away = {
            key: _counts((KEPT_AWAY, key), key, rules, usage, topology) for key in sorted(kept_away_keys)
        }
        # The first pod of a group that wants to be together: nobody to be near to, anywhere.
        self._first = NEAR in self._itself and not any(counts.counts.any() for counts in self._near)
        self._groups = len(topology)
        self.mask = self._answer(ALL)

    def place(self, group: int) -> Rows | None:
        changed: list[Rows] = []
        for (what, key), number in self._itself.items():
            if what == AWAY:
                changed.append(self._away[key].add(group, number))
            elif what == KEPT_AWAY:
                changed.append(self._kept_away[key].add(group, number))
            else:
                changed += [counts.add(group, number) for counts in self._near]
                if self._first:
                    self._first = False
                    changed.append(ALL)
        groups = united(changed)
        if groups is not None:
            self.mask[groups] = self._answer(groups)
        return groups

    def reasons(self, groups: Ints) -> Counter[str]:
        not_near = ~self._is_near(ALL)[groups]
        too_near = ~not_near & ~_clear(self._away, ALL, self._groups)[groups]
        not_wanted = len(groups) - int(np.count_nonzero(not_near | too_near))
        near, far = int(np.count_nonzero(not_near)), int(np.count_nonzero(too_near))
        return +Counter({NOT_NEAR: near, TOO_NEAR: far, NOT_WANTED: not_wanted})

    def hopeless(self) -> Bools:
        return ~self._is_near(ALL)

    def _answer(self, groups: Rows) -> Bools:
        near = self._is_near(groups)
        return near & _clear(self._away, groups, self._groups) & _clear(self._kept_away, groups, self._groups)

    def _is_near(self, groups: Rows) -> Bools:
        if not self._near:
            return np.ones(self._groups, dtype=np.bool_)[groups]
        if self._first:
            return reduce(and_, (counts.codes[groups] != ABSENT for counts in self._near))
        return reduce(and_, (counts.of(groups) > 0 for counts in self._near))


class _AffinityPoints(DomainPoints):
    def __init__(self, counts: Mapping[str, DomainCounts], itself: Mapping[Slot, int]) -> None:
        self._counts = counts
        self._itself = {key: number for (_, key), number in itself.items()}
        self._extremes = Extremes()
        self._touched: list[Rows] = []
        self.points = np.zeros(len(next(iter(counts.values())).codes), dtype=np.int64)

    def place(self, group: int) -> None:
        for key, number in self._itself.items():
            self._touched.append(self._counts[key].add(group, number))

    def settle(self, feasible: Bools, nodes: Ints, moved: bool) -> Rows | None:
        touched = united(self._touched)
        self._touched.clear()
        if moved:
            before = (self._extremes.least, self._extremes.greatest)
            first = not len(self._extremes.values)
            self._extremes.reset(self._values(ALL) if first or touched is not None else self._extremes.values, feasible)
            if first or before != (self._extremes.least, self._extremes.greatest):
                touched = ALL
            if touched is None:
                return None
        elif touched is None:
            return None
        elif isinstance(touched, slice) or self._extremes.change(touched, self._values(touched)):
            touched = ALL
        self.points[touched] = self._normalised(touched)
        return touched

    def _values(self, groups: Rows) -> Ints:
        return reduce(np.add, (counts.of(groups) for counts in self._counts.values()))

    def _normalised(self, groups: Rows) -> Ints:
        least, greatest = self._extremes.least, self._extremes.greatest
        values = self._extremes.values[groups]
        if greatest == least:
            return np.zeros(len(values), dtype=np.int64)
        # In the order of upstream's floating-point operations.
        points: Ints = (float(SCORE_MAX) * ((values - least) / float(greatest - least))).astype(np.int64)
        return points


def _rules(pods: PodClass) -> _Rules:
    known: _Rules | None = pods.derived.get(_Rules)
    if known is None:
        known = pods.derived[_Rules] = _Rules(pods)
    return known


def _wishes(pods: PodClass, hard_weight: int) -> _Wishes:
    known: _Wishes | None = pods.derived.get((_Wishes, hard_weight))
    if known is None:
        known = pods.derived[(_Wishes, hard_weight)] = _Wishes(pods, hard_weight)
    return known


def _of_itself(pods: PodClass, relation: Relation, usage: Usage) -> Mapping[Slot, int]:
    """What one more pod of the class adds."""
    return relation.numbers(pods, usage.census.namespaces)


def _keys_in_use(relation: Relation, what: str, usage: Usage) -> set[str]:
    """Topology keys under which some placed pod has a number."""
    return {key for (slot, key), sums in usage.census.sums(relation).items() if slot == what and sums.any()}


def _counts(slot: Slot, key: str, relation: Relation, usage: Usage, topology: Topology) -> DomainCounts:
    domains = topology.domains[key]
    placed = usage.census.sums(relation).get(slot)
    sums = np.zeros(domains.count + 1, dtype=np.int64) if placed is None else domains.sums(placed)
    return DomainCounts(sums, topology.codes[key], topology.single[key])


def _clear(counts: Mapping[str, DomainCounts], groups: Rows, total: int) -> Bools:
    """No domain of ``groups`` has any: a node without the label is in no domain."""
    if not counts:
        return np.ones(total, dtype=np.bool_)[groups]
    return reduce(and_, (of_key.of(groups) == 0 for of_key in counts.values()))


def _matches(term: Term, pods: PodClass, namespaces: Namespaces) -> bool:
    return term.matches(pods.tenant, pods.namespace, pods.labels, namespaces)


def _may_match(term: Term, pods: PodClass) -> bool:
    if term.tenant != pods.tenant or term.selector is None or not term.selector.matches(pods.labels):
        return False
    return term.namespace_selector is not None or pods.namespace in term.namespaces
