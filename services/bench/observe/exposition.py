"""Reads only what is wanted out of a Prometheus text, as fast as can be: a server's has tens of thousands of lines."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from services.bench.histograms import Histogram, Labels, Reading

_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ENDINGS = ("_bucket", "_count", "_sum")


@dataclass
class Exposition:
    """``values``: counters and gauges by name and labels; ``histograms`` by name and labels (without ``le``)."""

    values: dict[tuple[str, Labels], float] = field(default_factory=dict)
    histograms: Reading = field(default_factory=dict)

    def total(self, name: str) -> float | None:
        """The sum over all labels; None if there is none of that name."""
        found = [value for (known, _), value in self.values.items() if known == name]
        return sum(found) if found else None

    def histogram(self, name: str) -> Histogram:
        """Merged over all labels; empty if there is none."""
        merged = Histogram()
        for one in self.histograms.get(name, {}).values():
            merged.add(one)
        return merged


class Reader:
    """``values``: names of counters (with ``_total``) and gauges, ``histograms`` of histograms. One reader reads the
    same process again and again: what a line is about is worked out once."""

    def __init__(self, values: Iterable[str] = (), histograms: Iterable[str] = ()) -> None:
        self._values = frozenset(values)
        self._histograms = frozenset(histograms)
        self._starts = (*self._values, *self._histograms)
        self._known: dict[str, _Line | None] = {}

    def read(self, text: str) -> Exposition:
        """Raises ``ValueError`` for what is no exposition."""
        result = Exposition()
        starts, known = self._starts, self._known
        for line in text.splitlines():
            if not line.startswith(starts):
                continue
            head, _, number = line.rpartition(" ")
            if head not in known:
                known[head] = self._about(head)
            about = known[head]
            if about is not None:
                about.take(result, float(number))
        return result

    def _about(self, head: str) -> _Line | None:
        name, brace, rest = head.partition("{")
        labels = _labels(rest) if brace else ()
        if name in self._values:
            return _Line(name, labels, "", 0.0)
        for ending in _ENDINGS:
            if name.endswith(ending) and name.removesuffix(ending) in self._histograms:
                bound = next((float(value) for label, value in labels if label == "le"), math.inf)
                others = tuple(item for item in labels if item[0] != "le")
                return _Line(name.removesuffix(ending), others, ending, bound)
        return None


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    labels: Labels
    ending: str
    bound: float

    def take(self, result: Exposition, number: float) -> None:
        if not self.ending:
            result.values[self.name, self.labels] = number
            return
        by_labels = result.histograms.setdefault(self.name, {})
        one = by_labels.get(self.labels)
        if one is None:
            one = by_labels[self.labels] = Histogram()
        if self.ending == "_bucket":
            one.counts[self.bound] = number
        elif self.ending == "_count":
            one.count = number
        else:
            one.total = number


def _labels(text: str) -> Labels:
    return tuple(sorted((name, _unescaped(value)) for name, value in _LABEL.findall(text)))


def _unescaped(value: str) -> str:
    if "\\" not in value:
        return value
    return value.replace("\\\\", "\0").replace('\\"', '"').replace("\\n", "\n").replace("\0", "\\")
