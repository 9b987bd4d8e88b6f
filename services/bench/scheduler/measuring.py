"""A measuring window: opened by an operation, closed when its pods are bound, turned into one ``Measured``."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.base.clock import Clock
from services.bench import histograms, usage
from services.bench.histograms import Reading
from services.bench.scheduler import sampling
from services.bench.scheduler.binds import BindLog, Change, Key
from services.bench.scheduler.errors import WorkloadFailed
from services.bench.scheduler.scraping import Scrape


@dataclass(frozen=True)
class Used:
    """What a process used during a window: CPU seconds, and resident bytes at its end."""

    cpu_s: float
    resident_bytes: int


@dataclass(frozen=True, eq=False)
class Measured:
    """``name``: the namespace, or what the operation calls it. Times in seconds.

    ``bound_at``: float64, when each pod was seen bound, from the first create on. ``stages``: float64 per pod, by
    stage's name. ``samples``: upstream's, pods/s. ``latencies`` and ``counters``: what the schedulers observed.
    ``others_cpu_s``: what the machine did that was none of ``used``.
    """

    name: str
    seconds: float
    wall_s: float
    bound_at: np.ndarray
    stages: Mapping[str, np.ndarray]
    samples: Sequence[float]
    latencies: Reading
    counters: Mapping[str, float]
    used: Mapping[str, Used]
    others_cpu_s: float = 0.0

    @property
    def others_share(self) -> float:
        """Part of all cores that processes of somebody else took during the window, 0 to 1."""
        return self.others_cpu_s / (self.wall_s * len(os.sched_getaffinity(0)))

    @property
    def pods(self) -> int:
        return len(self.bound_at)

    @property
    def pods_per_second(self) -> float:
        return self.pods / self.seconds


CREATE_CALL = "create call"
CREATED_TO_BOUND = "created → bound"
BEGUN_TO_BOUND = "create begun → bound"


class Window:
    """Open from its making on. ``pids``: processes by name. ``selects``: of which pods throughput is measured."""

    def __init__(
        self, name: str, selects: Callable[[Key], bool], log: BindLog, clock: Clock, pids: Mapping[str, int],
        before: Scrape,
    ) -> None:  # fmt: skip
        self._name = name
        self._selects = selects
        self._log = log
        self._clock = clock
        self._pids = pids
        self._scraped = before
        self._cpu_s = {component: usage.cpu_s(pid) for component, pid in pids.items()}
        self._busy_s = usage.machine_busy_s()
        self._position = len(log.changes)
        self._bound_before = sum(1 for key in log.nodes if selects(key))
        self._began = clock.monotonic()

    def close(
        self, after: Scrape, *, keys: Collection[Key] | None = None, waiting_since: float | None = None
    ) -> Measured:
        """The window's result. ``keys``: the pods whose way counts; None: all that were bound in it. ``waiting_since``:
        when an operation began to wait for its pods; sampling then ends where upstream's wait would have.

        Raises ``WorkloadFailed`` when no pod was bound.
        """
        now = self._clock.monotonic()
        used = {
            component: Used(usage.cpu_s(pid) - self._cpu_s[component], usage.resident_bytes(pid))
            for component, pid in self._pids.items()
        }
        others_cpu_s = usage.machine_busy_s() - self._busy_s - sum(one.cpu_s for one in used.values())
        changes = [change for change in self._log.changes[self._position :] if self._selects(change.key)]
        bound = self._bound(changes, keys)
        if not bound:
            raise WorkloadFailed(f"no pod was bound while {self._name} was measured")
        first, last, stages = self._times(bound)
        ended = now if waiting_since is None else sampling.poll_end(waiting_since, last)
        return Measured(
            name=self._name,
            seconds=max(last - first, 1e-9),
            wall_s=now - self._began,
            bound_at=np.array([at - first for at in bound.values()], dtype=np.float64),
            stages=stages,
            samples=sampling.samples(
                [(change.at, change.step) for change in changes], self._bound_before, self._began, ended
            ),
            latencies=histograms.merged(
                histograms.since(old, new) for old, new in zip(self._scraped.readings, after.readings, strict=True)
            ),
            counters=after.counters_since(self._scraped),
            used=used,
            others_cpu_s=max(0.0, others_cpu_s),
        )

    def _bound(self, changes: Sequence[Change], keys: Collection[Key] | None) -> dict[Key, float]:
        """When each pod that counts was bound."""
        if keys is not None:
            return {key: self._log.bound[key] for key in keys if key in self._log.bound}
        return {change.key: change.at for change in changes if change.step > 0}

    def _times(self, bound: Mapping[Key, float]) -> tuple[float, float, dict[str, np.ndarray]]:
        """First create, last bind, and the stages of the pods that this client has created."""
        known = [(self._log.created[key], at) for key, at in bound.items() if key in self._log.created]
        began = np.array([created.began for created, _ in known], dtype=np.float64)
        answered = np.array([created.answered for created, _ in known], dtype=np.float64)
        seen = np.array([at for _, at in known], dtype=np.float64)
        first = float(began.min()) if known else self._began
        stages = {
            CREATE_CALL: answered - began,
            # The watch may show a bind before the creator has read its answer; such a stage took no time.
            CREATED_TO_BOUND: np.maximum(seen - answered, 0.0),
            BEGUN_TO_BOUND: seen - began,
        }
        return first, max(bound.values()), stages
