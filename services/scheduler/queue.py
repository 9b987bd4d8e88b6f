"""Whose turn it is: pods that may be tried now, that back off, that nothing has helped yet, and that are gated.

Synchronous; the caller says what time it is (seconds of a monotonic clock) and what has happened in the cluster.
Order: highest priority first, then first come first served (kubernetes plugins/queuesort/priority_sort.go).
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.scheduler.core.plugin import Cluster
from services.scheduler.core.pods import PodInfo

# What can help a pod for which there was no node to refuse it.
ANY_NODE = Cluster.NODE_ADDED | Cluster.NODE_USABLE


class Place(enum.Enum):
    """Where a pod stands."""

    ACTIVE = "active"
    BACKOFF = "backoff"
    UNSCHEDULABLE = "unschedulable"
    GATED = "gated"
    TAKEN = "taken"  # it is being scheduled or bound right now


@dataclass(slots=True, eq=False)
class Entry:
    """One pod of the queue."""

    pod: PodInfo
    place: Place
    added_at: float
    attempts: int = 0
    # When the pod may be tried again (BACKOFF), or was put aside (UNSCHEDULABLE).
    at: float = 0.0
    refused_by: frozenset[str] = frozenset()


class SchedulingQueue:
    """Every unbound pod of this scheduler, each in exactly one place."""

    def __init__(
        self,
        helped_by: Mapping[str, Cluster],
        *,
        backoff_initial_s: float = 1.0,
        backoff_max_s: float = 10.0,
        unschedulable_retry_s: float = 60.0,
    ) -> None:
        self._helped_by = helped_by
        self._backoff_initial_s = backoff_initial_s
        self._backoff_max_s = backoff_max_s
        self._unschedulable_retry_s = unschedulable_retry_s
        self._entries: dict[str, Entry] = {}
        self._sizes = dict.fromkeys(Place, 0)
        # Heaps may hold entries that have moved on; an entry counts only where its ``place`` says.
        self._active: list[tuple[int, int, str]] = []
        self._backoff: list[tuple[float, int, str]] = []
        # In the order in which they were put aside; and by the filters that refused them, which decide who is woken.
        self._unschedulable: dict[str, Entry] = {}
        self._refused_by: dict[frozenset[str], dict[str, Entry]] = {}

    def size(self, place: Place) -> int:
        return self._sizes[place]

    def __contains__(self, uid: str) -> bool:
        return uid in self._entries

    @property
    def has_active(self) -> bool:
        """``take`` would return something."""
        return self._sizes[Place.ACTIVE] > 0

    def put(self, pod: PodInfo, now: float, *, gated: bool = False) -> None:
        """A pod is new or was changed. A change of what the plan looks at is a reason to try a waiting pod again."""
        entry = self._entries.get(pod.uid)
        if entry is None:
            entry = self._entries[pod.uid] = Entry(pod, Place.GATED, now)
            self._sizes[Place.GATED] += 1
            if not gated:
                self._activate(entry)
            return
        changed = entry.pod.kind is not pod.kind or entry.pod.priority != pod.priority
        if changed:
            # A changed pod keeps its place in the line.
            entry.pod = replace(pod, sequence=entry.pod.sequence)
        if entry.place is Place.GATED and not gated:
            self._activate(entry)
        elif entry.place is not Place.TAKEN and gated:
            self._move(entry, Place.GATED)
        elif changed and entry.place is Place.UNSCHEDULABLE:
            self._wake(entry, now)
        elif changed and entry.place is Place.ACTIVE:
            self._activate(entry)

    def discard(self, uid: str) -> None:
        """The pod is bound, gone or not ours any more."""
        entry = self._entries.pop(uid, None)
        if entry is not None:
            self._sizes[entry.place] -= 1
            self._forget_unschedulable(entry)

    def take(self, limit: int) -> list[Entry]:
        """The next pods to try, at most ``limit``, best first; each is TAKEN until its outcome is told."""
        taken: list[Entry] = []
        while self._active and len(taken) < limit:
            priority, sequence, uid = heapq.heappop(self._active)
            entry = self._entries.get(uid)
            if entry is None or entry.place is not Place.ACTIVE or _order(entry.pod) != (priority, sequence):
                continue
            self._move(entry, Place.TAKEN)
            entry.attempts += 1
            taken.append(entry)
        return taken

    def put_aside(self, uid: str, refused_by: frozenset[str], now: float) -> None:
        """No node takes the pod: it waits for a change that can help."""
        entry = self._entries.get(uid)
        if entry is not None and entry.place is Place.TAKEN:
            entry.refused_by = refused_by
            entry.at = now
            self._move(entry, Place.UNSCHEDULABLE)

    def back_off(self, uid: str, now: float) -> None:
        """The attempt failed for a reason that is not the cluster's state: try again after a pause."""
        entry = self._entries.get(uid)
        if entry is not None and entry.place is Place.TAKEN:
            self._push_backoff(entry, now + self._pause_s(entry))

    def retry(self, uid: str) -> None:
        """What its last attempt failed for has changed: its backoff ends now."""
        entry = self._entries.get(uid)
        if entry is not None and entry.place is Place.BACKOFF:
            self._activate(entry)

    def happened(self, changes: Cluster, now: float) -> None:
        """Wake the pods that ``changes`` can help, each not before its backoff is over."""
        if not changes:
            return
        helped = [group for refused_by, group in self._refused_by.items() if self._helps(changes, refused_by)]
        for entry in [entry for group in helped for entry in group.values()]:
            self._wake(entry, now)

    def tick(self, now: float) -> None:
        """Time has passed: backoffs end, and who has waited long is tried again."""
        while self._backoff and self._backoff[0][0] <= now:
            at, _, uid = heapq.heappop(self._backoff)
            entry = self._entries.get(uid)
            if entry is not None and entry.place is Place.BACKOFF and entry.at == at:
                self._activate(entry)
        # In the order in which they were put aside, so the first that is not due ends the search.
        due: list[Entry] = []
        for entry in self._unschedulable.values():
            if entry.at + self._unschedulable_retry_s > now:
                break
            due.append(entry)
        for entry in due:
            self._wake(entry, now)

    def _helps(self, changes: Cluster, refused_by: frozenset[str]) -> bool:
        if not refused_by:
            return bool(changes & ANY_NODE)
        return any(changes & self._helped_by[name] for name in refused_by)

    def _pause_s(self, entry: Entry) -> float:
        return min(self._backoff_max_s, self._backoff_initial_s * 2.0 ** min(entry.attempts - 1, 30))

    def _wake(self, entry: Entry, now: float) -> None:
        ready_at = entry.at + self._pause_s(entry)
        if ready_at > now:
            self._push_backoff(entry, ready_at)
        else:
            self._activate(entry)

    def _push_backoff(self, entry: Entry, at: float) -> None:
        entry.at = at
        self._move(entry, Place.BACKOFF)
        heapq.heappush(self._backoff, (at, entry.pod.sequence, entry.pod.uid))

    def _activate(self, entry: Entry) -> None:
        self._move(entry, Place.ACTIVE)
        heapq.heappush(self._active, (*_order(entry.pod), entry.pod.uid))

    def _move(self, entry: Entry, place: Place) -> None:
        uid = entry.pod.uid
        self._sizes[entry.place] -= 1
        self._sizes[place] += 1
        self._forget_unschedulable(entry)
        entry.place = place
        if place is Place.UNSCHEDULABLE:
            self._unschedulable[uid] = entry
            self._refused_by.setdefault(entry.refused_by, {})[uid] = entry

    def _forget_unschedulable(self, entry: Entry) -> None:
        uid = entry.pod.uid
        if self._unschedulable.pop(uid, None) is None:
            return
        group = self._refused_by[entry.refused_by]
        del group[uid]
        if not group:
            del self._refused_by[entry.refused_by]


def _order(pod: PodInfo) -> tuple[int, int]:
    return -pod.priority, pod.sequence
