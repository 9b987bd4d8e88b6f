"""Counters and histograms of one process, added up over scrapes and over its restarts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.bench.fetching import fetch
from services.bench.histograms import Histogram, Labels
from services.bench.observe.exposition import Exposition, Reader


@dataclass
class Increase:
    """What was added between two scrapes."""

    counters: dict[tuple[str, Labels], float] = field(default_factory=dict)
    histograms: dict[tuple[str, Labels], Histogram] = field(default_factory=dict)


def increase(before: Exposition, after: Exposition) -> Increase:
    """A counter or histogram that is less than before began anew: its process was restarted. What is new counts from
    nothing. Labels that did not move are left out."""
    result = Increase()
    for key, value in after.values.items():
        added = value - before.values.get(key, 0.0)
        if added < 0:
            added = value
        if added:
            result.counters[key] = added
    for name, by_labels in after.histograms.items():
        for labels, histogram in by_labels.items():
            known = before.histograms.get(name, {}).get(labels)
            difference = Histogram()
            difference.add(histogram)
            if known is not None and known.count <= histogram.count:
                difference.add(known, -1.0)
            if difference.count:
                result.histograms[name, labels] = difference
    return result


class Scraper:
    """One process' ``/metrics`` at ``address`` (host:port). ``total``: all that was added since the first scrape;
    ``cpu_s``: what reading has cost this thread."""

    def __init__(self, address: str, counters: Iterable[str] = (), histograms: Iterable[str] = ()) -> None:
        self._address = address
        self._reader = Reader(counters, histograms)
        self._last: Exposition | None = None
        self.total = Increase()
        self.cpu_s = 0.0

    @property
    def last(self) -> Exposition | None:
        """As it was at the last scrape."""
        return self._last

    async def scrape(self) -> Increase:
        """What was added since the last one; of the first, nothing. Raises ``OSError`` if nobody answers."""
        text = await fetch(self._address, "/metrics")
        began = time.thread_time()
        added = self.take(self._reader.read(text.decode()))
        self.cpu_s += time.thread_time() - began
        return added

    def take(self, now: Exposition) -> Increase:
        before, self._last = self._last, now
        if before is None:
            return Increase()
        added = increase(before, now)
        _add(self.total, added)
        return added


def _add(total: Increase, added: Increase) -> None:
    for key, value in added.counters.items():
        total.counters[key] = total.counters.get(key, 0.0) + value
    for name, histogram in added.histograms.items():
        total.histograms.setdefault(name, Histogram()).add(histogram)


def summed(counters: Mapping[tuple[str, Labels], float], name: str, **labels: str) -> float:
    """Of all counters of this name that have these labels."""
    wanted = set(labels.items())
    return sum(value for (known, of), value in counters.items() if known == name and wanted <= set(of))
