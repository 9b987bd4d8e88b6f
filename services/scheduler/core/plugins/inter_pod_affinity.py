"""InterPodAffinity: near to, or away from, pods that selectors match; and the wishes of pods that are there already.

Required terms filter, preferred terms score. What placed pods require or prefer of newcomers counts as well: their
required anti-affinity keeps pods away, their required affinity (with ``hard_pod_affinity_weight``) and their
preferences score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import reduce
from operator import and_

import numpy as np

from services.scheduler.core.arrays import ALL, Bools, Ints, Rows
from services.scheduler.core.census import Sums
from services.scheduler.core.domains import DomainCounts, Extremes, after_leaving, united
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
from services.scheduler.core.relations import Carrying, Matching, Relation, matches
from services.scheduler.core.terms import Role, Term
from services.scheduler.core.topology import Topology
from services.scheduler.core.usage import Usage

NOT_NEAR = "node(s) didn't match pod affinity rules"
TOO_NEAR = "node(s) didn't match pod anti-affinity rules"
NOT_WANTED = "node(s) didn't satisfy existing pods anti-affinity rules"


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
        own = {term.topology_key for term in (*pods.terms.required, *pods.terms.anti)}
        return own | _kept_away(pods, usage).keys()

    def open(self, pods: PodClass, nodes: NodeColumns, usage: Usage, topology: Topology) -> DomainMask:
        return _AffinityMask(pods, usage, topology)

    def closed(
        self, pods: PodClass, nodes: NodeColumns, usage: Usage, left: Usage, topology: Topology
    ) -> Mapping[str, Bools]:
        terms, census = pods.terms, usage.census
        not_near: Bools = np.zeros(len(topology.group), dtype=np.bool_)
        too_near, not_wanted = not_near.copy(), not_near.copy()
        if terms.required and not all(matches(term, pods, census.namespaces) for term in terms.required):
            near = Matching(terms.required)
            for key in {term.topology_key for term in terms.required}:
                not_near |= after_leaving(census.sums(near), left.census.sums(near), topology.domains[key]) == 0
        for term in terms.anti:
            not_near_to = Matching((term,))
            numbers = after_leaving(
                census.sums(not_near_to), left.census.sums(not_near_to), topology.domains[term.topology_key]
            )
            too_near |= numbers > 0
        kept_away, still = _kept_away(pods, usage), _kept_away(pods, left)
        for key, sums in kept_away.items():
            not_wanted |= after_leaving(sums, still.get(key), topology.domains[key]) > 0
        too_near &= ~not_near
        return {NOT_NEAR: not_near, TOO_NEAR: too_near, NOT_WANTED: not_wanted & ~not_near & ~too_near}


class PodAffinityScore(DomainScore):
    """kubernetes plugins/interpodaffinity/scoring.go, with its arguments.

    ``hard_pod_affinity_weight`` (0…100): what placed pods' required affinity for the newcomer scores.
    ``ignore_preferred_terms_of_existing_pods``: a newcomer without preferred terms of its own is not scored at all.
    """

    name = "InterPodAffinity"

    def __init__(
        self, hard_pod_affinity_weight: int = 1, ignore_preferred_terms_of_existing_pods: bool = False
    ) -> None:
        self._hard_weight = hard_pod_affinity_weight
        self._ignore_existing = ignore_preferred_terms_of_existing_pods

    def topology_keys(self, pods: PodClass, usage: Usage) -> Collection[str]:
        if self._ignore_existing and not pods.terms.preferred:
            return ()
        return self._of_itself(pods, usage).keys() | self._wishes(pods, usage).keys()

    def open(self, pods: PodClass, nodes: NodeColumns, usage: Usage, topology: Topology) -> DomainPoints:
        wishes, itself = self._wishes(pods, usage), self._of_itself(pods, usage)
        return _AffinityPoints(
            {key: _counts(wishes.get(key), key, topology) for key in sorted(wishes.keys() | itself.keys())}, itself
        )

    def _wishes(self, pods: PodClass, usage: Usage) -> dict[str, Sums]:
        """What placed pods are to the class, and it to them, by topology key: the sum of the weights per row."""
        parts: list[tuple[str, int, Relation]] = [
            (term.topology_key, term.weight, Matching((term,))) for term in pods.terms.preferred
        ]
        for role, term in usage.census.sought(pods):
            weight = self._weight(role, term)
            if weight:
                parts.append((term.topology_key, weight, Carrying(role, term)))
        return _summed(parts, usage)

    def _of_itself(self, pods: PodClass, usage: Usage) -> dict[str, int]:
        """What one more pod of the class is to the next: as the one that is wished for, and as the one that wishes."""
        numbers: Counter[str] = Counter()
        for role, term in pods.terms.by_role():
            weight = self._weight(role, term) * (2 if role is Role.PREFERRED else 1)
            if weight and matches(term, pods, usage.census.namespaces):
                numbers[term.topology_key] += weight
        return {key: number for key, number in numbers.items() if number}

    def _weight(self, role: Role, term: Term) -> int:
        if role is Role.PREFERRED:
            return term.weight
        return self._hard_weight if role is Role.REQUIRED else 0


class _AffinityMask(DomainMask):
    def __init__(self, pods: PodClass, usage: Usage, topology: Topology) -> None:
        terms = pods.terms
        near = usage.census.sums(Matching(terms.required)) if terms.required else None
        near_keys = sorted({term.topology_key for term in terms.required})
        self._near = [_counts(near, key, topology) for key in near_keys]
        away = _summed([(term.topology_key, 1, Matching((term,))) for term in terms.anti], usage)
        away_keys = sorted({term.topology_key for term in terms.anti})
        self._away = {key: _counts(away.get(key), key, topology) for key in away_keys}
        kept_away = sorted(_kept_away(pods, usage).items())
        self._kept_away = {key: _counts(sums, key, topology) for key, sums in kept_away}
        # What one more pod of the class adds. Whom its own terms keep away is in ``_away``, seen from the other side.
        namespaces = usage.census.namespaces
        self._near_itself = bool(terms.required) and all(matches(term, pods, namespaces) for term in terms.required)
        self._away_itself = Counter(term.topology_key for term in terms.anti if matches(term, pods, namespaces))
        # The first pod of a group that wants to be together: nobody to be near to, anywhere.
        self._first = self._near_itself and not any(counts.counts.any() for counts in self._near)
        self._groups = len(topology)
        self.mask = self._answer(ALL)

    def place(self, group: int) -> Rows | None:
        changed: list[Rows] = [self._away[key].add(group, number) for key, number in self._away_itself.items()]
        if self._near_itself:
            changed += [counts.add(group, 1) for counts in self._near]
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
    def __init__(self, counts: Mapping[str, DomainCounts], itself: Mapping[str, int]) -> None:
        self._counts = counts
        self._itself = itself
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


def _kept_away(pods: PodClass, usage: Usage) -> dict[str, Sums]:
    """Placed pods whose required anti-affinity the class matches, by topology key."""
    terms = [term for role, term in usage.census.sought(pods) if role is Role.ANTI]
    return _summed([(term.topology_key, 1, Carrying(Role.ANTI, term)) for term in terms], usage)


def _summed(parts: Iterable[tuple[str, int, Relation]], usage: Usage) -> dict[str, Sums]:
    """By topology key, the weighted sum per row of what is related; keys without any are left out."""
    total: dict[str, Sums] = {}
    for key, weight, relation in parts:
        sums = usage.census.sums(relation)
        if sums is not None and sums.any():
            weighted = sums if weight == 1 else sums * np.int32(weight)
            total[key] = total[key] + weighted if key in total else weighted
    return total


def _counts(sums: Sums | None, key: str, topology: Topology) -> DomainCounts:
    domains = topology.domains[key]
    counts = np.zeros(domains.count + 1, dtype=np.int64) if sums is None else domains.sums(sums)
    return DomainCounts(counts, topology.codes[key], topology.single[key])


def _clear(counts: Mapping[str, DomainCounts], groups: Rows, total: int) -> Bools:
    """No domain of ``groups`` has any: a node without the label is in no domain."""
    if not counts:
        return np.ones(total, dtype=np.bool_)[groups]
    return reduce(and_, (of_key.of(groups) == 0 for of_key in counts.values()))


def _may_match(term: Term, pods: PodClass) -> bool:
    if term.tenant != pods.tenant or term.selector is None or not term.selector.matches(pods.labels):
        return False
    return term.namespace_selector is not None or pods.namespace in term.namespaces
