"""Histograms of a Prometheus text: differences between two readings, merged over processes, and their quantiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]


@dataclass
class Histogram:
    """Cumulative ``counts`` by upper bound, ``count`` observations, and their ``total``."""

    counts: dict[float, float] = field(default_factory=dict)
    count: float = 0.0
    total: float = 0.0

    def add(self, other: Histogram, factor: float = 1.0) -> None:
        """Add another's observations, or take them away with ``factor`` −1."""
        for bound, number in other.counts.items():
            self.counts[bound] = self.counts.get(bound, 0.0) + factor * number
        self.count += factor * other.count
        self.total += factor * other.total

    def average(self) -> float:
        return self.total / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """Linear within the bucket (Prometheus' ``histogram_quantile``); the last finite bound when beyond it."""
        if not self.count:
            return 0.0
        rank, before, lower = share * self.count, 0.0, 0.0
        for bound in sorted(self.counts):
            number = self.counts[bound]
            if number >= rank:
                if math.isinf(bound):
                    return lower
                inside = number - before
                return lower + (bound - lower) * (rank - before) / inside if inside else bound
            before, lower = number, bound
        return lower

    def longest(self) -> float:
        """The upper bound of the highest bucket that has any in it; 0.0 without observations."""
        if not self.count:
            return 0.0
        return min((bound for bound, number in self.counts.items() if number >= self.count), default=math.inf)


Reading = dict[str, dict[Labels, Histogram]]
"""By metric name and labels (without ``le``)."""


def read(text: str, wanted: Callable[[str], bool]) -> tuple[Reading, dict[tuple[str, Labels], float]]:
    """The histograms and the counters of an exposition whose names are ``wanted``."""
    histograms: Reading = {}
    counters: dict[tuple[str, Labels], float] = {}
    for family in text_string_to_metric_families(text):
        if not wanted(family.name):
            continue
        for sample in family.samples:
            labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
            if family.type == "counter" and sample.name.endswith("_total"):
                counters[sample.name, labels] = sample.value
            elif family.type == "histogram":
                one = histograms.setdefault(family.name, {}).setdefault(labels, Histogram())
                if sample.name.endswith("_bucket"):
                    one.counts[float(sample.labels["le"])] = sample.value
                elif sample.name.endswith("_count"):
                    one.count = sample.value
                elif sample.name.endswith("_sum"):
                    one.total = sample.value
    return histograms, counters


def since(before: Reading, after: Reading) -> Reading:
    """What was observed between two readings of one process."""
    result: Reading = {}
    for name, by_labels in after.items():
        for labels, histogram in by_labels.items():
            one = result.setdefault(name, {}).setdefault(labels, Histogram())
            one.add(histogram)
            one.add(before.get(name, {}).get(labels, Histogram()), -1.0)
    return result


def merged(readings: Iterable[Reading]) -> Reading:
    """The observations of several processes together."""
    result: Reading = {}
    for reading in readings:
        for name, by_labels in reading.items():
            for labels, histogram in by_labels.items():
                result.setdefault(name, {}).setdefault(labels, Histogram()).add(histogram)
    return result


def grouped(by_labels: Mapping[Labels, Histogram], names: Iterable[str]) -> dict[Labels, Histogram]:
    """Merged over all labels but ``names``."""
    kept = frozenset(names)
    result: dict[Labels, Histogram] = {}
    for labels, histogram in by_labels.items():
        result.setdefault(tuple(item for item in labels if item[0] in kept), Histogram()).add(histogram)
    return result
