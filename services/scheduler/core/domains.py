"""Arithmetic that the domain plug-ins share: counts per domain seen by group, and extremes that follow changes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from services.scheduler.core.arrays import ALL, Bools, Codes, Ints, Rows
from services.scheduler.core.census import Sums
from services.scheduler.core.labels import ABSENT
from services.scheduler.core.topology import Domains

_NONE = np.zeros(0, dtype=np.int64)


class DomainCounts:
    """A number per domain of one topology key, seen by the groups: those without the label have 0.

    ``counts`` is as ``Domains.sums`` makes it; ``single`` says that no two groups share a domain of this key.
    """

    def __init__(self, counts: Ints, codes: Codes, single: bool) -> None:
        self.counts = counts
        self.codes = codes
        self._single = single

    def of(self, groups: Rows) -> Ints:
        """The numbers of ``groups``."""
        numbers: Ints = self.counts[self.codes[groups]]
        return numbers

    def add(self, group: int, number: int) -> Ints:
        """Add to the domain of ``group``; the groups of that domain (none if it lacks the label)."""
        code = self.codes[group]
        if code == ABSENT:
            return _NONE
        self.counts[code] += number
        return np.asarray((group,)) if self._single else np.flatnonzero(self.codes == code)


def leaving(now: Sums | None, left: Sums | None) -> Ints | int:
    """How much of the sum ``now`` of each row goes until ``left`` is there."""
    if now is None:
        return 0
    gone: Ints = (now if left is None else now - left).astype(np.int64)
    return gone


def after_leaving(now: Sums | None, left: Sums | None, domains: Domains) -> Ints:
    """For each row the number of its domain once its own part has gone from ``now`` to ``left``; 0 in no domain."""
    if now is None:
        return np.zeros(len(domains.codes), dtype=np.int64)
    numbers: Ints = np.where(domains.codes == ABSENT, 0, domains.sums(now)[domains.codes] - leaving(now, left))
    return numbers


class Extremes:
    """The least and the greatest of ``values``, integers that change a few at a time, over a choice of them."""

    def __init__(self) -> None:
        self.least = 0
        self.greatest = 0
        self.values: Ints = _NONE
        self._chosen: Ints = _NONE

    def reset(self, values: Ints, chosen: Bools) -> None:
        """Look at ``values`` (kept, and written to by ``change``) where ``chosen``; with none chosen both are 0."""
        self.values = values
        self._chosen = np.flatnonzero(chosen)
        self._find()

    def change(self, at: Ints, values: Ints) -> bool:
        """Write ``values``; true if an extreme has changed."""
        before = self.values[at]
        self.values[at] = values
        if not len(before):
            return False
        inner = before.min() > self.least and before.max() < self.greatest
        if inner and values.min() >= self.least and values.max() <= self.greatest:
            return False
        extremes = (self.least, self.greatest)
        self._find()
        return extremes != (self.least, self.greatest)

    def _find(self) -> None:
        chosen = self.values[self._chosen]
        self.least, self.greatest = (int(chosen.min()), int(chosen.max())) if len(chosen) else (0, 0)


def united(parts: Iterable[Rows]) -> Rows | None:
    """The groups of any of ``parts``; ``None`` for no groups."""
    arrays = []
    for part in parts:
        if isinstance(part, slice):
            return ALL
        if len(part):
            arrays.append(part)
    if not arrays:
        return None
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
