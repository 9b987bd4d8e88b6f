"""What the scheduler knows, and how it changes: events and outcomes in, plans out. Synchronous, no I/O.

A pod's way: queued → planned and *assumed* (an attempt, counted on its node at once) → claimed → bound → confirmed by
the watch. An attempt is given up only on a definite answer (the claim was refused; the pod is gone, elsewhere, or its
bind epoch was raised), never because time has passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.client.informer import Change
from services.scheduler.attempt import Attempt
from services.scheduler.contention import Contention
from services.scheduler.core import (
    DEFAULT_PROFILE,
    NodeId,
    NodeTable,
    Placement,
    PodInfo,
    Profile,
    Unschedulable,
    plan,
)
from services.scheduler.core.claimed import ClaimedRoom
from services.scheduler.core.feasibility import helps
from services.scheduler.core.plan import ViewCache
from services.scheduler.core.plugin import Cluster, PodChange
from services.scheduler.ledgers import SeenLedger
from services.scheduler.queue import Entry, SchedulingQueue
from services.scheduler.seen import SeenPod
from services.scheduler.tenancy import SeenNamespace

# A pod that lost this many races is planned again after a pause like any other.
RACES_MAX = 8
# When a promise that no ledger shows is asked about.
PROMISE_REVIEW_S = 1.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """``pod`` has no node: ``reason`` and ``message`` go into its condition PodScheduled."""

    pod: SeenPod
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a batch: ``attempts`` are to be carried out, ``refusals`` to be told to their pods."""

    attempts: Sequence[Attempt]
    refusals: Sequence[Refusal]


