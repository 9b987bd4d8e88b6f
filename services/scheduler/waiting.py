"""Pods that no node takes, in groups that are judged alike: same scheduling class, refused by the same filters.

A verdict holds for the whole class. So of a group that something may have helped only a first few are tried, a *wave*;
if each of them found a node the next wave is twice as large, and as soon as one did not, the rest stay where they are.
Ten thousand pods that wait for room cost about as much as sixty-four, and whoever came first is tried first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from services.scheduler.core.plugin import Cluster, PodChange
from services.scheduler.core.pods import PodClass, PodInfo

WAVE_FIRST = 64

# What can help a pod for which there was no node to refuse it.
ANY_NODE = Cluster.NODE_ADDED | Cluster.NODE_USABLE


class Waiter(Protocol):
    """A pod of the queue."""

    pod: PodInfo
    refused_by: frozenset[str]


Hint: TypeAlias = Callable[[PodClass, frozenset[str], PodChange], bool]
"""May that other pod's coming or going help a pod of this class, refused by these filters?"""


@dataclass(slots=True, eq=False)
class Wave:
    """``left``: how many of the woken have not been tried yet; ``refused``: one that was tried found no node."""

    kind: PodClass
    size: int
    left: int = 0
    refused: bool = False


@dataclass(slots=True, eq=False)
class Group:
    """``judged_at``: when the verdict was last confirmed, for any of its pods (monotonic seconds)."""

    kind: PodClass
    refused_by: frozenset[str]
    judged_at: float
    members: dict[str, Waiter] = field(default_factory=dict)
    # By arrival; may hold pods that have left.
    order: list[tuple[int, str]] = field(default_factory=list)

    def first(self) -> Waiter | None:
        """The member that came first; it stays a member."""
        while self.order:
            found = self.members.get(self.order[0][1])
            if found is not None:
                return found
            heapq.heappop(self.order)
        return None


_Key: TypeAlias = tuple[int, frozenset[str]]


class WaitingRoom:
    """The groups. Who is woken is moved by the queue; here is decided whom it is worth to wake."""

    def __init__(self, helped_by: Callable[[str], Cluster], hint: Hint | None) -> None:
        self._helped_by = helped_by
        self._hint = hint
        self._groups: dict[_Key, Group] = {}
        self._group_of: dict[str, _Key] = {}

    def __len__(self) -> int:
        return len(self._group_of)

    def add(self, waiter: Waiter, now: float) -> None:
        key = (id(waiter.pod.kind), waiter.refused_by)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(waiter.pod.kind, waiter.refused_by, now)
        group.judged_at = now
        uid = waiter.pod.uid
        group.members[uid] = waiter
        self._group_of[uid] = key
        heapq.heappush(group.order, (waiter.pod.sequence, uid))
        if len(group.order) > 2 * len(group.members) + WAVE_FIRST:
            # Sorted is a heap, too.
            group.order = sorted((known.pod.sequence, name) for name, known in group.members.items())

    def remove(self, waiter: Waiter) -> None:
        """Idempotent."""
        key = self._group_of.pop(waiter.pod.uid, None)
        if key is None:
            return
        group = self._groups[key]
        del group.members[waiter.pod.uid]
        if not group.members:
            del self._groups[key]

    def of(self, kind: PodClass) -> list[Group]:
        """The groups of a class."""
        return [group for group in self._groups.values() if group.kind is kind]

    def helped(self, changes: Cluster, pods: Collection[PodChange]) -> Iterator[Group]:
        """The groups that ``changes``, or the coming and going of ``pods``, may help."""
        for group in list(self._groups.values()):
            if self._helps(group.refused_by, changes) or any(self._hints(group, change) for change in pods):
                yield group

    def due(self, now: float, retry_s: float) -> Iterator[Group]:
        """The groups whose verdict is older than ``retry_s``; it counts as confirmed now."""
        for group in list(self._groups.values()):
            if group.judged_at + retry_s <= now:
                group.judged_at = now
                yield group

    def _helps(self, refused_by: frozenset[str], changes: Cluster) -> bool:
        if not changes:
            return False
        if not refused_by:
            return bool(changes & ANY_NODE)
        return any(changes & self._helped_by(name) for name in refused_by)

    def _hints(self, group: Group, change: PodChange) -> bool:
        if self._hint is None:
            return self._helps(group.refused_by, change.what)
        return self._hint(group.kind, group.refused_by, change)
