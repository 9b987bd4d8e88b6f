"""What each node would get back if every pod below some priority left it: the first question of preemption."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from services.scheduler.core.arrays import Ints
from services.scheduler.core.pods import PodClass

# Each takes 8 bytes per resource and row: 8 of 4 resources and 50,000 nodes are 13 MB.
KEPT_MAX = 8


class Evictable:
    """Sums of the requests of pods below a priority, kept up to date once they were asked for.

    One owner feeds it with every pod that is counted on a row. The arrays are the live ones: not to be written to, and
    only good until the next change.
    """

    def __init__(self) -> None:
        self._pods: Counter[int] = Counter()
        self._kept: OrderedDict[int, Ints] = OrderedDict()

    def add(self, pods: PodClass, rows: Sequence[int], times: int, resources: Mapping[str, int]) -> None:
        """Count ``times`` pods of class ``pods`` on each of ``rows`` (which may repeat)."""
        priority = pods.pod.spec.priority
        self._pods[priority] += times * len(rows)
        if not self._pods[priority]:
            del self._pods[priority]
        for limit, sums in self._kept.items():
            if priority < limit:
                add_requests(sums, pods, rows, times, resources)

    def forget(self) -> None:
        """Rows or resources have changed: what is asked for next is summed up anew."""
        self._kept.clear()

    def levels(self, below: int) -> list[int]:
        """The priorities below ``below`` that some counted pod has, lowest first."""
        return sorted(priority for priority in self._pods if priority < below)

    def below(
        self, limit: int, shape: tuple[int, int], resources: Mapping[str, int], placed: Iterable[tuple[int, PodClass]]
    ) -> Ints:
        """Shape (resources, rows) = ``shape``. ``placed``: every counted pod as (row, class), read if need be."""
        known = self._kept.get(limit)
        if known is None:
            known = self._kept[limit] = np.zeros(shape, dtype=np.int64)
            if any(priority < limit for priority in self._pods):
                self._sum(known, limit, resources, placed)
            if len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        self._kept.move_to_end(limit)
        return known

    @staticmethod
    def _sum(sums: Ints, limit: int, resources: Mapping[str, int], placed: Iterable[tuple[int, PodClass]]) -> None:
        rows_of: dict[PodClass, list[int]] = {}
        for row, pods in placed:
            rows_of.setdefault(pods, []).append(row)
        for pods, rows in rows_of.items():
            if pods.pod.spec.priority < limit:
                add_requests(sums, pods, rows, 1, resources)


def add_requests(sums: Ints, pods: PodClass, rows: Sequence[int], times: int, resources: Mapping[str, int]) -> None:
    """Add ``times`` the requests of one of ``pods`` to each of ``rows`` of ``sums``, shape (resources, rows)."""
    index = np.asarray(rows, dtype=np.int64)
    for resource, amount in pods.requests.items():
        np.add.at(sums[resources[resource]], index, amount * times)