class SchedulerState:
    """The node table, the queue and the attempts of one scheduler."""

    def __init__(self, table: NodeTable, queue: SchedulingQueue, profile: Profile = DEFAULT_PROFILE) -> None:
        self.table = table
        self.queue = queue
        self._profile = profile
        self._views = ViewCache()
        # Unbound pods of this scheduler, as the watch last showed them.
        self._waiting: dict[str, SeenPod] = {}
        # Bind epochs that the tenant partition has told of and the watch has not shown yet.
        self._epochs: dict[str, int] = {}
        self._attempts: dict[str, Attempt] = {}
        self.contention = Contention()
        self._room = ClaimedRoom()
        # Pods that came and went, by class, until the queue is told.
        self._news: dict[tuple[int, Cluster], PodChange] = {}
        # Attempts that hold a promise, by node; and those that lost their pod meanwhile.
        self._promised: dict[NodeId, dict[str, Attempt]] = {}
        self._dropped: list[Attempt] = []
        # Promises to pods of this tenant partition, as the ledgers show them: pod UID → UIDs that it waits for.
        self._promises: dict[NodeId, Mapping[str, Sequence[str]]] = {}

    # What the watches say

    def pods_changed(self, changes: Sequence[Change[SeenPod]], now: float) -> list[SeenPod]:
        """Take note of pods; returns those that are newly gated and do not say so yet."""
        gated: list[SeenPod] = []
        for change in changes:
            if change.new is None:
                assert change.old is not None
                self._gone(change.old.uid)
            elif change.new.node is not None or change.new.over:
                self._placed(change.new)
            elif change.new.ours:
                if self._unbound(change.new, now) and change.new.gated:
                    gated.append(change.new)
            else:
                # Another scheduler's, or about to be deleted.
                self._gone(change.new.uid)
        self._tell_queue(now)
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

    def namespaces_changed(self, changes: Sequence[Change[SeenNamespace]], now: float) -> None:
        """Take note of namespaces: what namespace selectors select."""
        happened = Cluster.NOTHING
        for change in changes:
            seen = change.new or change.old
            assert seen is not None
            labels = change.new.labels if change.new is not None else None
            happened |= self.table.set_namespace(seen.tenant, seen.name, labels)
        self.queue.happened(happened, now)

    def ledgers_changed(self, changes: Sequence[Change[SeenLedger]], now: float) -> list[Attempt]:
        """Take note of capacity ledgers; returns the attempts whose promise may have come true."""
        happened = Cluster.NOTHING
        promised: list[Attempt] = []
        for change in changes:
            new, old = change.new, change.old
            node = NodeId(change.partition, change.key)
            if new is None:
                self._room.set(node, {}, {})
            else:
                self._room.set(node, new.own, new.others, new.ports)
            if old is not None and (new is None or new.frees(old)):
                happened |= Cluster.POD_GONE
            self._note_promises(node, new)
            for uid in self.contention.changed(node):
                self.queue.retry(uid)
            if node in self._promised:
                promised += self._may_hold(node, new)
        self.queue.happened(happened, now)
        return promised

    def partition_stale(self, partition: str, stale: bool, now: float) -> None:
        """A resource partition is out of reach (or back)."""
        self.queue.happened(self.table.set_stale(partition, stale), now)

    def partition_removed(self, partition: str) -> None:
        self.table.remove_partition(partition)
        self._room.remove_partition(partition)
        self.contention.partition_removed(partition)

    def known(self, uid: str) -> PodInfo | None:
        """The facts of a pod that waits, is being placed or is placed."""
        waiting = self._waiting.get(uid)
        return waiting.info if waiting is not None else self.table.pod(uid)

    # Deciding

    def decide(self, entries: Sequence[Entry], now: float) -> Decision:
        """Plan for ``entries``, which the queue has just handed out, and assume the plan."""
        decided = plan(
            self._room.apply(self.table.freeze()), (entry.pod for entry in entries), self._profile, self._views
        )
        by_uid = {entry.pod.uid: entry for entry in entries}
        attempts = [self._assume(placement, by_uid[placement.pod.uid]) for placement in decided.placements]
        for refused in decided.unschedulable:
            self.queue.put_aside(refused.pod.uid, refused.refused_by, now)
        self.queue.planned(now)
        self._tell_queue(now)
        return Decision(attempts, self._refusals(decided.unschedulable))

    def _assume(self, placement: Placement, entry: Entry) -> Attempt:
        pod, node = placement.pod, placement.node
        self.table.assign(pod, node)
        self._note(pod, Cluster.POD_ADDED)
        attempt = Attempt(pod, node, placement.node_uid, self._epoch(pod.uid), entry, self.contention.news(node))
        self._attempts[pod.uid] = attempt
        return attempt

    def _epoch(self, uid: str) -> int:
        waiting = self._waiting.get(uid)
        seen = waiting.epoch if waiting is not None else 0
        return max(seen, self._epochs.get(uid, 0)) if self._epochs else seen

    def _refusals(self, unschedulable: Sequence[Unschedulable]) -> list[Refusal]:
        return [
            Refusal(seen, "Unschedulable", refused.message)
            for refused in unschedulable
            if (seen := self._waiting.get(refused.pod.uid)) is not None
        ]

    # What became of attempts

    @property
    def assumed(self) -> int:
        """Pods placed here that the watch has not shown as bound yet."""
        return len(self._attempts)

    def is_current(self, attempt: Attempt) -> bool:
        """The outcome of ``attempt`` is still of interest: neither the watch nor another answer has settled it."""
        return self._attempts.get(attempt.pod.uid) is attempt

    def is_usable(self, attempt: Attempt) -> bool:
        """Its node exists, and its partition is not stale."""
        return self.table.is_candidate(attempt.node)

    def adopt(self, attempt: Attempt, node_name: str) -> bool:
        """The pod's claim is on another node of the partition: count it there. False: that node is no candidate."""
        node = NodeId(attempt.node.partition, node_name)
        if not self.is_current(attempt) or not self.table.is_candidate(node):
            return False
        self.table.assign(attempt.pod, node)
        attempt.node, attempt.node_uid = node, ""
        return True

    def bound(self, attempt: Attempt) -> None:
        """The bind is committed. The pod stays assumed until the watch shows it, so nothing is counted twice."""
        if self.is_current(attempt):
            self.queue.discard(attempt.pod.uid)

    def promised(self, attempt: Attempt, now: float) -> None:
        """It waits until the pods that it replaces have ended."""
        if self.is_current(attempt):
            attempt.parked = True
            attempt.asked_at = now
            self._promised.setdefault(attempt.node, {})[attempt.pod.uid] = attempt

    def _note_promises(self, node: NodeId, ledger: SeenLedger | None) -> None:
        if ledger is not None and ledger.promises:
            self._promises[node] = ledger.promises
        elif self._promises:
            self._promises.pop(node, None)

    def _may_hold(self, node: NodeId, ledger: SeenLedger | None) -> list[Attempt]:
        """Attempts on ``node`` whose promise is no promise any more: it is held, or gone with its node."""
        waiting = self._promised[node]
        found = [a for uid, a in waiting.items() if ledger is None or uid not in ledger.promises]
        for attempt in found:
            self._unpark(attempt)
        return found

    def promises_in_doubt(self, now: float) -> list[Attempt]:
        """Attempts whose promise the ledger does not show: it came true before its answer was here, or was not seen
        yet. They are to be claimed again; after a pause, as the ledger may only be late."""
        found = [
            attempt
            for node, waiting in self._promised.items()
            for uid, attempt in waiting.items()
            if uid not in self._promises.get(node, ()) and now - attempt.asked_at >= PROMISE_REVIEW_S
        ]
        for attempt in found:
            self._unpark(attempt)
        return found

    def _unpark(self, attempt: Attempt) -> None:
        if not attempt.parked:
            return
        attempt.parked = False
        waiting = self._promised[attempt.node]
        del waiting[attempt.pod.uid]
        if not waiting:
            del self._promised[attempt.node]

    def take_dropped(self) -> list[Attempt]:
        """Attempts that held a promise when the watch showed their pod gone, bound or changed hands. Each once."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def lost(self, attempt: Attempt, now: float) -> None:
        """The node is not what the plan took it for: forget the attempt, and plan again as soon as there is news."""
        uid = attempt.pod.uid
        if not self._forget(attempt, now):
            return
        self.queue.back_off(uid, now)
        if self.contention.news(attempt.node) > attempt.news and attempt.entry.attempts <= RACES_MAX:
            self.queue.retry(uid)
        else:
            self.contention.wait(attempt.node, uid)

    def refused(self, attempt: Attempt, now: float) -> None:
        """Not placed, for a reason that is not the cluster's state: forget the attempt, and try again after a pause."""
        if self._forget(attempt, now):
            self.queue.back_off(attempt.pod.uid, now)

    def revoked(self, attempt: Attempt, epoch: int, now: float) -> None:
        """Fenced: no bind of this attempt can arrive. The pod has ``epoch`` now, and is planned again."""
        uid = attempt.pod.uid
        if uid in self._waiting:
            self._epochs[uid] = max(epoch, self._epochs.get(uid, 0))
        if self._forget(attempt, now):
            self.queue.back_off(uid, now)
            if attempt.entry.attempts <= RACES_MAX:
                self.queue.retry(uid)

    def over(self, attempt: Attempt, now: float) -> None:
        """The pod is gone, finished or bound elsewhere, for good."""
        if self._forget(attempt, now):
            self.queue.discard(attempt.pod.uid)

    def abandon(self, now: float) -> None:
        """Forget every attempt, whatever becomes of it: somebody else is the leader now."""
        for attempt in list(self._attempts.values()):
            if self._forget(attempt, now):
                self.queue.back_off(attempt.pod.uid, now)
                self.queue.retry(attempt.pod.uid)

    def _forget(self, attempt: Attempt, now: float) -> bool:
        if not self.is_current(attempt):
            return False
        uid = attempt.pod.uid
        del self._attempts[uid]
        self._unpark(attempt)
        self._released(uid)
        self._tell_queue(now)
        return True

    # One pod

    def _unbound(self, seen: SeenPod, now: float) -> bool:
        """True if the pod was not known, or not as gated."""
        before = self._waiting.get(seen.uid)
        self._waiting[seen.uid] = seen
        if seen.uid in self._attempts:
            return False
        self.queue.put(seen.info, now, gated=seen.gated)
        return before is None or not before.gated

    def _placed(self, seen: SeenPod) -> None:
        self._settled(seen.uid)
        if seen.over or seen.node is None:
            self._released(seen.uid)
            return
        before = self.table.node_of(seen.uid)
        if before == seen.node:
            self.table.assign(seen.info, seen.node)
            return
        if before is not None:
            self._released(seen.uid)
        self.table.assign(seen.info, seen.node)
        self._note(seen.info, Cluster.POD_ADDED)

    def _gone(self, uid: str) -> None:
        self._settled(uid)
        self._released(uid)

    def _settled(self, uid: str) -> None:
        self._waiting.pop(uid, None)
        attempt = self._attempts.pop(uid, None)
        if attempt is not None and attempt.parked:
            self._unpark(attempt)
            self._dropped.append(attempt)
        self._epochs.pop(uid, None)
        self.queue.discard(uid)

    def _released(self, uid: str) -> None:
        pod = self.table.pod(uid)
        if pod is not None:
            self.table.release(uid)
            self._note(pod, Cluster.POD_GONE)

    # What may help waiting pods

    def _note(self, pod: PodInfo, what: Cluster) -> None:
        """A pod came to a node or left it. Of a class it is enough to know once."""
        self._news.setdefault((id(pod.kind), what), PodChange(pod.kind, what))

    def _tell_queue(self, now: float) -> None:
        if self._news:
            news, self._news = self._news, {}
            self.queue.happened(Cluster.NOTHING, now, news.values())


def new_queue(
    profile: Profile, *, backoff_initial_s: float, backoff_max_s: float, unschedulable_retry_s: float
) -> SchedulingQueue:
    """A queue whose pods are woken by what the profile's filters say can help."""
    filters = (*profile.node_filters, *profile.usage_filters, *profile.domain_filters)
    return SchedulingQueue(
        {node_filter.name: node_filter.helped_by for node_filter in filters},
        backoff_initial_s=backoff_initial_s,
        backoff_max_s=backoff_max_s,
        unschedulable_retry_s=unschedulable_retry_s,
        hint=lambda pods, refused_by, change: helps(pods, refused_by, change, profile),
    )
