"""The feasible nodes of one scheduling class, best first, kept in order while the pods of the class are placed.

Each node has one key, and the smallest key is the best node::

    bits 46…62   SCORE_LIMIT - score
    bits 26…45   pods on the node, so that coarse scores do not pile pods on one node
    bits  0…25   the node's rank in the order of hash(seed, scheduler, rp/name)

The heap is legal because a placement changes the key of its own node only (plug-ins whose answers depend on other nodes
have no shape here), and because placing stops as soon as the maximum of a normalised score has left the feasible nodes:
then every key must be made anew. With n pods left only the n best nodes of each partition can matter: of these at least
one is untouched until the last pod is placed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from itertools import chain

import numpy as np

from services.scheduler.core.arrays import Bools, Ints, Rows
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import SCORE_MAX, Normalization
from services.scheduler.core.pods import PodClass
from services.scheduler.core.profile import Profile
from services.scheduler.core.usage import Spread, Usage

RANK_BITS = 26
PODS_BITS = 20
SCORE_SHIFT = RANK_BITS + PODS_BITS
RANK_MASK = (1 << RANK_BITS) - 1
PODS_LIMIT = (1 << PODS_BITS) - 1
SCORE_LIMIT = (1 << (63 - SCORE_SHIFT)) - 1
INFEASIBLE = np.iinfo(np.int64).max

# How many further placements on one node are scored at a time, once the first lot is used up.
MORE_STEPS = 16


@dataclass(frozen=True, eq=False)
class ClassView:
    """What the Node objects alone say about a class: good until a Node changes.

    ``rows`` are the nodes that every node filter lets pass; ``raw`` are the normalised scores' raw values by row.
    """

    pods: PodClass
    rows: Ints
    raw: tuple[tuple[Ints, Normalization, int], ...]


def view(pods: PodClass, nodes: NodeColumns, profile: Profile) -> ClassView:
    """Ask every plug-in that depends on Node objects only."""
    mask: Bools = nodes.alive
    for node_filter in profile.node_filters:
        passed = node_filter.mask(pods, nodes)
        if passed is not None:
            mask = mask & passed
    raw = []
    for score, weight in profile.node_scores:
        values = score.raw(pods, nodes)
        if values is not None:
            raw.append((values, score.normalization, weight))
    return ClassView(pods, np.flatnonzero(mask), tuple(raw))


class Ranking:
    """One pass over all nodes for up to ``limit`` pods of a class, followed by a few microseconds per pod."""

    def __init__(self, of: ClassView, nodes: NodeColumns, usage: Usage, profile: Profile, limit: int) -> None:
        self._nodes = nodes
        self._usage = usage
        self._profile = profile
        self._pods = of.pods
        feasible = of.rows[self._fits(of.rows, 0)]
        self._normalised = _Normalised.over(feasible, of.raw)
        keys = self._keys(feasible, 0)
        rows, keys = _best_of_each_partition(feasible, keys, nodes, limit)
        self._steps, self._heaps, self._partitions = self._ordered(rows, keys, limit)

    def __bool__(self) -> bool:
        """Some node is feasible."""
        return bool(self._heaps)

    def place(self, tenants: Iterable[str], spread: Spread) -> list[int]:
        """The row of each pod in turn, given its tenant; ``spread`` counts along.

        Ends early when no node is left, or when the keys are no longer right.
        """
        placed: list[int] = []
        row_of_rank = self._nodes.row_of_rank
        heaps, partitions, steps = self._heaps, self._partitions, self._steps
        for tenant in tenants:
            if not heaps:
                break
            of_tenant = spread.of(tenant)
            best = 0 if len(heaps) == 1 else self._choose(of_tenant, spread.total)
            heap = heaps[best]
            partition = partitions[best]
            rank = heap[0] & RANK_MASK
            row = row_of_rank[rank]
            placed.append(row)
            of_tenant[partition] += 1
            spread.total[partition] += 1
            following = next(steps[rank], INFEASIBLE)
            if following != INFEASIBLE:
                heapreplace(heap, following)
                continue
            heappop(heap)
            if not heap:
                del heaps[best], partitions[best]
            if not self._normalised.without(row):
                break
        return placed

    def _choose(self, of_tenant: Sequence[int], total: Sequence[int]) -> int:
        """The partition with the best node; among equal scores the one with fewest pods of the tenant, then of all."""
        best = 0
        best_key: tuple[int, int, int, int] | None = None
        for index, heap in enumerate(self._heaps):
            partition = self._partitions[index]
            key = (heap[0] >> SCORE_SHIFT, of_tenant[partition], total[partition], heap[0])
            if best_key is None or key < best_key:
                best, best_key = index, key
        return best

    def _ordered(
        self, rows: Ints, keys: Ints, limit: int
    ) -> tuple[dict[int, Iterator[int]], list[list[int]], list[int]]:
        """For each rank the keys after 1, 2… placements; a heap per partition; the heaps' partition codes."""
        steps: dict[int, Iterator[int]] = {}
        if not len(rows):
            return steps, [], []
        # As many steps as an even distribution needs, and some; a node that gets more asks for more.
        ahead = min(limit, limit // len(rows) + 2)
        following = self._keys(rows, np.arange(1, ahead + 1)[:, None]).T.tolist()
        for key, row, after in zip(keys.tolist(), rows.tolist(), following, strict=True):
            steps[key & RANK_MASK] = chain(after, self._more(row, ahead + 1))
        heaps: list[list[int]] = []
        codes = self._nodes.partition[rows]
        partitions = np.unique(codes).tolist()
        for partition in partitions:
            heap = keys[codes == partition].tolist()
            heapify(heap)
            heaps.append(heap)
        return steps, heaps, partitions

    def _more(self, row: int, start: int) -> Iterator[int]:
        only = np.asarray([row])
        while True:
            yield from self._keys(only, np.arange(start, start + MORE_STEPS)[:, None])[:, 0].tolist()
            start += MORE_STEPS

    def _fits(self, rows: Rows, extra: Ints | int) -> Bools | slice:
        fits: Bools | None = None
        for usage_filter in self._profile.usage_filters:
            passed = usage_filter.passes(self._pods, self._nodes, self._usage, rows, extra)
            if passed is not None:
                fits = passed if fits is None else fits & passed
        return slice(None) if fits is None else fits

    def _keys(self, rows: Ints, extra: Ints | int) -> Ints:
        """Shape broadcast(extra, rows); ``INFEASIBLE`` where one more pod does not fit."""
        score = self._normalised.score(rows)
        for usage_score, weight in self._profile.usage_scores:
            values = usage_score.score(self._pods, self._nodes, self._usage, rows, extra)
            if values is not None:
                score = score + values * weight
        pods = np.minimum(self._usage.pods[rows] + extra, PODS_LIMIT)
        keys: Ints = ((SCORE_LIMIT - score) << SCORE_SHIFT) | (pods << RANK_BITS) | self._nodes.tie_rank[rows]
        fits = self._fits(rows, extra)
        return keys if isinstance(fits, slice) else np.where(fits, keys, INFEASIBLE)


@dataclass(eq=False)
class _Normalised:
    """The weighted sum of the normalised scores over the nodes that were feasible at first."""

    raw: tuple[tuple[Ints, Normalization, int], ...]
    maxima: list[int]
    # How many feasible nodes have the maximum: at 0 every normalised value may change.
    holders: list[int]

    @classmethod
    def over(cls, feasible: Ints, raw: tuple[tuple[Ints, Normalization, int], ...]) -> _Normalised:
        if not len(feasible):
            return cls((), [], [])
        maxima = [_maximum(values[feasible], normalization) for values, normalization, _ in raw]
        holders = [
            int(np.count_nonzero(values[feasible] == maximum))
            for (values, _, _), maximum in zip(raw, maxima, strict=True)
        ]
        return cls(raw, maxima, holders)

    def score(self, rows: Ints) -> Ints:
        total: Ints = np.zeros(len(rows), dtype=np.int64)
        for (values, normalization, weight), maximum in zip(self.raw, self.maxima, strict=True):
            if normalization is Normalization.NONE:
                total += weight * values[rows]
                continue
            share = values[rows] * SCORE_MAX // maximum if maximum else np.zeros(len(rows), dtype=np.int64)
            total += weight * (share if normalization is Normalization.BY_MAXIMUM else SCORE_MAX - share)
        return total

    def without(self, row: int) -> bool:
        """``row`` is feasible no more; false: the values must be normalised again."""
        for index, (values, _, _) in enumerate(self.raw):
            if values[row] == self.maxima[index]:  # never, where nothing is normalised
                self.holders[index] -= 1
                if not self.holders[index]:
                    return False
        return True


def _maximum(values: Ints, normalization: Normalization) -> int:
    """What the values are normalised by; -1, which no value is, where they are not normalised."""
    return -1 if normalization is Normalization.NONE else int(values.max())


def _best_of_each_partition(rows: Ints, keys: Ints, nodes: NodeColumns, limit: int) -> tuple[Ints, Ints]:
    if len(rows) <= limit:
        return rows, keys
    codes = nodes.partition[rows]
    chosen = []
    for partition in np.unique(codes).tolist():
        index = np.flatnonzero(codes == partition)
        if len(index) > limit:
            index = index[np.argpartition(keys[index], limit - 1)[:limit]]
        chosen.append(index)
    picked = np.concatenate(chosen)
    return rows[picked], keys[picked]
