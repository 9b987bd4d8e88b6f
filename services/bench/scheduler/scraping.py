"""The schedulers' own metrics, read before and after a window."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.bench import histograms
from services.bench.histograms import Labels, Reading
from services.bench.scheduler.processes import get


@dataclass(frozen=True)
class Scrape:
    """One reading per scheduler, in order; counters summed over all of them."""

    readings: Sequence[Reading]
    counters: Mapping[tuple[str, Labels], float]

    def counters_since(self, before: Scrape) -> dict[str, float]:
        """Increases by ``name{label=value,…}``; those that did not move are left out."""
        result = {}
        for (name, labels), value in self.counters.items():
            increase = value - before.counters.get((name, labels), 0.0)
            if increase:
                text = ",".join(f"{label}={content}" for label, content in labels)
                result[f"{name}{{{text}}}" if text else name] = increase
        return result


def is_scheduling(name: str) -> bool:
    """A metric of scheduling, whoever exports it."""
    return name.startswith(("scheduler_", "ursa_scheduler_"))


async def scrape(urls: Sequence[str]) -> Scrape:
    """Raises ``OSError`` when a scheduler does not answer."""
    texts = await asyncio.gather(*(get(url) for url in urls))
    readings, counters = [], dict[tuple[str, Labels], float]()
    for text in texts:
        found, counted = histograms.read(text.decode(), is_scheduling)
        readings.append(found)
        for key, value in counted.items():
            counters[key] = counters.get(key, 0.0) + value
    return Scrape(readings, counters)
