"""Topology domains: nodes with equal values of a label, and groups of nodes that agree in several of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from services.scheduler.core.arrays import Bools, Codes, Ints, frozen
from services.scheduler.core.labels import ABSENT, LabelColumn

HOSTNAME = "kubernetes.io/hostname"


@dataclass(frozen=True, eq=False)
class Domains:
    """``codes[row]`` is the number of the row's domain, below ``count``, or ``ABSENT`` without the label."""

    codes: Codes
    count: int

    def sums(self, values: Ints | Codes, rows: Bools | None = None) -> Ints:
        """``values`` (one per row) added up by domain; shape (count + 1,), the last entry (``ABSENT``) being 0.

        With ``rows``, only where it is true.
        """
        at = np.flatnonzero(values if rows is None else values * rows)
        sums = np.zeros(self.count + 1, dtype=np.int64)
        # Equal types take NumPy's fast way.
        np.add.at(sums, self.codes[at], values[at].astype(np.int64))
        sums[ABSENT] = 0
        return sums


def domains(key: str, column: LabelColumn, partition: Codes) -> Domains:
    """The domains of label ``key``.

    A host is a machine of one resource partition: two nodes of different partitions that happen to have the same host
    name are two domains. Every other label means the same thing in every partition.
    """
    if key != HOSTNAME:
        return Domains(column.codes, len(column.code_of))
    partitions = int(partition.max(initial=0)) + 1
    codes = np.where(column.codes == ABSENT, ABSENT, column.codes * partitions + partition)
    return Domains(frozen(codes.astype(np.int32)), len(column.code_of) * partitions)


@dataclass(frozen=True, eq=False)
class Topology:
    """Groups of rows that agree in the domains of every key and in their resource partition.

    Groups are numbered by partition first, so those of one partition lie together. ``group`` has shape (rows,);
    ``partition`` and each of ``codes`` (domain per key, ``ABSENT`` without the label) have shape (groups,).
    """

    domains: Mapping[str, Domains]
    group: Ints
    codes: Mapping[str, Codes]
    partition: Codes

    @classmethod
    def of(cls, by_key: Mapping[str, Domains], partition: Codes) -> Topology:
        """Group the rows by ``partition`` and by the domains of every key."""
        _, first, group = np.unique(partition, return_index=True, return_inverse=True)
        for of_key in by_key.values():
            together = group.astype(np.int64) * (of_key.count + 1) + (of_key.codes + 1)
            _, first, group = np.unique(together, return_index=True, return_inverse=True)
        return cls(
            domains=by_key,
            group=frozen(group.astype(np.int64)),
            codes={key: frozen(of_key.codes[first]) for key, of_key in by_key.items()},
            partition=frozen(partition[first]),
        )

    def __len__(self) -> int:
        """Groups, those without nodes included."""
        return len(self.partition)

    @cached_property
    def rows(self) -> Ints:
        """All rows, group by group."""
        return np.argsort(self.group, kind="stable")

    @cached_property
    def single(self) -> Mapping[str, bool]:
        """Keys whose domains have at most one group each: a change of such a domain's count concerns one group."""
        single = {}
        for key, codes in self.codes.items():
            present = codes[codes != ABSENT]
            single[key] = len(np.unique(present)) == len(present)
        return single
