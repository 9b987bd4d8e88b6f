"""One run against a partition of its own: what every storage benchmark sets up, measures by and ends with."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeAlias

from services.bench import http2, partition, usage
from services.bench.calibration import Calibration
from services.bench.report import Figure, Report
from services.bench.workload import Wrong

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Progress = Callable[[str], None]
Phase: TypeAlias = Callable[[], Awaitable[dict[str, Figure]]]


class Trial:
    """``partition``: what runs. ``report``: what is known of it so far. ``progress``: told of every step."""

    def __init__(self, started: partition.Partition, report: Report, progress: Progress) -> None:
        self.partition = started
        self.report = report
        self.progress = progress

    async def run(self, *phases: Phase) -> None:
        """The figures of one phase after another. The first that raises ``Wrong`` or ``http2.CallFailed`` ends the
        trial, and the report says why."""
        try:
            for phase in phases:
                self.report.figures.update(await phase())
        except (Wrong, http2.CallFailed) as wrong:
            self.report.invalid = str(wrong)

    def meter(self, *clients: int) -> usage.Meter:
        """CPU of the server, of etcd, and of this process with those of ``clients`` (pids)."""
        return self.meter_of(self.partition.server_pid, *clients)

    def meter_of(self, server: int, *clients: int) -> usage.Meter:
        """As ``meter``, of another server of the partition."""
        return usage.Meter({"server": (server,), "etcd": (self.partition.etcd_pid,), "client": (*clients, os.getpid())})


@contextlib.asynccontextmanager
async def started(
    benchmark: str, parameters: DataclassInstance, progress: Progress, *, configuration: str = ""
) -> AsyncIterator[Trial]:
    """A partition and the report of what happens to it, with the machine's speed before and after.

    ``configuration``: sections (TOML) that its servers get besides their own.
    Raises ``cluster.ClusterFailed``.
    """
    report = Report(benchmark, asdict(parameters))
    calibration = Calibration()
    async with partition.running(configuration) as running:
        report.machine["etcd"] = running.etcd_version
        yield Trial(running, report, progress)
    report.figures.update(calibration.figures())
