"""What was used between two moments of an observation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from services.bench.observe.observations import Component, Etcd, Floats, Observations, quiet


@dataclass(frozen=True)
class Window:
    """``from_s`` and ``to_s``: seconds since the observation began, as ``Observations`` count."""

    observations: Observations
    from_s: float
    to_s: float

    @property
    def seconds(self) -> float:
        return self.to_s - self.from_s

    def cores(self, names: Iterable[str]) -> float:
        """CPU seconds per second of these processes together."""
        return sum(self._grown(one.at_s, one.cpu_s) for one in self._components(names)) / self.seconds

    def written_bytes(self, names: Iterable[str]) -> float:
        """What these processes caused to be written to storage; NaN where the kernel does not tell."""
        return sum(self._grown(one.at_s, one.written_bytes) for one in self._components(names))

    def wal_bytes(self) -> float:
        """What was written to the logs of the chosen etcds, by the growth of their files."""
        return sum(self._grown(one.at_s, one.wal_bytes) for one in self._etcds())

    def wal_metric_ratio(self) -> float:
        """What etcd's own metric says of the log, over the growth of its files, both from scrape to scrape; NaN
        without the metric."""
        said = grown = 0.0
        for one in self._etcds():
            inside = (one.metrics_at_s >= self.from_s) & (one.metrics_at_s <= self.to_s)
            if inside.sum() < 2:
                return float("nan")
            at = one.metrics_at_s[inside][[0, -1]]
            said += float(np.diff(one.wal_metric_bytes[inside][[0, -1]])[0])
            grown += float(np.diff(np.interp(at, one.at_s, one.wal_bytes))[0])
        return said / grown if grown else float("nan")

    def resident_bytes(self, names: Iterable[str], at_s: float) -> float:
        """Of these processes together, at the last look before ``at_s``."""
        total = 0.0
        for one in self._components(names):
            known = quiet(one.resident_bytes[one.at_s <= at_s + 1e-6])
            total += float(known[-1]) if len(known) else 0.0
        return total

    def of(self, kind: str, partition_prefix: str = "") -> list[str]:
        """The names of the components of a kind, of partitions whose name begins so."""
        return [
            one.name
            for one in self.observations.components.values()
            if one.kind == kind and partition_prefix in one.name
        ]

    def _components(self, names: Iterable[str]) -> list[Component]:
        return [self.observations.components[name] for name in names]

    def _etcds(self) -> list[Etcd]:
        return [one for one in self.observations.etcds.values() if "rp-" in one.name]

    def _grown(self, at_s: Floats, total: Floats) -> float:
        if len(at_s) < 2:
            return 0.0
        return float(np.interp(self.to_s, at_s, total) - np.interp(self.from_s, at_s, total))
