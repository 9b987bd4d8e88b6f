"""When each pod of a tenant partition has to leave its node: a queue by time. Pure; the caller brings the time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable

from services.controllers.pods import SeenPod

# So many entries that are outdated do not matter.
_OUTDATED_MIN = 1024


class Eviction:
    """``since``: when the pod's time began, ``due``: when it is over (monotonic seconds)."""

    __slots__ = ("due", "pod", "since", "stays_s")

    def __init__(self, pod: SeenPod, since: float, stays_s: float, not_before: float = -math.inf) -> None:
        self.pod = pod
        self.since = since
        self.stays_s = stays_s
        self.due = max(since + stays_s, not_before)


class Evictions:
    """Those that are planned, by the pod's UID. One that was taken stays planned until ``done`` or ``cancel``."""

    def __init__(self) -> None:
        self._planned: dict[str, Eviction] = {}
        # (due, number, eviction); what is not its pod's planned eviction any more, or has another time, is passed over.
        self._heap: list[tuple[float, int, Eviction]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._planned)

    def __contains__(self, uid: str) -> bool:
        return uid in self._planned

    def is_planned(self, eviction: Eviction) -> bool:
        return self._planned.get(eviction.pod.uid) is eviction

    def place(
        self, pod: SeenPod, stays_s: float | None, now: float, *, spent_s: float = 0.0, not_before: float = -math.inf
    ) -> bool:
        """The pod may stay on its node for ``stays_s`` from now (None: for ever). A pod that is planned already keeps
        the time that it has spent; a taint that is tolerated for less time shortens what is left. One that is not has
        spent ``spent_s`` before, under another manager, and does not leave ``not_before``. True: it was planned, and is
        not any more."""
        known = self._planned.get(pod.uid)
        if stays_s is None or pod.ending:
            return self.cancel(pod.uid) and stays_s is None
        if known is None:
            known = self._planned[pod.uid] = Eviction(pod, now - spent_s, stays_s, not_before)
            self._push(known)
            return False
        known.pod = pod
        if stays_s == known.stays_s:
            return False
        due = min(known.due, now + stays_s) if stays_s < known.stays_s else known.since + stays_s
        known.stays_s = stays_s
        if due != known.due:
            known.due = due
            self._push(known)
        return False

    def cancel(self, uid: str) -> bool:
        """True: it was planned."""
        return self._planned.pop(uid, None) is not None

    def take(self, now: float, limit: int) -> list[Eviction]:
        """Up to ``limit`` that are due, the oldest first. Each must come back by ``done`` or ``again``."""
        taken: dict[str, Eviction] = {}
        while self._heap and len(taken) < limit and self._heap[0][0] <= now:
            due, _, eviction = heapq.heappop(self._heap)
            if self.is_planned(eviction) and eviction.due == due:
                taken[eviction.pod.uid] = eviction
        return [*taken.values()]

    def done(self, eviction: Eviction) -> None:
        if self.is_planned(eviction):
            del self._planned[eviction.pod.uid]

    def again(self, evictions: Iterable[Eviction], at: float) -> None:
        """Not done yet: due at ``at``, unless they were cancelled meanwhile."""
        for eviction in evictions:
            if self.is_planned(eviction):
                eviction.due = at
                self._push(eviction)

    def next_at(self) -> float | None:
        """When the next one may be due; None: none is waiting."""
        return self._heap[0][0] if self._heap else None

    def _push(self, eviction: Eviction) -> None:
        if len(self._heap) > 2 * len(self._planned) + _OUTDATED_MIN:
            # Of nodes that come and go, and pods that bear that for days, nothing else would ever take it out.
            self._heap = [entry for entry in self._heap if self.is_planned(entry[2]) and entry[2].due == entry[0]]
            heapq.heapify(self._heap)
        self._number += 1
        heapq.heappush(self._heap, (eviction.due, self._number, eviction))
