"""The feasible nodes of a class that domain plug-ins have something to say about, in order while pods are placed.

What other nodes' pods have to say is the same for all nodes of a group (``topology``), so each group keeps its own
nodes in order by their own keys (``keys``), and a pod goes to the group whose best key, improved by the group's points,
is the smallest. A placement changes the key of its node, and what the domain plug-ins say of some groups: mostly those
of one domain, at times all of them. Only changed groups are combined again.

When the maximum of a normalised node score among the feasible nodes is another one than the keys were made with,
placing stops, and every key is made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from services.scheduler.core.arrays import ALL, Bools, Codes, Ints, Rows
from services.scheduler.core.domains import united
from services.scheduler.core.keys import INFEASIBLE, RANK_MASK, SCORE_SHIFT, NodeKeys, Normalised, RawScores, fits
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import DomainMask, DomainPoints
from services.scheduler.core.pods import PodClass
from services.scheduler.core.profile import Profile
from services.scheduler.core.topology import Topology
from services.scheduler.core.usage import Spread, Usage

if TYPE_CHECKING:
    from services.scheduler.core.ranking import ClassView

# For how many nodes at a time steps are made that were not foreseen.
PREPARED = 64


@dataclass(frozen=True, eq=False)
class OpenDomains:
    """What the domain plug-ins have to say of a class, as of the working sums of a plan."""

    topology: Topology
    masks: Sequence[DomainMask]
    points: Sequence[tuple[DomainPoints, int]]


def open_domains(pods: PodClass, nodes: NodeColumns, usage: Usage, profile: Profile) -> OpenDomains | None:
    """Ask every domain plug-in; ``None`` if none has anything to say."""
    filters = [(known, known.topology_keys(pods, usage)) for known in profile.domain_filters]
    scores = [(known, weight, known.topology_keys(pods, usage)) for known, weight in profile.domain_scores]
    keys = {key for _, asked in filters for key in asked} | {key for _, _, asked in scores for key in asked}
    if not keys:
        return None
    topology = nodes.topology(keys)
    return OpenDomains(
        topology,
        [known.open(pods, nodes, usage, topology) for known, asked in filters if asked],
        [(known.open(pods, nodes, usage, topology), weight) for known, weight, asked in scores if asked],
    )


class GroupRanking:
    """One pass over all nodes for up to ``limit`` pods of a class, followed by some vector operations per pod."""

    def __init__(
        self,
        of: ClassView,
        nodes: NodeColumns,
        usage: Usage,
        profile: Profile,
        limit: int,
        domains: OpenDomains,
    ) -> None:
        self._nodes = nodes
        self._limit = limit
        self._domains = domains
        groups = len(domains.topology)
        self._rows = _by_group(of.rows[fits(of.pods, nodes, usage, profile, of.rows, 0)], domains.topology)
        row_groups = domains.topology.group[self._rows]
        self._left = np.bincount(row_groups, minlength=groups)
        self._ends = np.cumsum(self._left)
        self._starts = self._ends - self._left
        self._feasible = self._passes(ALL)
        normalised = Normalised.over(self._rows[self._feasible[row_groups]], of.raw)
        self._maxima = _Maxima(normalised, of.raw, self._rows, self._starts, self._ends)
        self._node_keys = NodeKeys(of.pods, nodes, usage, profile, normalised)
        self._keys = self._node_keys(self._rows, 0)
        self._best = _least(self._keys, self._starts, self._left)
        self._heaps: dict[int, list[int]] = {}
        self._bonus: Ints = np.zeros(groups, dtype=np.int64)
        self._combined: Ints = np.full(groups, INFEASIBLE, dtype=np.int64)
        self._settle(True)
        self._combine(ALL)
        self._partitions = _slices(domains.topology.partition)
        # The nodes that are likely to be used; others' steps are made when they are needed.
        rows = self._likely_rows()
        self._steps = self._steps_of(rows, min(limit, limit // len(rows) + 2)) if len(rows) else {}

    def __bool__(self) -> bool:
        """Some node is feasible."""
        return bool(self._feasible.any())

    def place(self, tenants: Iterable[str], spread: Spread) -> list[int]:
        """The row of each pod in turn, given its tenant; ``spread`` counts along.

        Ends early when no node is left, or when the keys are no longer right.
        """
        placed: list[int] = []
        row_of_rank = self._nodes.row_of_rank
        for tenant in tenants:
            of_tenant = spread.of(tenant)
            group = self._choose(of_tenant, spread.total)
            if self._combined[group] == INFEASIBLE:
                break
            row = row_of_rank[int(self._best[group]) & RANK_MASK]
            placed.append(row)
            partition = self._domains.topology.partition[group]
            of_tenant[partition] += 1
            spread.total[partition] += 1
            if not self._placed(group, row):
                break
        return placed

    def _choose(self, of_tenant: Sequence[int], total: Sequence[int]) -> int:
        """The group with the best node; among equal scores by partition as in ``Ranking``."""
        if len(self._partitions) == 1:
            return int(self._combined.argmin())
        best = -1
        best_key: tuple[int, int, int, int] | None = None
        for partition, start, end in self._partitions:
            group = start + int(self._combined[start:end].argmin())
            combined = int(self._combined[group])
            key = (combined >> SCORE_SHIFT, of_tenant[partition], total[partition], combined)
            if best_key is None or key < best_key:
                best, best_key = group, key
        return best

    def _placed(self, group: int, row: int) -> bool:
        """Take note of a placement; false if the keys are no longer right."""
        full = self._advance(group, row)
        moved = full
        changed: list[Rows] = [np.asarray((group,))]
        for mask in self._domains.masks:
            groups = mask.place(group)
            if groups is not None:
                changed.append(groups)
        if full:
            self._left[group] -= 1
            self._maxima.without(row, group)
        # Without a change of the masks only the group itself can have become infeasible, by being full.
        if full or len(changed) > 1:
            at = united(changed)
            assert at is not None
            before = self._feasible[at].copy()
            self._feasible[at] = self._passes(at)
            moved = full or bool((before != self._feasible[at]).any())
        for points, _ in self._domains.points:
            points.place(group)
        changed += self._settle(moved)
        at = united(changed)
        assert at is not None
        self._combine(at)
        return not (moved and self._maxima.moved(self._feasible))

    def _advance(self, group: int, row: int) -> bool:
        """Give ``row`` its next key; true if it is full."""
        heap = self._heaps.get(group)
        if heap is None:
            heap = self._heaps[group] = self._heap(group)
        if row not in self._steps:
            self._prepare(group, heap)
        following = next(self._steps[row])
        full = following == INFEASIBLE
        if full:
            heappop(heap)
        else:
            heapreplace(heap, following)
        self._best[group] = heap[0] if heap else INFEASIBLE
        return full

    def _heap(self, group: int) -> list[int]:
        keys = self._keys[self._starts[group] : self._ends[group]]
        if len(keys) > self._limit:
            keys = np.partition(keys, self._limit - 1)[: self._limit]
        heap: list[int] = keys.tolist()
        heapify(heap)
        return heap

    def _passes(self, groups: Rows) -> Bools:
        passes: Bools = self._left[groups] > 0
        for mask in self._domains.masks:
            passes &= mask.mask[groups]
        return passes

    def _settle(self, moved: bool) -> list[Rows]:
        """Bring the points up to date; the groups whose bonus has changed."""
        changed = []
        for points, _ in self._domains.points:
            groups = points.settle(self._feasible, self._left, moved)
            if groups is not None:
                changed.append(groups)
        at = united(changed)
        if at is None:
            return []
        self._bonus[at] = 0
        for points, weight in self._domains.points:
            self._bonus[at] += points.points[at] * weight
        return [at]

    def _combine(self, groups: Rows) -> None:
        improved = self._best[groups] - (self._bonus[groups] << SCORE_SHIFT)
        self._combined[groups] = np.where(self._feasible[groups], improved, INFEASIBLE)

    def _prepare(self, group: int, heap: Sequence[int]) -> None:
        """Make steps for the best node of ``group``, and for those that are likely to be next."""
        if len(heap) >= PREPARED:
            keys = heap[:PREPARED]
        elif len(self._combined) > PREPARED:
            near = np.argpartition(self._combined, PREPARED - 1)[:PREPARED]
            keys = [heap[0], *(key for key in self._best[near].tolist() if key != INFEASIBLE)]
        else:
            keys = heap
        rows = {self._nodes.row_of_rank[key & RANK_MASK] for key in keys}
        self._steps.update(self._steps_of(np.asarray(sorted(rows - self._steps.keys()), dtype=np.int64), 2))

    def _steps_of(self, rows: Ints, ahead: int) -> dict[int, Iterator[int]]:
        """The keys of ``rows`` after 1, 2… placements, the first ``ahead`` of them made now."""
        following = self._node_keys(rows, np.arange(1, ahead + 1)[:, None]).T.tolist()
        return {
            row: chain(after, self._node_keys.after(row, ahead + 1))
            for row, after in zip(rows.tolist(), following, strict=True)
        }

    def _likely_rows(self) -> Ints:
        used = np.flatnonzero(self._feasible)
        if len(self._rows) <= 2 * self._limit or not len(used):
            return self._rows
        if len(used) > self._limit:
            best = used[np.argpartition(self._combined[used], self._limit - 1)[: self._limit]]
            return np.asarray([self._nodes.row_of_rank[key & RANK_MASK] for key in self._best[best].tolist()])
        # As many of each group as an even distribution needs, and some.
        share = self._limit // len(used) + 2
        chosen = []
        for start, end in zip(self._starts[used].tolist(), self._ends[used].tolist(), strict=True):
            keys = self._keys[start:end]
            index = np.argpartition(keys, share - 1)[:share] if len(keys) > share else np.arange(len(keys))
            chosen.append(self._rows[start + index])
        return np.concatenate(chosen)


class _Maxima:
    """Whether the normalised node scores would be normalised alike over the nodes that are feasible now."""

    def __init__(self, normalised: Normalised, raw: RawScores, rows: Ints, starts: Ints, ends: Ints) -> None:
        self._starts = starts
        self._ends = ends
        self._rows = rows
        # Values that are the same everywhere have no other maximum whatever is feasible.
        self._watched = [
            (values[rows], maximum, -_least(-values[rows], starts, ends - starts))
            for (values, _, _), maximum in zip(raw, normalised.maxima, strict=False)
            if len(rows) and values[rows].min() != values[rows].max()
        ]
        self._left = np.ones(len(rows), dtype=np.bool_) if self._watched else None

    def without(self, row: int, group: int) -> None:
        """``row`` of ``group`` is full."""
        if self._left is None:
            return
        start, end = int(self._starts[group]), int(self._ends[group])
        left = self._left[start:end]
        left[self._rows[start:end] == row] = False
        if left.any():
            for values, _, of_group in self._watched:
                of_group[group] = values[start:end][left].max()

    def moved(self, feasible: Bools) -> bool:
        """Some maximum over the ``feasible`` groups is another one than the keys were made with."""
        if not self._watched or not feasible.any():
            return False
        return any(of_group[feasible].max() != maximum for _, maximum, of_group in self._watched)


def _by_group(rows: Ints, topology: Topology) -> Ints:
    chosen = np.zeros(len(topology.group), dtype=np.bool_)
    chosen[rows] = True
    return topology.rows[chosen[topology.rows]]


def _least(values: Ints, starts: Ints, counts: Ints) -> Ints:
    """The least of each group's values; ``INFEASIBLE`` for groups without any."""
    least = np.full(len(starts), INFEASIBLE, dtype=np.int64)
    some = counts > 0
    if some.any():
        least[some] = np.minimum.reduceat(values, starts[some])
    return least


def _slices(partitions: Codes) -> list[tuple[int, int, int]]:
    """(partition, first group, end) for each partition; groups are in the order of partitions."""
    codes, starts = np.unique(partitions, return_index=True)
    ends = [*starts[1:].tolist(), len(partitions)]
    return list(zip(codes.tolist(), starts.tolist(), ends, strict=True))
