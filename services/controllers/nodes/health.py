"""When each node last gave a sign of life, in columns: a look at tens of thousands takes microseconds per thousand.

A row is a node. Times are monotonic seconds of this process' own clock; what other clocks say is compared only with
itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.controllers.nodes.facts import NodeFact, Ready

_ROWS_MIN = 64


@dataclass(frozen=True)
class ZoneCount:
    """Nodes of a zone that count: all of them, and those that are not ready."""

    nodes: int
    unhealthy: int


class HealthTable:
    """``grace_s``: of nodes that have reported a status; ``startup_grace_s``: of others."""

    def __init__(self, *, grace_s: float, startup_grace_s: float) -> None:
        self.facts: dict[str, NodeFact] = {}
        self._grace_s = grace_s
        self._startup_grace_s = startup_grace_s
        self._rows: dict[str, int] = {}
        self._free: list[int] = []
        self._names: list[str] = []
        self._stamps: npt.NDArray[np.float64] = np.zeros(_ROWS_MIN)
        self._used: npt.NDArray[np.bool_] = np.zeros(_ROWS_MIN, dtype=bool)
        self._counts: npt.NDArray[np.bool_] = np.zeros(_ROWS_MIN, dtype=bool)
        self._ready: npt.NDArray[np.int8] = np.zeros(_ROWS_MIN, dtype=np.int8)
        self._zones: npt.NDArray[np.int32] = np.zeros(_ROWS_MIN, dtype=np.int32)
        self._zone_numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, fact: NodeFact, now: float) -> None:
        """The node is new or has changed. A new one, and one that has reported, is alive now."""
        old = self.facts.get(fact.name)
        row = self._rows.get(fact.name)
        if row is None:
            row = self._add(fact.name)
        if old is None or old.uid != fact.uid or fact.reported > old.reported:
            self._stamps[row] = now
        self.facts[fact.name] = fact
        self._ready[row] = fact.ready
        self._counts[row] = not fact.excluded
        self._zones[row] = self._zone_numbers.setdefault(fact.zone, len(self._zone_numbers))

    def drop(self, name: str) -> None:
        """The node is gone."""
        row = self._rows.pop(name)
        del self.facts[name]
        self._used[row] = False
        self._names[row] = ""
        self._free.append(row)

    def alive(self, names: Sequence[str], now: float) -> None:
        """Their leases were renewed; names without a node are passed over."""
        rows = [row for row in map(self._rows.get, names) if row is not None]
        if rows:
            self._stamps[rows] = now

    def is_silent(self, name: str, *, since: float, until: float) -> bool:
        """It has given no sign of life for its whole grace period before ``until``; nothing before ``since`` counts."""
        fact = self.facts.get(name)
        if fact is None:
            return False
        grace_s = self._startup_grace_s if fact.ready is Ready.NEVER else self._grace_s
        return bool(max(self._stamps[self._rows[name]], since) + grace_s < until)

    def lost(self, *, since: float, until: float) -> list[NodeFact]:
        """Nodes that are silent, and whose conditions do not say so yet."""
        silent = self._silent(since, until) & (self._ready != Ready.UNKNOWN)
        return [self.facts[self._names[row]] for row in np.flatnonzero(silent)]

    def unready(self) -> list[NodeFact]:
        """Nodes whose condition Ready is False or Unknown."""
        return [self.facts[self._names[row]] for row in np.flatnonzero(self._used & (self._ready >= Ready.FALSE))]

    def zones(self, *, since: float, until: float | None) -> dict[str, ZoneCount]:
        """By zone, those of which no node counts included. A node that is silent counts as unhealthy though its
        conditions may not say so yet; ``until`` None: nothing is known of silence."""
        unhealthy = self._ready != Ready.TRUE
        if until is not None:
            unhealthy = unhealthy | self._silent(since, until)
        counted = self._used & self._counts
        size = len(self._zone_numbers)
        there = np.bincount(self._zones[self._used], minlength=size)
        nodes = np.bincount(self._zones[counted], minlength=size)
        bad = np.bincount(self._zones[counted & unhealthy], minlength=size)
        return {
            zone: ZoneCount(int(nodes[number]), int(bad[number]))
            for zone, number in self._zone_numbers.items()
            if there[number]
        }

    def _silent(self, since: float, until: float) -> npt.NDArray[np.bool_]:
        grace = np.where(self._ready == Ready.NEVER, self._startup_grace_s, self._grace_s)
        return self._used & (np.maximum(self._stamps, since) + grace < until)

    def _add(self, name: str) -> int:
        if self._free:
            row = self._free.pop()
            self._names[row] = name
        else:
            row = len(self._names)
            self._names.append(name)
            if row == len(self._stamps):
                self._grow()
        self._rows[name] = row
        self._used[row] = True
        return row

    def _grow(self) -> None:
        for column in ("_stamps", "_used", "_counts", "_ready", "_zones"):
            old = getattr(self, column)
            setattr(self, column, np.concatenate([old, np.zeros_like(old)]))
