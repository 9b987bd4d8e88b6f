"""What the watches showed of every pod: when it was first seen, bound, running, ended and gone, and where. Pure.

One row per uid in flat arrays; a pod costs some 250 bytes. What must never happen is a problem, noticed as it is seen.
"""

from __future__ import annotations

import pathlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

ADDED, MODIFIED, DELETED = 1, 2, 3
COLUMNS = ("seen", "bound", "running", "ended", "gone")
_PROBLEMS_MAX = 10
_NEVER = float("nan")
_UNBOUND = -1


@dataclass
class Counts:
    """``ended_alone``: without having been deleted. ``there``: pods that exist. ``there_ran``: of those, that run or
    have run. ``collected``: removed after they had ended. ``ran``: all that ever ran. ``running``: that run now."""

    seen: int = 0
    bound: int = 0
    ran: int = 0
    running: int = 0
    ended: int = 0
    ended_alone: int = 0
    there: int = 0
    there_ran: int = 0
    collected: int = 0
    terminating: int = 0
    most_running: int = 0
    events: int = 0


class Sightings:
    """Fed with events in the order of their watch; every partition's pods together, as uids are unique."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._times = {name: array("d") for name in COLUMNS}
        self._node = array("l")
        self._terminating = bytearray()
        self._nodes: dict[tuple[str, str], int] = {}
        self.counts = Counts()
        self.problems: list[str] = []

    def take(self, events: Iterable[Any], now: float) -> None:
        """Events of one batch: messages with ``type`` and ``object`` (a Pod or an excerpt of it)."""
        for event in events:
            pod = event.object
            self._observe(event.type, pod.metadata.uid, pod, now)

    def _observe(self, kind: int, uid: str, pod: Any, now: float) -> None:
        counts = self.counts
        counts.events += 1
        row = self._rows.get(uid)
        if row is None:
            if kind == DELETED:
                return
            row = self._new(uid, now)
        if kind == DELETED:
            self._gone(row, now)
            return
        if node := pod.spec.node_name:
            self._at(row, uid, pod.spec.resource_partition, node, now)
        if not self._terminating[row] and pod.metadata.deletion_timestamp.seconds:
            self._terminating[row] = 1
            counts.terminating += 1
        phase = pod.status.phase
        if phase == "Running":
            self._runs(row, uid, now)
        elif phase in ("Succeeded", "Failed"):
            self._ended(row, now)
            if phase == "Failed":
                self.complain(f"pod {pod.metadata.name} ({uid}) failed")

    def _new(self, uid: str, now: float) -> int:
        row = self._rows[uid] = len(self._rows)
        for name in COLUMNS:
            self._times[name].append(now if name == "seen" else _NEVER)
        self._node.append(_UNBOUND)
        self._terminating.append(0)
        self.counts.seen += 1
        self.counts.there += 1
        return row

    def _at(self, row: int, uid: str, partition: str, node: str, now: float) -> None:
        where = self._nodes.setdefault((partition, node), len(self._nodes))
        before = self._node[row]
        if before == where:
            return
        if before != _UNBOUND:
            names = {number: "/".join(name) for name, number in self._nodes.items()}
            self.complain(f"pod {uid} was bound twice: to {names[before]} and {names[where]}")
        self._node[row] = where
        self._times["bound"][row] = now
        self.counts.bound += 1

    def _runs(self, row: int, uid: str, now: float) -> None:
        running, counts = self._times["running"], self.counts
        if self._times["ended"][row] == self._times["ended"][row]:
            self.complain(f"pod {uid} runs after it had ended")
        if running[row] == running[row]:
            return
        running[row] = now
        counts.ran += 1
        counts.there_ran += 1
        counts.running += 1
        counts.most_running = max(counts.most_running, counts.running)

    def _ended(self, row: int, now: float) -> None:
        ended, running, counts = self._times["ended"], self._times["running"], self.counts
        if ended[row] == ended[row]:
            return
        ended[row] = now
        counts.ended += 1
        counts.ended_alone += not self._terminating[row]
        if running[row] == running[row]:
            counts.running -= 1
        else:
            # A short life: the kubelet reported its end only.
            running[row] = now
            counts.ran += 1
            counts.there_ran += 1

    def _gone(self, row: int, now: float) -> None:
        gone, counts = self._times["gone"], self.counts
        if gone[row] == gone[row]:
            return
        gone[row] = now
        counts.there -= 1
        has_ended = self._times["ended"][row] == self._times["ended"][row]
        if self._times["running"][row] == self._times["running"][row]:
            counts.there_ran -= 1
            counts.running -= not has_ended
        if has_ended and not self._terminating[row]:
            counts.collected += 1
        if self._terminating[row]:
            counts.terminating -= 1

    def complain(self, problem: str) -> None:
        if len(self.problems) < _PROBLEMS_MAX:
            self.problems.append(problem)

    def there(self) -> set[str]:
        """The uids of pods that exist as far as the watches showed."""
        gone = self._times["gone"]
        return {uid for uid, row in self._rows.items() if gone[row] != gone[row]}

    def save(self, path: pathlib.Path) -> None:
        """Everything, for ``load``."""
        names = ["/".join(name) for name in self._nodes]
        columns: dict[str, Any] = {name: np.array(values, dtype=np.float64) for name, values in self._times.items()}
        columns["uids"] = np.array(list(self._rows), dtype="S40")
        columns["nodes"] = np.array(names, dtype=np.str_)
        columns["node"] = np.array(self._node, dtype=np.int64)
        np.savez(path, **columns)


@dataclass(frozen=True)
class Table:
    """Saved sightings. Times are float64 seconds, NaN for never; ``node`` indexes ``nodes`` (``rp/name``), −1: none."""

    uids: list[str]
    nodes: list[str]
    node: np.ndarray
    times: dict[str, np.ndarray]

    def rows(self) -> dict[str, int]:
        return {uid: row for row, uid in enumerate(self.uids)}


def load(path: pathlib.Path) -> Table:
    with np.load(path) as saved:
        return Table(
            [uid.decode() for uid in saved["uids"].tolist()],
            [str(name) for name in saved["nodes"].tolist()],
            saved["node"],
            {name: saved[name] for name in COLUMNS},
        )
