"""What the scheduler knows, and how it changes: events and outcomes in, plans out. Synchronous, no I/O.

A pod's way: queued → planned and *assumed* (counted on its node at once) → bound → confirmed by the watch. An
assumption is given up only on a definite answer (the bind was refused, the pod is gone or elsewhere), never because
time has passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.client.informer import Change
from services.scheduler.core import (
    DEFAULT_PROFILE,
    NodeTable,
    Placement,
    PodInfo,
    Profile,
    Unschedulable,
    plan,
)
from services.scheduler.core.plan import ViewCache
from services.scheduler.core.plugin import Cluster
from services.scheduler.queue import Entry, SchedulingQueue
from services.scheduler.seen import SeenPod


@dataclass(frozen=True, slots=True)
class Refusal:
    """``pod`` has no node: ``reason`` and ``message`` go into its condition PodScheduled."""

    pod: SeenPod
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a batch: ``placements`` are to be bound, ``refusals`` to be told to their pods."""

    placements: Sequence[Placement]
    refusals: Sequence[Refusal]


class SchedulerState:
    """The node table, the queue and the assumptions of one scheduler."""

    def __init__(self, table: NodeTable, queue: SchedulingQueue, profile: Profile = DEFAULT_PROFILE) -> None:
        self.table = table
        self.queue = queue
        self._profile = profile
        self._views = ViewCache()
        # Unbound pods of this scheduler, as the watch last showed them.
        self._waiting: dict[str, SeenPod] = {}
        self._assumed: dict[str, Placement] = {}

    # What the watches say

    def pods_changed(self, changes: Sequence[Change[SeenPod]], now: float) -> list[SeenPod]:
        """Take note of pods; returns those that are newly gated and do not say so yet."""
        happened = Cluster.NOTHING
        gated: list[SeenPod] = []
        for change in changes:
            if change.new is None:
                assert change.old is not None
                happened |= self._gone(change.old.uid)
            elif change.new.node is not None or change.new.over:
                happened |= self._placed(change.new)
            elif change.new.ours:
                if self._unbound(change.new, now) and change.new.gated:
                    gated.append(change.new)
            else:
                # Another scheduler's, or about to be deleted.
                happened |= self._gone(change.new.uid)
        self.queue.happened(happened, now)
        return gated

    def nodes_changed(self, changes: Sequence[Change[Node]], now: float) -> None:
        """Take note of nodes, of any resource partition."""
        happened = Cluster.NOTHING
        for change in changes:
            if change.new is None:
                assert change.old is not None
                self.table.remove(change.partition, change.old.metadata.name)
            else:
                happened |= self.table.upsert(change.partition, change.new)
        self.queue.happened(happened, now)

    def partition_stale(self, partition: str, stale: bool, now: float) -> None:
        """A resource partition is out of reach (or back)."""
        self.queue.happened(self.table.set_stale(partition, stale), now)

    def partition_removed(self, partition: str) -> None:
        self.table.remove_partition(partition)

    def known(self, uid: str) -> PodInfo | None:
        """The facts of a pod that waits, is assumed or is placed."""
        waiting = self._waiting.get(uid)
        return waiting.info if waiting is not None else self.table.pod(uid)

    # Deciding

    def decide(self, entries: Sequence[Entry], now: float) -> Decision:
        """Plan for ``entries``, which the queue has just handed out, and assume the plan."""
        decided = plan(self.table.freeze(), (entry.pod for entry in entries), self._profile, self._views)
        for placement in decided.placements:
            self.table.assign(placement.pod, placement.node)
            self._assumed[placement.pod.uid] = placement
        for refused in decided.unschedulable:
            self.queue.put_aside(refused.pod.uid, refused.refused_by, now)
        return Decision(decided.placements, self._refusals(decided.unschedulable))

    def _refusals(self, unschedulable: Sequence[Unschedulable]) -> list[Refusal]:
        return [
            Refusal(seen, "Unschedulable", refused.message)
            for refused in unschedulable
            if (seen := self._waiting.get(refused.pod.uid)) is not None
        ]

    # What became of binds

    @property
    def assumed(self) -> int:
        """Pods placed here that the watch has not shown as bound yet."""
        return len(self._assumed)

    def is_assumed(self, placement: Placement) -> bool:
        """The outcome of ``placement`` is still of interest: neither the watch nor another answer has settled it."""
        return self._assumed.get(placement.pod.uid) is placement

    def bound(self, placement: Placement) -> None:
        """The bind is committed. The pod stays assumed until the watch shows it, so nothing is counted twice."""
        self.queue.discard(placement.pod.uid)

    def not_bound(self, placement: Placement, now: float, *, gone: bool) -> None:
        """Definitely not bound there by us: forget the assumption; try again later unless the pod is gone."""
        uid = placement.pod.uid
        if not self.is_assumed(placement):
            return
        del self._assumed[uid]
        self.table.release(uid)
        if gone:
            self.queue.discard(uid)
        else:
            self.queue.back_off(uid, now)
        self.queue.happened(Cluster.POD_GONE, now)

    # One pod

    def _unbound(self, seen: SeenPod, now: float) -> bool:
        """True if the pod was not known, or not as gated."""
        before = self._waiting.get(seen.uid)
        self._waiting[seen.uid] = seen
        if seen.uid in self._assumed:
            return False
        self.queue.put(seen.info, now, gated=seen.gated)
        return before is None or not before.gated

    def _placed(self, seen: SeenPod) -> Cluster:
        self._waiting.pop(seen.uid, None)
        self._assumed.pop(seen.uid, None)
        self.queue.discard(seen.uid)
        if seen.over or seen.node is None:
            return self._released(seen.uid)
        before = self.table.node_of(seen.uid)
        self.table.assign(seen.info, seen.node)
        return Cluster.NOTHING if before in (None, seen.node) else Cluster.POD_GONE

    def _gone(self, uid: str) -> Cluster:
        self._waiting.pop(uid, None)
        self._assumed.pop(uid, None)
        self.queue.discard(uid)
        return self._released(uid)

    def _released(self, uid: str) -> Cluster:
        return Cluster.POD_GONE if self.table.release(uid) is not None else Cluster.NOTHING


def new_queue(
    profile: Profile, *, backoff_initial_s: float, backoff_max_s: float, unschedulable_retry_s: float
) -> SchedulingQueue:
    """A queue whose pods are woken by what the profile's filters say can help."""
    filters = (*profile.node_filters, *profile.usage_filters)
    return SchedulingQueue(
        {node_filter.name: node_filter.helped_by for node_filter in filters},
        backoff_initial_s=backoff_initial_s,
        backoff_max_s=backoff_max_s,
        unschedulable_retry_s=unschedulable_retry_s,
    )
