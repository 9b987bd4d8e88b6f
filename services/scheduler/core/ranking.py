"""The feasible nodes of one scheduling class, best first, kept in order while the pods of the class are placed.

The heap of the nodes' keys (``keys``) is legal because a placement changes the key of its own node only (a class that
some domain plug-in has something to say about is ranked in ``grouped``), and because placing stops as soon as the
maximum of a normalised score has left the feasible nodes: then every key must be made anew. With n pods left only the n
best nodes of each partition can matter: of these at least one is untouched until the last pod is placed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from itertools import chain

import numpy as np

from services.scheduler.core.arrays import Bools, Ints
from services.scheduler.core.keys import INFEASIBLE, RANK_MASK, SCORE_SHIFT, NodeKeys, Normalised, RawScores, fits
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.pods import PodClass
from services.scheduler.core.profile import Profile
from services.scheduler.core.usage import Spread, Usage


@dataclass(frozen=True, eq=False)
class ClassView:
    """What the Node objects alone say about a class: good until a Node changes.

    ``rows`` are the nodes that every node filter lets pass; ``raw`` are the normalised scores' raw values by row.
    """

    pods: PodClass
    rows: Ints
    raw: RawScores


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
        feasible = of.rows[fits(of.pods, nodes, usage, profile, of.rows, 0)]
        self._normalised = Normalised.over(feasible, of.raw)
        self._keys = NodeKeys(of.pods, nodes, usage, profile, self._normalised)
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
            steps[key & RANK_MASK] = chain(after, self._keys.after(row, ahead + 1))
        heaps: list[list[int]] = []
        codes = self._nodes.partition[rows]
        partitions = np.unique(codes).tolist()
        for partition in partitions:
            heap = keys[codes == partition].tolist()
            heapify(heap)
            heaps.append(heap)
        return steps, heaps, partitions


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
