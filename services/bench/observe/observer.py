"""Looks at every process of a cluster once a second, and at what it exports now and then.

A look reads two small files of ``/proc`` per process; every ten looks a scrape reads ``/metrics`` of servers and etcds.
With 25 processes both together take less than a hundredth of a core here (``Observations.observer_cpu_s``).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any, Protocol

from services.base.clock import Clock
from services.base.tasks import Supervisor
from services.bench.histograms import Histogram
from services.bench.observe import proc
from services.bench.observe.components import OWN, Process, Roster
from services.bench.observe.observations import ApiInterval, ApiKey, Mark, Observations
from services.bench.observe.scraping import Increase, Scraper
from services.bench.observe.tracks import (
    DB_IN_USE_METRIC,
    DB_METRIC,
    FSYNC_METRIC,
    WAL_METRIC,
    ComponentTrack,
    EtcdTrack,
)
from services.bench.ticker import ticks

API_SECONDS = "apiserver_request_duration_seconds"
API_REQUESTS = "apiserver_request_total"
LOOKS_PER_SCRAPE = 10


class HasHome(Protocol):
    """As much of ``cluster.BenchCluster`` as observing needs."""

    @property
    def home(self) -> Any: ...


class Observer:
    """``async with`` it: the first look and scrape are made on entering, the last on leaving."""

    def __init__(self, cluster: HasHome, *, clock: Clock, period_s: float = 1.0) -> None:
        self._roster = Roster(cluster.home)
        self._clock = clock
        self._period_s = period_s
        self._others: dict[str, tuple[int, str]] = {OWN: (os.getpid(), OWN)}
        self._tracks: dict[str, ComponentTrack] = {}
        self._etcds: dict[str, EtcdTrack] = {}
        self._scrapers: dict[str, Scraper] = {}
        self._marks: list[Mark] = []
        self._intervals: list[ApiInterval] = []
        self._scraped_s = 0.0
        self._own_cpu_s = 0.0
        self._began = 0.0
        self._began_unix = 0.0
        self._seconds = 0.0
        self._tasks = Supervisor()

    async def __aenter__(self) -> Observer:
        self._began, self._began_unix = self._clock.monotonic(), self._clock.time()
        await self.look()
        await self._tasks.__aenter__()
        self._tasks.start(self._run(), name="observer")
        return self

    async def __aexit__(self, *failure: Any) -> None:
        # First its task ends, so that no two looks run at once.
        await self._tasks.__aexit__(*failure)
        if failure[0] is None:
            await self.look()

    def add_process(self, name: str, pid: int, kind: str = OWN) -> None:
        """Look at a process that is none of the cluster's (a driver of the benchmark), too."""
        self._others[name] = pid, kind

    def mark(self, text: str) -> None:
        """An event on the time axis, now."""
        self._marks.append(Mark(self.now(), text))

    async def look(self) -> None:
        """A look and a scrape at once, so that ``observations`` are as of now."""
        self._sample()
        await self._scrape()

    def observations(self) -> Observations:
        """All that was seen up to the last look."""
        api: dict[ApiKey, Histogram] = {}
        refused: dict[tuple[str, str, str, str], float] = {}
        for name, scraper in self._scrapers.items():
            for (metric, labels), histogram in scraper.total.histograms.items():
                if metric == API_SECONDS:
                    api[_api_key(name, dict(labels))] = histogram
            for (metric, labels), count in scraper.total.counters.items():
                of = dict(labels)
                if metric == API_REQUESTS and of["code"] != "OK":
                    refused[*_api_key(name, of), of["code"]] = count
        return Observations(
            began_monotonic_s=self._began,
            began_unix_s=self._began_unix,
            seconds=self._seconds,
            components={name: track.series() for name, track in self._tracks.items()},
            etcds={name: track.series() for name, track in self._etcds.items()},
            api=api,
            api_over_time=tuple(self._intervals),
            refused=refused,
            marks=tuple(self._marks),
            observer_cpu_s=self._own_cpu_s + sum(scraper.cpu_s for scraper in self._scrapers.values()),
        )

    def cores(self) -> float:
        """What the cluster's processes take of the CPU now: between the last two looks, the benchmark itself left
        out."""
        return sum(track.cores for track in self._tracks.values() if track.kind != OWN)

    def now(self) -> float:
        """Seconds since observation began."""
        return self._clock.monotonic() - self._began

    async def _run(self) -> None:
        number = 0
        async for _ in ticks(self._clock, self._period_s):
            number += 1
            self._sample()
            if number % LOOKS_PER_SCRAPE == 0:
                await self._scrape()

    # One look.

    def _sample(self) -> None:
        began = time.thread_time()
        at_s = self._seconds = self.now()
        processes = self._roster.now()
        for process in processes.values():
            self._look_at(at_s, process.name, process.kind, process.pid)
            if process.is_etcd and process.metrics:
                self._etcd(process).look(at_s, process.pid)
        for name, (pid, kind) in self._others.items():
            self._look_at(at_s, name, kind, pid)
        self._own_cpu_s += time.thread_time() - began

    def _look_at(self, at_s: float, name: str, kind: str, pid: int) -> None:
        track = self._tracks.get(name)
        if track is None:
            track = self._tracks[name] = ComponentTrack(name, kind)
        track.look(at_s, pid, proc.usage(pid) if pid else None)

    def _etcd(self, process: Process) -> EtcdTrack:
        track = self._etcds.get(process.name)
        if track is None:
            names = (WAL_METRIC, DB_METRIC, DB_IN_USE_METRIC)
            scraper = self._scrapers[process.name] = Scraper(process.metrics, names, (FSYNC_METRIC,))
            track = self._etcds[process.name] = EtcdTrack(process.name, scraper)
        return track

    # One scrape.

    async def _scrape(self) -> None:
        for process in self._roster.now().values():
            if process.is_server and process.metrics and process.name not in self._scrapers:
                self._scrapers[process.name] = Scraper(process.metrics, (API_REQUESTS,), (API_SECONDS,))
        names = list(self._scrapers)
        answers = await asyncio.gather(*(self._scrapers[name].scrape() for name in names), return_exceptions=True)
        at_s = self.now()
        found: dict[ApiKey, Histogram] = {}
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, OSError):
                continue  # It is down: what it counts from its start on comes with the next scrape.
            if isinstance(answer, BaseException):
                raise answer
            found |= _api(name, answer)
            if name in self._etcds:
                self._etcds[name].scraped(at_s)
        if self._scraped_s < at_s:
            self._intervals.append(ApiInterval(self._scraped_s, at_s, found))
        self._scraped_s = self._seconds = at_s


def _api(server: str, added: Increase) -> Mapping[ApiKey, Histogram]:
    return {
        _api_key(server, dict(labels)): histogram
        for (name, labels), histogram in added.histograms.items()
        if name == API_SECONDS
    }


def _api_key(server: str, labels: Mapping[str, str]) -> ApiKey:
    return server, labels["verb"], labels["resource"]
