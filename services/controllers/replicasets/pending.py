"""What was written and may not be seen yet: until it is, nothing is decided anew (upstream's expectations). No I/O.

A write's answer says at which resource version it happened. A watch that has come as far has shown it, however slow it
is, and even if the pod is gone again: nothing has to be counted, and nothing is waited for that will not come.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.controllers.tenantpods import TenantPod

EXPIRES_S = 300.0


@dataclass(slots=True)
class _Open:
    version: int = 0
    going: set[str] = field(default_factory=set)
    since: float = 0.0


class Pending:
    """By the UID of a replica set."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._barriers: list[tuple[int, str]] = []

    def wrote(self, uid: str, version: int, now: float) -> None:
        """A pod was written at ``version``."""
        known = self._of(uid, now)
        if version > known.version:
            known.version = version
            heapq.heappush(self._barriers, (version, uid))

    def removed(self, uid: str, pods: Iterable[str], now: float) -> None:
        """The pods with these UIDs were removed, at versions that nobody knows."""
        self._of(uid, now).going.update(pods)

    def settled(self, uid: str, position: int | None, pods: Mapping[str, TenantPod], now: float) -> bool:
        """Everything written for the replica set is seen. ``position``: the watch's (None: it has none now); ``pods``:
        what it shows, by UID."""
        known = self._open.get(uid)
        if known is None:
            return True
        known.going = {pod for pod in known.going if pod in pods and not pods[pod].ending}
        reached = not known.version or (position is not None and position >= known.version)
        if (reached and not known.going) or now - known.since >= EXPIRES_S:
            del self._open[uid]
            return True
        return False

    def passed(self, position: int | None) -> list[str]:
        """Replica sets whose writes the watch has reached since it was asked last."""
        found: list[str] = []
        while position is not None and self._barriers and self._barriers[0][0] <= position:
            found.append(heapq.heappop(self._barriers)[1])
        return found

    def forget(self, uid: str) -> None:
        self._open.pop(uid, None)

    def _of(self, uid: str, now: float) -> _Open:
        known = self._open.get(uid)
        if known is None:
            known = self._open[uid] = _Open()
        known.since = now
        return known
