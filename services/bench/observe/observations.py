"""What was seen, as values: series over time of each process and each etcd, latencies of the API, marks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from services.bench.histograms import Histogram

Floats = np.ndarray
"""float64, one value per look; NaN where there was nothing to see (a process that was gone)."""

NO_TIMES: Floats = np.empty(0)


@dataclass(frozen=True)
class Component:
    """One process, over restarts. ``at_s``: seconds since observation began. ``cpu_s``, ``written_bytes``: what was
    used up to each look, since observation began; ``resident_bytes`` and ``threads`` as they were."""

    name: str
    kind: str
    at_s: Floats = field(default_factory=lambda: NO_TIMES)
    cpu_s: Floats = field(default_factory=lambda: NO_TIMES)
    resident_bytes: Floats = field(default_factory=lambda: NO_TIMES)
    threads: Floats = field(default_factory=lambda: NO_TIMES)
    written_bytes: Floats = field(default_factory=lambda: NO_TIMES)

    @property
    def cores(self) -> Floats:
        """CPU seconds per second between each look and the one before; one shorter than ``at_s``."""
        return rate(self.at_s, self.cpu_s)

    def cores_mean(self) -> float:
        """Over the whole time; 0 if it was too short to tell."""
        seconds = self.at_s[-1] - self.at_s[0] if len(self.at_s) > 1 else 0.0
        return float((self.cpu_s[-1] - self.cpu_s[0]) / seconds) if seconds > 0 else 0.0


@dataclass(frozen=True)
class Etcd:
    """One etcd. ``wal_bytes``: written to its log since observation began, by the growth of the log's files;
    ``wal_metric_bytes``: the same by ``etcd_disk_wal_write_bytes_total``, NaN without that metric (etcd 3.4 counts
    twice). ``db_bytes``: size of the database file, ``db_in_use_bytes``: what of it is in use. ``fsync``: seconds of
    the log's fsyncs in the whole time."""

    name: str
    at_s: Floats = field(default_factory=lambda: NO_TIMES)
    wal_bytes: Floats = field(default_factory=lambda: NO_TIMES)
    metrics_at_s: Floats = field(default_factory=lambda: NO_TIMES)
    wal_metric_bytes: Floats = field(default_factory=lambda: NO_TIMES)
    db_bytes: Floats = field(default_factory=lambda: NO_TIMES)
    db_in_use_bytes: Floats = field(default_factory=lambda: NO_TIMES)
    fsync: Histogram = field(default_factory=Histogram)


ApiKey = tuple[str, str, str]
"""Server, verb, resource; as in the servers' own metrics."""


@dataclass(frozen=True)
class ApiInterval:
    """What the servers answered between two scrapes. Seconds since observation began."""

    from_s: float
    to_s: float
    latencies: Mapping[ApiKey, Histogram]


@dataclass(frozen=True)
class Mark:
    """Something that happened: a fault, a step of the benchmark."""

    at_s: float
    text: str


@dataclass(frozen=True)
class Observations:
    """``began_monotonic_s``: CLOCK_MONOTONIC when observation began, ``began_unix_s`` the wall clock's time.
    ``api``: latencies in the whole time (what a killed server counted since its last scrape is lost), ``refused``:
    requests that ended otherwise than OK, by server, verb, resource and code. ``observer_cpu_s``: what observing has
    cost this process."""

    began_monotonic_s: float
    began_unix_s: float
    seconds: float
    components: Mapping[str, Component]
    etcds: Mapping[str, Etcd]
    api: Mapping[ApiKey, Histogram]
    api_over_time: tuple[ApiInterval, ...]
    refused: Mapping[tuple[str, str, str, str], float]
    marks: tuple[Mark, ...]
    observer_cpu_s: float


def rate(at_s: Floats, total: Floats) -> Floats:
    """The increase per second between each value and the one before; one shorter."""
    if len(at_s) < 2:
        return NO_TIMES
    with np.errstate(divide="ignore", invalid="ignore"):
        increase: Floats = np.where(np.diff(at_s) > 0, np.diff(total) / np.diff(at_s), np.nan)
    return increase


def quiet(values: Floats) -> Floats:
    """Without what is no number."""
    known: Floats = values[np.isfinite(values)]
    return known
