"""What the scheduler knows, and how it changes: events and outcomes in, plans out. Synchronous, no I/O.

A pod's way: queued → planned and *assumed* (an attempt, counted on its node at once) → claimed → bound → confirmed by
the watch. An attempt is given up only on a definite answer (the claim was refused; the pod is gone, elsewhere, or its
bind epoch was raised), never because time has passed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.client.informer import Change
from services.scheduler.alternatives import Alternatives
from services.scheduler.attempt import Attempt
from services.scheduler.contention import Contention
from services.scheduler.core import (
    DEFAULT_PROFILE,
    NodeId,
    NodeTable,
    PodInfo,
    Profile,
    Profiles,
    Unschedulable,
    plan,
)
from services.scheduler.core.budgets import Budget, Budgets
from services.scheduler.core.claimed import ClaimedRoom
from services.scheduler.core.plan import Plan, ViewCache
from services.scheduler.core.plugin import Cluster
from services.scheduler.core.preemption import Pledge, Preemptions
from services.scheduler.core.preemption_search import preempt
from services.scheduler.core.snapshot import Snapshot
from services.scheduler.decision import Decision, Refusal
from services.scheduler.disruption import Victim
from services.scheduler.ledgers import SeenLedger
from services.scheduler.news import News
from services.scheduler.promises import Promises
from services.scheduler.queue import Entry, SchedulingQueue
from services.scheduler.seen import SeenPod
from services.scheduler.standing import Standing
from services.scheduler.tenancy import SeenBudget, SeenNamespace

# A pod that lost this many races is planned again after a pause like any other.
RACES_MAX = 8
UNSCHEDULABLE = "Unschedulable"


class SchedulerState:
    """The node table, the queue and the attempts of one scheduler."""

    def __init__(self, table: NodeTable, queue: SchedulingQueue, profile: Profile | Profiles = DEFAULT_PROFILE) -> None:
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
        self._budgets: dict[str, Budget] = {}
        self._standing = Standing(table, self._room, profile, self._views)
        self.promises = Promises(self._standing)
        # Attempts that were parked when they lost their pod.
        self._dropped: list[Attempt] = []
        # Attempts that make room for themselves, until they are settled.
        self._preempting: dict[str, Attempt] = {}
        self._ended: list[str] = []
        # Where unbound pods have claims that another leader made.
        self.inherited: dict[str, NodeId] = {}
        self.alternatives = Alternatives(table, self._room, self.promises, self._standing, profile, self._views)
        self._news = News(queue, self.alternatives)

    # What the watches say

    def pods_changed(self, changes: Sequence[Change[SeenPod]], now: float) -> list[SeenPod]:
        """Take note of pods; returns those that are newly gated and do not say so yet."""
        gated: list[SeenPod] = []
        for change in changes:
            if change.new is None:
                self._gone(change.key)
            elif change.new.node is not None or change.new.over:
                self._placed(change.new)
            elif change.new.ours:
                if self._unbound(change.new, now) and change.new.gated:
                    gated.append(change.new)
            else:
                # Another scheduler's, or about to be deleted.
                self._gone(change.new.uid)
        self._news.tell(now)
        return gated

    def nodes_changed(self, changes: Sequence[Change[Node]], now: float) -> None:
        """Take note of nodes, of any resource partition."""
        happened = Cluster.NOTHING
        for change in changes:
            if change.new is None:
                assert change.old is not None
                self.table.remove(change.partition, change.old.metadata.name)
                continue
            news = self.table.upsert(change.partition, change.new)
            if not self.table.is_stale(change.partition):
                happened |= news
        self._news.happened(happened, now)

    def namespaces_changed(self, changes: Sequence[Change[SeenNamespace]], now: float) -> None:
        """Take note of namespaces: what namespace selectors select."""
        happened = Cluster.NOTHING
        for change in changes:
            seen = change.new or change.old
            assert seen is not None
            labels = change.new.labels if change.new is not None else None
            happened |= self.table.set_namespace(seen.tenant, seen.name, labels)
        self._news.happened(happened, now)

    def budgets_changed(self, changes: Sequence[Change[SeenBudget]]) -> None:
        """Take note of pod disruption budgets, for later preemptions."""
        for change in changes:
            if change.new is None:
                self._budgets.pop(change.key, None)
            else:
                self._budgets[change.key] = change.new.budget

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
            promised += self.promises.note(node, new)
            for uid in self.contention.changed(node, gone=new is None):
                self.queue.retry(uid)
        self._news.happened(happened, now)
        return promised

    def partition_stale(self, partition: str, stale: bool, now: float) -> None:
        """A resource partition is out of reach (or back)."""
        self._news.happened(self.table.set_stale(partition, stale), now)

    def partition_removed(self, partition: str) -> None:
        self.table.remove_partition(partition)
        self._room.remove_partition(partition)
        self.contention.partition_removed(partition)

    @property
    def waiting(self) -> Collection[str]:
        """UIDs of unbound pods."""
        return self._waiting.keys()

    def known(self, uid: str) -> PodInfo | None:
        """The facts of a pod that waits, is being placed or is placed."""
        waiting = self._waiting.get(uid)
        return waiting.info if waiting is not None else self.table.pod(uid)

    # Deciding

    def decide(self, entries: Sequence[Entry], now: float) -> Decision:
        """Plan for ``entries``, which the queue has just handed out, and assume the plan."""
        by_uid = {entry.pod.uid: entry for entry in entries}
        resumed = self._resumed(by_uid, now)
        snapshot = self._room.apply(self.table.freeze())
        decided = plan(snapshot, (entry.pod for entry in by_uid.values()), self._profile, self._views)
        # A round of preemption looks at the table as the plan found it: nothing is assumed before.
        preempted = self._preempt(snapshot, decided)
        attempts = [self._assume(p.pod, p.node, p.node_uid, by_uid[p.pod.uid]) for p in decided.placements]
        for chosen in preempted.chosen:
            attempt = self._assume(chosen.pod, chosen.node, chosen.node_uid, by_uid[chosen.pod.uid])
            attempt.replaces = tuple(victim.uid for victim in chosen.victims)
            self._preempting[chosen.pod.uid] = attempt
            attempts.append(attempt)
        refusals = self._refuse(decided.unschedulable, preempted, now)
        self.queue.planned(now)
        self._news.tell(now)
        return Decision([*resumed, *attempts], refusals)

    def _resumed(self, by_uid: dict[str, Entry], now: float) -> list[Attempt]:
        """Attempts for the pods that have a claim on a node already, or the promise of one, by a scheduler that was
        here before; these are taken out of ``by_uid``. One whose node the pod may not have any more is parked, so that
        what it has is given back before it is planned anew."""
        found = []
        for uid, entry in list(by_uid.items()) if self.promises or self.inherited else ():
            promised, inherited = self.promises.node_of(uid), self.inherited.pop(uid, None)
            node = promised or inherited
            if node is None:
                continue
            del by_uid[uid]
            attempt = self._assume(entry.pod, node, "", entry)
            if promised is not None:
                self._preempting[uid] = attempt
            if self.promises.stands(attempt):
                found.append(attempt)
            else:
                self.promises.park(attempt, now)
        return found

    def _preempt(self, snapshot: Snapshot, decided: Plan) -> Preemptions:
        highest = max((refused.pod.priority for refused in decided.unschedulable), default=0)
        possible = any(profile.preemption is not None for profile in self._profile.all())
        if not decided.unschedulable or not possible or not self.table.priorities(highest):
            return Preemptions()
        usage = snapshot.usage.copy()
        for placement in decided.placements:
            row = self.table.row(placement.node)
            assert row is not None
            usage.add(placement.pod.kind, (row,))
        again = self.alternatives.again(refused.pod for refused in decided.unschedulable)
        result = preempt(
            snapshot,
            usage,
            (refused.pod for refused in decided.unschedulable if refused.pod.uid not in again),
            self.table,
            self._profile,
            Budgets(tuple(self._budgets.values())),
            pledges=[Pledge(a.pod, a.node, tuple(self.promises.victims(a))) for a in self._preempting.values()],
            exempt=self._attempts,
        )
        result.chosen.extend(again.values())
        return result

    def _refuse(self, unschedulable: Sequence[Unschedulable], preempted: Preemptions, now: float) -> list[Refusal]:
        chosen = {done.pod.uid for done in preempted.chosen}
        why_not = {refused.pod.uid: refused for refused in preempted.refused}
        refusals = []
        for refused in unschedulable:
            uid = refused.pod.uid
            seen = self._waiting.get(uid)
            if uid in chosen:
                if seen is not None:
                    node = self._attempts[uid].node
                    refusals.append(Refusal(seen, UNSCHEDULABLE, refused.message, node))
                continue
            hopeless = why_not.get(uid)
            if hopeless is not None and hopeless.hindered:
                self.queue.back_off(uid, now)
            else:
                self.queue.put_aside(uid, refused.refused_by, now)
            if seen is not None:
                text = refused.message if hopeless is None else f"{refused.message} {hopeless.message}"
                refusals.append(Refusal(seen, UNSCHEDULABLE, text))
        return refusals

    def _assume(self, pod: PodInfo, node: NodeId, node_uid: str, entry: Entry) -> Attempt:
        self.table.assign(pod, node)
        self._news.pod(pod, Cluster.POD_ADDED)
        attempt = Attempt(pod, node, node_uid, self._epoch(pod.uid), entry, self.contention.news(node))
        self._attempts[pod.uid] = attempt
        return attempt

    def _epoch(self, uid: str) -> int:
        waiting = self._waiting.get(uid)
        seen = waiting.epoch if waiting is not None else 0
        return max(seen, self._epochs.get(uid, 0)) if self._epochs else seen

    # What became of attempts

    @property
    def assumed(self) -> int:
        """Pods placed here that the watch has not shown as bound yet."""
        return len(self._attempts)

    def is_current(self, attempt: Attempt) -> bool:
        """The outcome of ``attempt`` is still of interest: neither the watch nor another answer has settled it."""
        return self._attempts.get(attempt.pod.uid) is attempt

    def is_usable(self, attempt: Attempt) -> bool:
        """Its node exists, its partition is not stale, and the node filters have nothing against it."""
        return self._standing.admits(attempt.pod, attempt.node)

    def adopt(self, attempt: Attempt, node_name: str) -> bool:
        """The pod's claim is on another node of the partition: count it there. False: it may not have that node."""
        node = NodeId(attempt.node.partition, node_name)
        victims = self.promises.shown(attempt.pod.uid, node)
        if not self.is_current(attempt) or not self._standing.holds(attempt.pod, node, victims):
            return False
        self.table.assign(attempt.pod, node)
        # Whatever it was to replace was on the other node.
        attempt.node, attempt.node_uid, attempt.replaces, attempt.waited_for = node, "", (), ()
        return True

    def bound(self, attempt: Attempt) -> None:
        """The bind is committed. The pod stays assumed until the watch shows it, so nothing is counted twice."""
        if self.is_current(attempt):
            self.queue.discard(attempt.pod.uid)

    def promised(self, attempt: Attempt, now: float) -> list[Victim]:
        """It waits until those that it replaces have ended; returns who is still there."""
        if not self.is_current(attempt):
            return []
        self.promises.park(attempt, now)
        victims = (self.table.pod(uid) for uid in self.promises.victims(attempt))
        return [Victim(pod, attempt.node, attempt.profile) for pod in victims if pod is not None]

    def take_dropped(self) -> list[Attempt]:
        """Attempts that held a promise when the watch showed their pod gone, bound or changed hands. Each once."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def take_ended(self) -> list[str]:
        """UIDs of the pods that have left their nodes. Each once."""
        ended, self._ended = self._ended, []
        return ended

    def lost(self, attempt: Attempt, now: float) -> None:
        """The node is not what the plan took it for: forget the attempt, and plan again as soon as there is news."""
        uid = attempt.pod.uid
        self.alternatives.lost(attempt)
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
            self.promises.given_back(uid, attempt.node)
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
        self.promises.forget_all()

    def _forget(self, attempt: Attempt, now: float) -> bool:
        if not self.is_current(attempt):
            return False
        uid = attempt.pod.uid
        del self._attempts[uid]
        self._preempting.pop(uid, None)
        self.promises.unpark(attempt)
        self._released(uid)
        self._news.tell(now)
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
            known = self.table.pod(seen.uid)
            self.table.assign(seen.info, seen.node)
            if known is not None and known.kind is not seen.info.kind:
                # Its labels are others, or it has begun to end: who looks at its neighbours may see it differently.
                self._news.pod(known, Cluster.POD_GONE)
                self._news.pod(seen.info, Cluster.POD_ADDED)
            return
        if before is not None:
            self._released(seen.uid)
        self.table.assign(seen.info, seen.node)
        self._news.pod(seen.info, Cluster.POD_ADDED)

    def _gone(self, uid: str) -> None:
        self._settled(uid)
        self._released(uid)

    def _settled(self, uid: str) -> None:
        self._waiting.pop(uid, None)
        attempt = self._attempts.pop(uid, None)
        self._preempting.pop(uid, None)
        if attempt is not None and attempt.parked:
            self.promises.unpark(attempt)
            self._dropped.append(attempt)
        self._epochs.pop(uid, None)
        self.alternatives.forget(uid)
        self.promises.forget(uid)
        self.contention.forget(uid)
        self.queue.discard(uid)

    def _released(self, uid: str) -> None:
        pod = self.table.pod(uid)
        if pod is not None:
            self._ended.append(uid)
            self.table.release(uid)
            self._news.pod(pod, Cluster.POD_GONE)
