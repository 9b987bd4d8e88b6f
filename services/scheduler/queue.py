"""Whose turn it is: pods that may be tried now, that back off, that nothing has helped yet, and that are gated.

Synchronous; the caller says what time it is (seconds of a monotonic clock) and what has happened in the cluster.
Order: highest priority first, then first come first served (kubernetes plugins/queuesort/priority_sort.go).
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from services.scheduler.core import Profile, Profiles
from services.scheduler.core.feasibility import helps
from services.scheduler.core.plugin import Cluster, PodChange
from services.scheduler.core.pods import PodInfo
from services.scheduler.waiting import WAVE_FIRST, Group, Hint, WaitingRoom, Wave


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
    wave: Wave | None = None


class SchedulingQueue:
    """Every unbound pod of this scheduler, each in exactly one place."""

    def __init__(
        self,
        helped_by: Mapping[str, Cluster],
        *,
        backoff_initial_s: float = 1.0,
        backoff_max_s: float = 10.0,
        unschedulable_retry_s: float = 60.0,
        hint: Hint | None = None,
    ) -> None:
        self._backoff_initial_s = backoff_initial_s
        self._backoff_max_s = backoff_max_s
        self._unschedulable_retry_s = unschedulable_retry_s
        self._entries: dict[str, Entry] = {}
        self._sizes = dict.fromkeys(Place, 0)
        # Heaps may hold entries that have moved on; an entry counts only where its ``place`` says.
        self._active: list[tuple[int, int, str]] = []
        self._backoff: list[tuple[float, int, str]] = []
        self._waiting = WaitingRoom(lambda name: helped_by.get(name, Cluster.NOTHING), hint)
        self._waves: dict[int, Wave] = {}

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
            self._leave(entry, None)

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

    def happened(self, changes: Cluster, now: float, pods: Collection[PodChange] = ()) -> None:
        """Wake the pods that ``changes``, or the coming and going of other ``pods``, can help: each class by waves, and
        each pod not before its backoff is over."""
        if not len(self._waiting) or not (changes or pods):
            return
        for group in self._waiting.helped(changes, pods):
            self._wake_group(group, now)

    def planned(self, now: float) -> None:
        """The pods that were taken have been judged: go on with the waves in which each found a node."""
        for key, wave in list(self._waves.items()):
            if wave.left:
                continue
            del self._waves[key]
            if not wave.refused:
                for group in self._waiting.of(wave.kind):
                    self._wake_group(group, now, 2 * wave.size)

    def tick(self, now: float) -> None:
        """Time has passed: backoffs end, and who has waited long is tried again. The next wave comes, where nobody is
        left of the last one who could be planned."""
        self.planned(now)
        while self._backoff and self._backoff[0][0] <= now:
            at, _, uid = heapq.heappop(self._backoff)
            entry = self._entries.get(uid)
            if entry is not None and entry.place is Place.BACKOFF and entry.at == at:
                self._activate(entry)
        for group in self._waiting.due(now, self._unschedulable_retry_s):
            self._wake_group(group, now)

    def _wake_group(self, group: Group, now: float, size: int = WAVE_FIRST) -> None:
        key = id(group.kind)
        known = self._waves.get(key)
        if known is not None and known.left:
            # Those that are awake already will find out for the others.
            return
        wave = self._waves[key] = Wave(group.kind, size)
        ready = 0
        while ready < size and wave.left < 2 * size:
            entry = group.first()
            if entry is None:
                break
            assert isinstance(entry, Entry)
            self._wake(entry, now)
            entry.wave = wave
            wave.left += 1
            ready += entry.place is Place.ACTIVE

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
        self._sizes[entry.place] -= 1
        self._sizes[place] += 1
        self._leave(entry, place)
        entry.place = place
        if place is Place.UNSCHEDULABLE:
            self._waiting.add(entry, entry.at)

    def _leave(self, entry: Entry, to: Place | None) -> None:
        """The entry leaves its place (``to`` None: the queue)."""
        if entry.place is Place.UNSCHEDULABLE:
            self._waiting.remove(entry)
        wave = entry.wave
        if wave is None or to is Place.ACTIVE or (to is Place.BACKOFF and entry.place is not Place.TAKEN):
            return
        if entry.place is Place.TAKEN:
            wave.refused |= to is Place.UNSCHEDULABLE
        else:
            wave.left -= 1
        if to is not Place.TAKEN:
            entry.wave = None


def _order(pod: PodInfo) -> tuple[int, int]:
    return -pod.priority, pod.sequence


def new_queue(
    profile: Profile | Profiles, *, backoff_initial_s: float, backoff_max_s: float, unschedulable_retry_s: float
) -> SchedulingQueue:
    """A queue whose pods are woken by what the profile's filters say can help."""
    helped_by: dict[str, Cluster] = {}
    for one in profile.all():
        for known in one.filters:
            helped_by[known.name] = helped_by.get(known.name, Cluster.NOTHING) | known.helped_by
    return SchedulingQueue(
        helped_by,
        backoff_initial_s=backoff_initial_s,
        backoff_max_s=backoff_max_s,
        unschedulable_retry_s=unschedulable_retry_s,
        hint=lambda pods, refused_by, change: helps(pods, refused_by, change, profile),
    )
