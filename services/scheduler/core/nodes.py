"""The part of a snapshot that changes only when a Node object or the reachability of its partition does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np

from services.api.pb.ursa.core.v1.node_pb2 import Taint
from services.scheduler.core.arrays import Bools, Codes, Ints
from services.scheduler.core.images import FrozenImages
from services.scheduler.core.labels import FrozenLabels
from services.scheduler.core.topology import Domains, Topology, domains

TaintSet: TypeAlias = tuple[Taint, ...]


class NodeId(NamedTuple):
    """Same-named nodes of two resource partitions are two nodes."""

    partition: str
    name: str

    def __str__(self) -> str:
        return f"{self.partition}/{self.name}"


@dataclass(frozen=True, eq=False)
class NodeColumns:
    """One row per node, one array per fact; rows where ``alive`` is false hold nothing. Never written to.

    ``allocatable`` is int64 of shape (resources, rows) in canonical units, so that one resource of every node lies
    together in memory. ``tie_rank`` orders the rows by hash(seed, scheduler, rp/name). ``resource_versions`` are those
    of the last change that matters here: a mere status report does not make new columns.
    """

    ids: Sequence[NodeId]
    uids: Sequence[str]
    resource_versions: Sequence[int]
    alive: Bools
    partition: Codes
    partitions: Sequence[str]
    tie_rank: Ints
    unschedulable: Bools
    ready: Bools
    stale: Bools
    taint_class: Codes
    taint_classes: Sequence[TaintSet]
    labels: FrozenLabels
    images: FrozenImages
    resources: Mapping[str, int]
    allocatable: Ints
    _domains: dict[str, Domains] = field(default_factory=dict)
    _topologies: dict[tuple[str, ...], Topology] = field(default_factory=dict)

    def __len__(self) -> int:
        """Rows, dead ones included."""
        return len(self.alive)

    @cached_property
    def count(self) -> int:
        """Nodes."""
        return int(np.count_nonzero(self.alive))

    @cached_property
    def row_of_rank(self) -> list[int]:
        """The inverse of ``tie_rank``."""
        inverse = np.empty(len(self.tie_rank), dtype=np.int64)
        inverse[self.tie_rank] = np.arange(len(self.tie_rank))
        return inverse.tolist()

    @cached_property
    def rows_by_name(self) -> Mapping[str, Sequence[int]]:
        """Rows of the nodes of each name: one per resource partition that has such a node."""
        rows: dict[str, list[int]] = {}
        for row in np.flatnonzero(self.alive).tolist():
            rows.setdefault(self.ids[row].name, []).append(row)
        return rows

    def named(self, name: str) -> Bools:
        """A mask of the nodes called ``name``."""
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[list(self.rows_by_name.get(name, ()))] = True
        return mask

    def partition_code(self, partition: str) -> int:
        """The code of ``partition`` in the column of that name; -1 if no node was ever seen of it."""
        try:
            return list(self.partitions).index(partition)
        except ValueError:
            return -1

    def domains(self, key: str) -> Domains:
        """The domains of topology key ``key``; found once."""
        known = self._domains.get(key)
        if known is None:
            known = self._domains[key] = domains(key, self.labels.column(key), self.partition)
        return known

    def topology(self, keys: Iterable[str]) -> Topology:
        """The groups of nodes that agree in ``keys``; found once for each set of keys."""
        ordered = tuple(sorted(set(keys)))
        known = self._topologies.get(ordered)
        if known is None:
            known = self._topologies[ordered] = Topology.of({key: self.domains(key) for key in ordered}, self.partition)
        return known
