"""The live node table: columns that follow the Node objects and the pods placed on them, frozen for each plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from services.api.pb.ursa.core.v1.node_pb2 import Node, Taint
from services.placement import nodes as facts
from services.scheduler.core.arrays import Bools, Codes, Ints, frozen, grown
from services.scheduler.core.census import Census
from services.scheduler.core.evictable import Evictable
from services.scheduler.core.images import ImageIndex, normalized
from services.scheduler.core.labels import LabelColumns
from services.scheduler.core.nodes import NodeColumns, NodeId, TaintSet
from services.scheduler.core.plugin import Cluster
from services.scheduler.core.pods import PODS, PodClass, PodInfo, clamped
from services.scheduler.core.snapshot import Snapshot
from services.scheduler.core.ties import tie_hash
from services.scheduler.core.usage import SCORED_RESOURCES, Usage

ROWS_MIN = 64
NO_NODE = NodeId("", "")


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the scheduler reads in a Node: an update that changes none of it costs nothing."""

    uid: str
    labels: dict[str, str]
    taints: tuple[tuple[str, str, str], ...]
    allocatable: dict[str, int]
    images: dict[str, int]
    unschedulable: bool
    ready: bool


class NodeTable:
    """Rows for the nodes of every resource partition, each with its provenance, and the pods that are on them.

    Not frozen and not shared: one owner writes to it, and hands out snapshots. Pods may be assigned to nodes that the
    table does not know (yet): they count as soon as it does.
    """

    def __init__(self, *, scheduler: str, seed: int = 0) -> None:
        self._scheduler = scheduler
        self._seed = seed
        self._rows: dict[NodeId, int] = {}
        self._free: list[int] = []
        self._facts: list[_Facts | None] = []
        self._ids: list[NodeId] = []
        self._versions: list[int] = []
        self._partitions: dict[str, int] = {}
        self._stale: set[str] = set()
        self._resources: dict[str, int] = {}
        self._taint_classes: dict[tuple[tuple[str, str, str], ...], int] = {}
        self._taints: list[TaintSet] = []
        self._labels = LabelColumns()
        self._images = ImageIndex()
        self._alive: Bools = np.zeros(0, dtype=np.bool_)
        self._partition: Codes = np.zeros(0, dtype=np.int32)
        self._tie: Ints = np.zeros(0, dtype=np.int64)
        self._unschedulable: Bools = np.zeros(0, dtype=np.bool_)
        self._ready: Bools = np.zeros(0, dtype=np.bool_)
        self._taint_class: Codes = np.zeros(0, dtype=np.int32)
        self._allocatable: Ints = np.zeros((0, 0), dtype=np.int64)
        self._census = Census()
        self._usage = Usage(self._resources, 0, self._census)
        self._evictable = Evictable()
        self._placed: dict[NodeId, dict[str, PodInfo]] = {}
        self._node_of: dict[str, NodeId] = {}
        # Rows whose sums are still to be changed, by class and sign: many placements become one vector operation.
        self._pending: dict[tuple[PodClass, int], list[int]] = {}
        self._frozen: NodeColumns | None = None
        # One object while no row changes hands: what is kept by row elsewhere is good as long as that is the same.
        self._frozen_ids: tuple[NodeId, ...] | None = None
        for resource in (*SCORED_RESOURCES, PODS):
            self._resource(resource)
        self._taint_class_of(())
        self._resize(ROWS_MIN)

    # Nodes

    def upsert(self, partition: str, node: Node) -> Cluster:
        """Add or replace a node; says what of it may make a waiting pod schedulable."""
        node_id = NodeId(partition, node.metadata.name)
        new = _facts_of(node)
        row = self._rows.get(node_id)
        if row is None:
            row = self._add_row(node_id)
            self._write(row, new, node.metadata.resource_version)
            self._account_row(row, node_id)
            return Cluster.NODE_ADDED
        old = self._facts[row]
        assert old is not None
        if old == new:
            # Not worth a new version of the columns: nothing but a status report.
            self._versions[row] = node.metadata.resource_version
            return Cluster.NOTHING
        self._write(row, new, node.metadata.resource_version)
        return _helps(old, new)

    def remove(self, partition: str, name: str) -> None:
        """The node is gone. The pods assigned to it stay assigned, and count again if it comes back."""
        node_id = NodeId(partition, name)
        row = self._rows.pop(node_id, None)
        if row is None:
            return
        self._settle()
        placed = self._placed.get(node_id, {})
        self._spread(node_id, placed, -1)
        for pod in placed.values():
            self._evictable.add(pod.kind, (row,), -1, self._resources)
        self._usage.clear(row, (pod.kind for pod in placed.values()))
        self._alive[row] = False
        self._allocatable[:, row] = 0
        self._labels.set(row, {})
        self._ids[row] = NO_NODE
        self._frozen_ids = None
        self._images.replace(row, self._images_of(row), {})
        self._facts[row] = None
        self._free.append(row)
        self._changed()

    def remove_partition(self, partition: str) -> None:
        """The resource partition is no longer part of the cluster."""
        for node_id in [node_id for node_id in self._rows if node_id.partition == partition]:
            self.remove(*node_id)
        self._stale.discard(partition)

    def set_stale(self, partition: str, stale: bool) -> Cluster:
        """Nodes of a stale partition stay in the table with their pods, but are no candidates."""
        if (partition in self._stale) == stale:
            return Cluster.NOTHING
        (self._stale.add if stale else self._stale.discard)(partition)
        self._changed()
        # What its nodes became meanwhile was not told.
        return Cluster.NOTHING if stale else Cluster.NODE_ADDED | Cluster.NODE_USABLE

    def is_stale(self, partition: str) -> bool:
        """As ``set_stale`` last said."""
        return partition in self._stale

    def is_candidate(self, node: NodeId) -> bool:
        """The node exists and its partition is not stale."""
        return node in self._rows and node.partition not in self._stale

    def counts(self) -> dict[str, int]:
        """Nodes per resource partition."""
        counts: dict[str, int] = {}
        for node in self._rows:
            counts[node.partition] = counts.get(node.partition, 0) + 1
        return counts

    # Pods

    def assign(self, pod: PodInfo, node: NodeId) -> None:
        """Count ``pod`` on ``node``; a pod that was counted elsewhere, or as one of another class, is counted anew."""
        before = self._node_of.get(pod.uid)
        if before == node and self._placed[node][pod.uid].kind is pod.kind:
            self._placed[node][pod.uid] = pod
            return
        if before is not None:
            self.release(pod.uid)
        self._node_of[pod.uid] = node
        self._placed.setdefault(node, {})[pod.uid] = pod
        self._account(pod, node, 1)

    def release(self, uid: str) -> NodeId | None:
        """The pod takes nothing any more; its node if it was counted."""
        node = self._node_of.pop(uid, None)
        if node is None:
            return None
        pods = self._placed[node]
        pod = pods.pop(uid)
        if not pods:
            del self._placed[node]
        self._account(pod, node, -1)
        return node

    def pod(self, uid: str) -> PodInfo | None:
        """The pod, if it is counted on some node."""
        node = self._node_of.get(uid)
        return None if node is None else self._placed[node][uid]

    def node_of(self, uid: str) -> NodeId | None:
        """Where the pod is counted."""
        return self._node_of.get(uid)

    def placed(self, node: NodeId) -> Mapping[str, PodInfo]:
        """The pods that are counted on ``node``, by UID; the live ones."""
        return self._placed.get(node, {})

    # Preemption

    def row(self, node: NodeId) -> int | None:
        """The row of ``node``, if there is such a node now."""
        return self._rows.get(node)

    def priorities(self, below: int) -> list[int]:
        """The priorities below ``below`` of the pods that are counted, lowest first."""
        self._settle()
        return self._evictable.levels(below)

    def evictable(self, below: int) -> Ints:
        """What the pods of a priority below ``below`` request, by resource and row; good until the next change."""
        self._settle()
        placed = (
            (row, pod.kind)
            for node, pods in self._placed.items()
            if (row := self._rows.get(node)) is not None
            for pod in pods.values()
        )
        return self._evictable.below(below, self._allocatable.shape, self._resources, placed)

    # Namespaces

    def set_namespace(self, tenant: str, name: str, labels: Mapping[str, str] | None) -> Cluster:
        """The labels of a namespace (``None``: it is gone), which namespace selectors look at."""
        self._settle()
        changed = self._census.set_namespace(tenant, name, labels)
        return Cluster.NAMESPACE_CHANGED if changed else Cluster.NOTHING

    # Snapshots

    def freeze(self) -> Snapshot:
        """The table as it is now; later changes do not reach it."""
        nodes = self.columns()
        return Snapshot(nodes, self._usage.freeze())

    def columns(self) -> NodeColumns:
        """The nodes alone, as ``freeze`` has them."""
        self._settle()
        if self._frozen is None:
            self._frozen = self._made()
        return self._frozen

    @property
    def usage(self) -> Usage:
        """What is placed, to be looked at or copied; the live sums, good until the next change."""
        self._settle()
        return self._usage

    def _made(self) -> NodeColumns:
        rank = np.empty(len(self._tie), dtype=np.int64)
        # Stable, so that equal hashes fall back on the order of rows; 63 bits make that a curiosity.
        rank[np.argsort(self._tie, kind="stable")] = np.arange(len(self._tie))
        stale = [code for name, code in self._partitions.items() if name in self._stale]
        if self._frozen_ids is None:
            self._frozen_ids = tuple(self._ids)
        return NodeColumns(
            ids=self._frozen_ids,
            uids=tuple("" if known is None else known.uid for known in self._facts),
            resource_versions=tuple(self._versions),
            alive=frozen(self._alive.copy()),
            partition=frozen(self._partition.copy()),
            partitions=tuple(self._partitions),
            tie_rank=frozen(rank),
            unschedulable=frozen(self._unschedulable.copy()),
            ready=frozen(self._ready.copy()),
            stale=frozen(np.isin(self._partition, stale)),
            taint_class=frozen(self._taint_class.copy()),
            taint_classes=tuple(self._taints),
            labels=self._labels.freeze(),
            images=self._images.freeze(),
            resources=dict(self._resources),
            allocatable=frozen(self._allocatable.copy()),
        )

    # Rows

    def _changed(self) -> None:
        self._frozen = None

    def _add_row(self, node: NodeId) -> int:
        if not self._free:
            self._resize(2 * len(self._alive))
        row = self._free.pop()
        self._rows[node] = row
        self._ids[row] = node
        self._frozen_ids = None
        self._alive[row] = True
        self._tie[row] = tie_hash(self._seed, self._scheduler, node)
        code = self._partitions.setdefault(node.partition, len(self._partitions))
        self._partition[row] = code
        self._usage.spread.resize(len(self._partitions))
        return row

    def _resize(self, rows: int) -> None:
        before = len(self._alive)
        self._alive = grown(self._alive, rows, False)
        self._partition = grown(self._partition, rows, 0)
        self._tie = grown(self._tie, rows, 0)
        self._unschedulable = grown(self._unschedulable, rows, False)
        self._ready = grown(self._ready, rows, False)
        self._taint_class = grown(self._taint_class, rows, 0)
        self._allocatable = grown(self._allocatable, rows, 0)
        self._labels.resize(rows)
        self._usage.resize(rows)
        self._evictable.forget()
        self._facts.extend([None] * (rows - before))
        self._ids.extend([NO_NODE] * (rows - before))
        self._frozen_ids = None
        self._versions.extend([0] * (rows - before))
        # Lowest row last: the free list is a stack.
        self._free.extend(range(rows - 1, before - 1, -1))

    def _images_of(self, row: int) -> dict[str, int]:
        known = self._facts[row]
        return {} if known is None else known.images

    def _write(self, row: int, new: _Facts, version: int) -> None:
        self._images.replace(row, self._images_of(row), new.images)
        self._facts[row] = new
        self._versions[row] = version
        self._unschedulable[row] = new.unschedulable
        self._ready[row] = new.ready
        self._taint_class[row] = self._taint_class_of(new.taints)
        self._labels.set(row, new.labels)
        self._allocatable[:, row] = 0
        for resource, amount in new.allocatable.items():
            index = self._resource(resource)
            self._allocatable[index, row] = amount
        self._changed()

    def _resource(self, name: str) -> int:
        index = self._resources.get(name)
        if index is None:
            index = self._resources[name] = len(self._resources)
            rows = self._allocatable.shape[1]
            self._allocatable = np.concatenate((self._allocatable, np.zeros((1, rows), dtype=np.int64)))
            self._usage.resize(rows)
            self._evictable.forget()
            self._changed()
        return index

    def _taint_class_of(self, taints: tuple[tuple[str, str, str], ...]) -> int:
        code = self._taint_classes.get(taints)
        if code is None and len(self._taints) > 2 * len(self._alive):
            # Most of them are on no row any more.
            self._taint_classes, self._taints = {}, []
            self._taint_class_of(())
            for row, known in enumerate(self._facts):
                self._taint_class[row] = 0 if known is None else self._taint_class_of(known.taints)
            code = self._taint_classes.get(taints)
        if code is None:
            code = self._taint_classes[taints] = len(self._taints)
            self._taints.append(_taint_messages(taints))
        return code

    # Sums

    def _account(self, pod: PodInfo, node: NodeId, sign: int) -> None:
        row = self._rows.get(node)
        if row is None:
            return
        self._pending.setdefault((pod.kind, sign), []).append(row)
        self._usage.spread.add(pod.tenant, self._partitions[node.partition], sign)

    def _account_row(self, row: int, node: NodeId) -> None:
        placed = self._placed.get(node, {})
        for pod in placed.values():
            self._pending.setdefault((pod.kind, 1), []).append(row)
        self._spread(node, placed, 1)

    def _spread(self, node: NodeId, placed: dict[str, PodInfo], sign: int) -> None:
        for pod in placed.values():
            self._usage.spread.add(pod.tenant, self._partitions[node.partition], sign)

    def _settle(self) -> None:
        """Bring the sums up to date. Additions first, so that a port is never released before it was taken."""
        for (kind, sign), rows in sorted(self._pending.items(), key=lambda item: -item[0][1]):
            for resource in kind.requests:
                self._resource(resource)
            self._usage.add(kind, rows, sign)
            self._evictable.add(kind, rows, sign, self._resources)
        self._pending.clear()


def _taint_messages(taints: tuple[tuple[str, str, str], ...]) -> TaintSet:
    return tuple(Taint(key=key, value=value, effect=effect) for key, value, effect in taints)


def _facts_of(node: Node) -> _Facts:
    return _Facts(
        uid=node.metadata.uid,
        labels=dict(node.metadata.labels),
        taints=tuple((taint.key, taint.value, taint.effect) for taint in node.spec.taints),
        allocatable=clamped(facts.allocatable(node)),
        images={normalized(name): image.size_bytes for image in node.status.images for name in image.names},
        unschedulable=node.spec.unschedulable,
        ready=facts.is_ready(node),
    )


def _helps(old: _Facts, new: _Facts) -> Cluster:
    changes = Cluster.NOTHING
    if (old.unschedulable and not new.unschedulable) or (new.ready and not old.ready):
        changes |= Cluster.NODE_USABLE
    if old.labels != new.labels:
        changes |= Cluster.LABELS_CHANGED
    if old.taints != new.taints:
        changes |= Cluster.TAINTS_CHANGED
    if any(amount > old.allocatable.get(resource, 0) for resource, amount in new.allocatable.items()):
        changes |= Cluster.ALLOCATABLE_GREW
    return changes
