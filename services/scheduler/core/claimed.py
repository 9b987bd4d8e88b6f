"""What capacity claims take of each node beyond the pods that this scheduler sees on it.

A row's use is ``max(own pods, own claims) + what the claims of other tenant partitions take``. Own pods are those
placed or assumed here; whichever of the two is ahead counts: a pod is assumed before its claim is in the ledger, and a
claim may end some time after its pod.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from services.scheduler.core.arrays import Ints, frozen
from services.scheduler.core.nodes import NodeColumns, NodeId
from services.scheduler.core.ports import HostPort
from services.scheduler.core.snapshot import Snapshot
from services.scheduler.core.usage import SCORED_RESOURCES

Amounts = Mapping[str, int]


class ClaimedRoom:
    """The claims of every node, by the node's name and partition; nodes need not be known (yet)."""

    def __init__(self) -> None:
        # (own, others)
        self._claims: dict[NodeId, tuple[Amounts, Amounts]] = {}
        self._with_ports: dict[NodeId, frozenset[HostPort]] = {}
        self._changed: set[NodeId] = set()
        # The columns, and what they are the columns of.
        self._ids: Sequence[NodeId] = ()
        self._row_of: dict[NodeId, int] = {}
        self._resources: dict[str, int] = {}
        self._own: Ints = np.zeros((0, 0), dtype=np.int64)
        self._others: Ints = np.zeros((0, 0), dtype=np.int64)

    def set(self, node: NodeId, own: Amounts, others: Amounts, ports: frozenset[HostPort] = frozenset()) -> None:
        """``own``: held by claims of this tenant partition; ``others``: held by or promised to those of all others.
        Canonical int64 units, "pods" among them. ``ports``: of all held claims."""
        if ports:
            self._with_ports[node] = ports
        else:
            self._with_ports.pop(node, None)
        if own or others:
            self._claims[node] = (own, others)
        elif self._claims.pop(node, None) is None:
            return
        self._changed.add(node)

    def remove_partition(self, partition: str) -> None:
        """The resource partition is no longer part of the cluster."""
        for node in [node for node in self._claims if node.partition == partition]:
            self.set(node, {}, {})

    def claimed(self, node: NodeId, resource: str) -> int:
        """What all tenant partitions' claims (and the others' promises) take of ``resource`` there."""
        own, others = self._claims.get(node, ({}, {}))
        return own.get(resource, 0) + others.get(resource, 0)

    def apply(self, snapshot: Snapshot) -> Snapshot:
        """``snapshot``, fresh from its table, with the claims counted in its sums."""
        if not self._claims and not self._changed:
            return snapshot
        self._settle(snapshot.nodes)
        usage = snapshot.usage
        own_pods = usage.requested
        used = np.maximum(own_pods, self._own) + self._others
        for index, resource in enumerate(SCORED_RESOURCES):
            row = snapshot.nodes.resources[resource]
            usage.scoring = usage.scoring if index else usage.scoring.copy()
            usage.scoring[index] += used[row] - own_pods[row]
        usage.requested = frozen(used)
        frozen(usage.scoring)
        for node, ports in self._with_ports.items():
            if (known := self._row_of.get(node)) is not None:
                # A port of a pod that is seen here is counted twice: taken is taken.
                usage.ports.take(known, ports)
        return snapshot

    def _settle(self, nodes: NodeColumns) -> None:
        if nodes.ids is not self._ids or len(nodes.resources) != len(self._resources):
            self._ids = nodes.ids
            self._row_of = {node: row for row, node in enumerate(nodes.ids) if nodes.alive[row]}
            self._resources = dict(nodes.resources)
            self._own = np.zeros(nodes.allocatable.shape, dtype=np.int64)
            self._others = np.zeros(nodes.allocatable.shape, dtype=np.int64)
            self._changed = set(self._claims)
        for node in self._changed:
            row = self._row_of.get(node)
            if row is None:
                continue
            own, others = self._claims.get(node, ({}, {}))
            self._write(self._own, row, own)
            self._write(self._others, row, others)
        self._changed.clear()

    def _write(self, columns: Ints, row: int, amounts: Amounts) -> None:
        columns[:, row] = 0
        for resource, amount in amounts.items():
            index = self._resources.get(resource)
            if index is not None:
                columns[index, row] = amount
