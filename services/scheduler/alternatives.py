"""Pods that room is being made for need not wait for it when there is room elsewhere, or when theirs will not come.

kube-scheduler tries nominated pods again with whatever happens in the cluster, and binds them wherever they fit; their
victims go all the same. Here such a pod holds a promise on its node, so that has to be given back first: its bind epoch
is raised, the claim released on that fact, and the pod planned anew (``Carrier.establish``).
"""

from __future__ import annotations

from collections.abc import Iterable

from services.scheduler.attempt import Attempt
from services.scheduler.core import NodeId, NodeTable, PodInfo, Profile, Profiles, plan
from services.scheduler.core.claimed import ClaimedRoom
from services.scheduler.core.plan import ViewCache
from services.scheduler.core.preemption import Preemption
from services.scheduler.promises import Promises
from services.scheduler.standing import Standing

# Most victims are gone in less: their preemptors are better off where they are.
PATIENCE_S = 1.0
PAUSE_S = 1.0
# The first in the line are looked at; if all of them can go elsewhere, so may the next.
WAVE = 64


class Alternatives:
    """``happened`` takes note that something may have come free; ``find`` looks."""

    def __init__(
        self,
        table: NodeTable,
        room: ClaimedRoom,
        promises: Promises,
        standing: Standing,
        profile: Profile | Profiles,
        views: ViewCache,
    ) -> None:
        self._table = table
        self._room = room
        self._promises = promises
        self._standing = standing
        self._profile = profile
        self._views = views
        self._news = False
        self._not_before = 0.0
        # Where pods were promised room that was given back.
        self._former: dict[str, NodeId] = {}

    def happened(self) -> None:
        self._news = True

    def find(self, now: float) -> list[Attempt]:
        """Attempts whose promise is to be given back; they are parked no longer."""
        parked = self._promises.parked()
        # Nothing comes of a promise on a node that is gone or out of reach, or that the filters refuse by now.
        stands = {attempt: self._promises.stands(attempt) for attempt in parked}
        found = [attempt for attempt in parked if not stands[attempt]]
        if self._news and parked and now >= self._not_before:
            found += self._with_room_elsewhere([attempt for attempt in parked if stands[attempt]], now)
        for attempt in found:
            self._promises.unpark(attempt)
            self._former[attempt.pod.uid] = attempt.node
        return found

    def again(self, pods: Iterable[PodInfo]) -> dict[str, Preemption]:
        """Those of ``pods`` (by UID) that lost the race for the room elsewhere while their first victims still end:
        they are to have that promise again, and nobody else goes for them (not "eligible to preempt others")."""
        found = {}
        for pod in pods if self._former else ():
            node = self._former.get(pod.uid)
            if node is None or not self._standing.admits(pod, node):
                continue
            victims = [p for p in self._table.placed(node).values() if p.kind.ending and p.priority < pod.priority]
            if victims:
                found[pod.uid] = Preemption(pod, node, "", tuple(victims), 0)
        return found

    def lost(self, attempt: Attempt) -> None:
        """Refused: if it was the old promise, it cannot be had any more."""
        if self._former.get(attempt.pod.uid) == attempt.node:
            self.forget(attempt.pod.uid)

    def forget(self, uid: str) -> None:
        """The pod has a node, or is gone."""
        self._former.pop(uid, None)

    def _with_room_elsewhere(self, parked: list[Attempt], now: float) -> list[Attempt]:
        self._not_before = now + PAUSE_S
        slow = [attempt for attempt in parked if now - attempt.asked_at >= PATIENCE_S]
        self._news = len(slow) < len(parked)
        if not slow:
            return []
        slow.sort(key=lambda attempt: (-attempt.pod.priority, attempt.pod.sequence))
        first = {attempt.pod.uid: attempt for attempt in slow[:WAVE]}
        # They are counted where their promises are, so none of them takes the place of another one.
        snapshot = self._room.apply(self._table.freeze())
        placements = plan(snapshot, (attempt.pod for attempt in first.values()), self._profile, self._views).placements
        found = [first[placed.pod.uid] for placed in placements if placed.node != first[placed.pod.uid].node]
        self._news |= len(found) == len(first)
        return found
