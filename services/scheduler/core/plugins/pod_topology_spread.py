"""PodTopologySpread: pods that a selector matches are spread evenly over the domains of a topology key.

DoNotSchedule constraints filter, ScheduleAnyway constraints score (KEP-895). A pod without constraints has those that
the profile lists (defaultConstraints), counting the pods that have all its labels. kube-scheduler's system defaults
(hostname and zone, ScheduleAnyway) are for pods that a Service, ReplicaSet or the like selects, which this scheduler
does not watch: they are not applied.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from functools import reduce
from operator import and_

import numpy as np

from services.scheduler.core.arrays import ALL, Bools, Ints, Rows
from services.scheduler.core.domains import DomainCounts, Extremes, leaving, united
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
from services.scheduler.core.spreading import (
    DO_NOT_SCHEDULE,
    SCHEDULE_ANYWAY,
    Constraint,
    DefaultConstraint,
    Spreading,
    spreading,
)
from services.scheduler.core.topology import HOSTNAME, Topology
from services.scheduler.core.usage import Usage

NO_MATCH = "node(s) didn't match pod topology spread constraints"
NO_LABEL = f"{NO_MATCH} (missing required label)"


class PodTopologySpread(DomainFilter):
    """kubernetes plugins/podtopologyspread/filtering.go: no domain may get too far ahead of the least one."""

    name = "PodTopologySpread"
    helped_by = (
        Cluster.NODE_ADDED | Cluster.LABELS_CHANGED | Cluster.TAINTS_CHANGED | Cluster.POD_ADDED | Cluster.POD_GONE
    )

    def __init__(self, defaults: tuple[DefaultConstraint, ...] = ()) -> None:
        self._defaults = defaults

    def helps(self, pods: PodClass, change: PodChange) -> bool:
        """A counted pod that came raises the least count, one that left makes room."""
        if not change.what & self.helped_by:
            return False
        spread = spreading(pods, DO_NOT_SCHEDULE, self._defaults)
        # A pod that begins to end is counted no more: it is reported as gone, and does not count as what it is now.
        constraints = () if spread is None else spread.constraints
        return any(c.counted is not None and c.counted.number(change.kind, {}) for c in constraints)

    def topology_keys(self, pods: PodClass, usage: Usage) -> Collection[str]:
        spread = spreading(pods, DO_NOT_SCHEDULE, self._defaults)
        return () if spread is None else spread.topology_keys

    def open(self, pods: PodClass, nodes: NodeColumns, usage: Usage, topology: Topology) -> DomainMask:
        spread = spreading(pods, DO_NOT_SCHEDULE, self._defaults)
        assert spread is not None
        return _SpreadMask([_Balance(*_counted(c, spread, pods, nodes, usage, topology)) for c in spread.constraints])

    def closed(
        self, pods: PodClass, nodes: NodeColumns, usage: Usage, left: Usage, topology: Topology
    ) -> Mapping[str, Bools]:
        spread = spreading(pods, DO_NOT_SCHEDULE, self._defaults)
        assert spread is not None
        closed: Bools = np.zeros(len(topology.group), dtype=np.bool_)
        for constraint in spread.constraints:
            _, counts, present = _counted(constraint, spread, pods, nodes, usage, topology)
            numbers = counts.counts[topology.domains[constraint.topology_key].codes]
            if constraint.counted is not None:
                numbers = numbers - leaving(usage.census.sums(constraint.counted), left.census.sums(constraint.counted))
            # Pods that leave never raise the least number.
            closed |= numbers > _Balance(constraint, counts, present).most
        return {NO_MATCH: closed}


class SpreadScore(DomainScore):
    """kubernetes plugins/podtopologyspread/scoring.go: the fewer counted pods, the better."""

    name = "PodTopologySpread"

    def __init__(self, defaults: tuple[DefaultConstraint, ...] = ()) -> None:
        self._defaults = defaults

    def topology_keys(self, pods: PodClass, usage: Usage) -> Collection[str]:
        spread = spreading(pods, SCHEDULE_ANYWAY, self._defaults)
        return () if spread is None else spread.topology_keys

    def open(self, pods: PodClass, nodes: NodeColumns, usage: Usage, topology: Topology) -> DomainPoints:
        spread = spreading(pods, SCHEDULE_ANYWAY, self._defaults)
        assert spread is not None
        counted = [_counted(c, spread, pods, nodes, usage, topology) for c in spread.constraints]
        return _SpreadPoints([(constraint, counts) for constraint, counts, _ in counted])


def _counted(
    constraint: Constraint,
    spread: Spreading,
    pods: PodClass,
    nodes: NodeColumns,
    usage: Usage,
    topology: Topology,
) -> tuple[Constraint, DomainCounts, Bools]:
    """The counted pods per domain, and which domains there are: those with a node that counts, shape (domains,)."""
    key = constraint.topology_key
    complete = reduce(and_, (topology.codes[other] != ABSENT for other in spread.topology_keys))[topology.group]
    eligible = constraint.eligible(pods, nodes)
    rows = complete if eligible is None else complete & eligible
    domains = topology.domains[key]
    placed = None if constraint.counted is None else usage.census.sums(constraint.counted)
    sums = np.zeros(domains.count + 1, dtype=np.int64) if placed is None else domains.sums(placed, rows)
    present = np.zeros(domains.count + 1, dtype=np.bool_)
    present[domains.codes[rows]] = True
    return constraint, DomainCounts(sums, topology.codes[key], topology.single[key]), present[:-1]


class _Balance:
    """One DoNotSchedule constraint."""

    def __init__(self, constraint: Constraint, counts: DomainCounts, present: Bools) -> None:
        self._constraint = constraint
        self._counts = counts
        self._present = np.flatnonzero(present)
        self._too_few = len(self._present) < constraint.min_domains
        self._least = 0
        self._holders = 0
        self._find()

    @property
    def most(self) -> int:
        """A domain with more counted pods takes none."""
        return self._constraint.max_skew + (0 if self._too_few else self._least) - int(self._constraint.matches_itself)

    def labelled(self, groups: Rows) -> Bools:
        labelled: Bools = self._counts.codes[groups] != ABSENT
        return labelled

    def passes(self, groups: Rows) -> Bools:
        passes: Bools = self.labelled(groups) & (self._counts.of(groups) <= self.most)
        return passes

    def place(self, group: int) -> Rows:
        if not self._constraint.counts_itself:
            return np.zeros(0, dtype=np.int64)
        changed = self._counts.add(group, 1)
        if not self._too_few and len(changed) and self._counts.of(changed)[0] == self._least + 1:
            self._holders -= 1
            if not self._holders:
                self._find()
                return ALL
        return changed

    def _find(self) -> None:
        counts = self._counts.counts[self._present]
        if len(counts):
            self._least = int(counts.min())
            self._holders = int(np.count_nonzero(counts == self._least))


class _SpreadMask(DomainMask):
    def __init__(self, balances: list[_Balance]) -> None:
        self._balances = balances
        self.mask = self._answer(ALL)

    def place(self, group: int) -> Rows | None:
        changed = united([balance.place(group) for balance in self._balances])
        if changed is not None:
            self.mask[changed] = self._answer(changed)
        return changed

    def reasons(self, groups: Ints) -> Counter[str]:
        unlabelled = int(np.count_nonzero(self.hopeless()[groups]))
        return +Counter({NO_LABEL: unlabelled, NO_MATCH: len(groups) - unlabelled})

    def hopeless(self) -> Bools:
        # The first constraint that fails gives the reason.
        open_yet = np.ones(len(self.mask), dtype=np.bool_)
        hopeless = np.zeros(len(self.mask), dtype=np.bool_)
        for balance in self._balances:
            hopeless |= open_yet & ~balance.labelled(ALL)
            open_yet &= balance.passes(ALL)
        return hopeless

    def _answer(self, groups: Rows) -> Bools:
        return reduce(and_, (balance.passes(groups) for balance in self._balances))


class _SpreadPoints(DomainPoints):
    def __init__(self, counted: list[tuple[Constraint, DomainCounts]]) -> None:
        self._counted = counted
        codes = [counts.codes for _, counts in counted]
        # Nodes that lack one of the labels get 0, and are not looked at when the others are normalised.
        self._scored: Bools = reduce(and_, (of_key != ABSENT for of_key in codes))
        self._weights = [0.0] * len(counted)
        self._extremes = Extremes()
        self._touched: list[Rows] = []
        self.points = np.zeros(len(self._scored), dtype=np.int64)

    def place(self, group: int) -> None:
        if not self._scored[group]:
            return
        for constraint, counts in self._counted:
            if constraint.counts_itself:
                self._touched.append(counts.add(group, 1))

    def settle(self, feasible: Bools, nodes: Ints, moved: bool) -> Rows | None:
        touched = united(self._touched)
        self._touched.clear()
        if moved:
            chosen = feasible & self._scored
            self._weigh(chosen, nodes)
            self._extremes.reset(self._values(ALL), chosen)
            touched = ALL
        elif touched is None:
            return None
        elif isinstance(touched, slice) or self._extremes.change(touched, self._values(touched)):
            touched = ALL
        self.points[touched] = self._normalised(touched)
        return touched

    def _weigh(self, chosen: Bools, nodes: Ints) -> None:
        """The weight of a constraint grows with the size of its topology among the nodes that are scored."""
        for index, (constraint, counts) in enumerate(self._counted):
            if constraint.topology_key == HOSTNAME:
                size = int(nodes[chosen].sum())
            else:
                seen = np.zeros(len(counts.counts), dtype=np.bool_)
                seen[counts.codes[chosen]] = True
                size = int(np.count_nonzero(seen))
            self._weights[index] = math.log(size + 2)

    def _values(self, groups: Rows) -> Ints:
        total = np.zeros(len(self.points[groups]))
        for (constraint, counts), weight in zip(self._counted, self._weights, strict=True):
            total = total + (counts.of(groups) * weight + float(constraint.max_skew - 1))
        # Go rounds halves away from zero.
        return np.floor(total + 0.5).astype(np.int64)

    def _normalised(self, groups: Rows) -> Ints:
        least, greatest = self._extremes.least, self._extremes.greatest
        if not greatest:
            return np.where(self._scored[groups], SCORE_MAX, 0)
        points = SCORE_MAX * (greatest + least - self._extremes.values[groups]) // greatest
        return np.where(self._scored[groups], points, 0)
