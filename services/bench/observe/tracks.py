"""Series that grow with each look, and go on over restarts of what they are about."""

from __future__ import annotations

import math

import numpy as np

from services.bench.histograms import Histogram
from services.bench.observe import wal
from services.bench.observe.observations import Component, Etcd
from services.bench.observe.proc import Usage
from services.bench.observe.scraping import Scraper

WAL_METRIC = "etcd_disk_wal_write_bytes_total"
DB_METRIC = "etcd_mvcc_db_total_size_in_bytes"
DB_IN_USE_METRIC = "etcd_mvcc_db_total_size_in_use_in_bytes"
FSYNC_METRIC = "etcd_disk_wal_fsync_duration_seconds"


class ComponentTrack:
    """One process after another, of one name."""

    def __init__(self, name: str, kind: str) -> None:
        self.kind = kind
        self._name = name
        self._process = (0, 0)
        self._base: Usage | None = None
        self._cpu_s = self._written = 0.0
        self._rows: list[tuple[float, float, float, float, float]] = []

    def look(self, at_s: float, pid: int, usage: Usage | None) -> None:
        """``usage`` None: it is gone."""
        if usage is None:
            self._process = (0, 0)
            self._rows.append((at_s, self._cpu_s, math.nan, math.nan, self._written))
            return
        if self._process != (pid, usage.started):
            # Of one that was there when observation began, what it used before is not ours; of a later one, all is.
            first = not self._rows
            self._process = (pid, usage.started)
            self._base = usage if first else Usage(0.0, 0.0, 0, 0.0, usage.started)
        assert self._base is not None
        self._cpu_s += usage.cpu_s - self._base.cpu_s
        self._written += usage.written_bytes - self._base.written_bytes
        self._base = usage
        self._rows.append((at_s, self._cpu_s, usage.resident_bytes, float(usage.threads), self._written))

    @property
    def cores(self) -> float:
        """CPU seconds per second between the last two looks; 0 before there are two."""
        if len(self._rows) < 2:
            return 0.0
        (before_s, used_before, *_), (at_s, used, *_) = self._rows[-2:]
        return (used - used_before) / (at_s - before_s) if at_s > before_s else 0.0

    def series(self) -> Component:
        columns = np.array(self._rows, dtype=np.float64).reshape(-1, 5).T
        return Component(self._name, self.kind, *columns)


class EtcdTrack:
    """One etcd: its log at each look, its metrics at each scrape. ``scraper`` reads the four metrics above."""

    def __init__(self, name: str, scraper: Scraper) -> None:
        self._name = name
        self._scraper = scraper
        self._log: tuple[int, wal.Log] | None = None
        self._segments: wal.Segments | None = None
        self._wal_bytes = 0
        self._rows: list[tuple[float, float]] = []
        self._metric_rows: list[tuple[float, float, float, float]] = []

    def look(self, at_s: float, pid: int) -> None:
        if not pid:
            return
        if self._log is None or self._log[0] != pid:
            self._log = (pid, wal.Log(pid))
        now = self._log[1].look()
        if now is None:
            return
        if self._segments is not None:
            self._wal_bytes += wal.growth(self._segments, now)
        self._segments = now
        self._rows.append((at_s, float(self._wal_bytes)))

    def scraped(self, at_s: float) -> None:
        """The scraper has just read the metrics."""
        last = self._scraper.last
        if last is None:
            return
        known = last.total(WAL_METRIC) is not None
        written = self._scraper.total.counters.get((WAL_METRIC, ()), 0.0) if known else math.nan
        size, in_use = (last.total(name) for name in (DB_METRIC, DB_IN_USE_METRIC))
        self._metric_rows.append((at_s, written, _or_nan(size), _or_nan(in_use)))

    def series(self) -> Etcd:
        looks = np.array(self._rows, dtype=np.float64).reshape(-1, 2).T
        scrapes = np.array(self._metric_rows, dtype=np.float64).reshape(-1, 4).T
        fsync = self._scraper.total.histograms.get((FSYNC_METRIC, ()))
        return Etcd(
            self._name,
            at_s=looks[0],
            wal_bytes=looks[1],
            metrics_at_s=scrapes[0],
            wal_metric_bytes=scrapes[1],
            db_bytes=scrapes[2],
            db_in_use_bytes=scrapes[3],
            fsync=fsync or Histogram(),
        )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
