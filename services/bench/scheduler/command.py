"""``ursa bench scheduler``: choose, run, report."""

from __future__ import annotations

import asyncio
import pathlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import uvloop

from services.base.clock import SystemClock
from services.base.rand import Rand
from services.bench.calibration import Calibration
from services.bench.cluster import free_base_port
from services.bench.report import Report
from services.bench.scheduler import page, perfdash, results, run, selection, table
from services.bench.scheduler.errors import FileError
from services.bench.scheduler.progress import Progress
from services.bench.scheduler.reader import Workload
from services.bench.scheduler.run import Outcome, Settings


@dataclass(frozen=True)
class Request:
    """What was asked for. ``configs`` empty: this project's own files."""

    configs: Sequence[pathlib.Path]
    workloads: Sequence[str]
    label_filter: str | None
    quick: bool
    settings: Settings
    as_json: bool = False
    html: pathlib.Path | None = None
    data_items: pathlib.Path | None = None
    list_only: bool = False


def execute(request: Request) -> int:
    """The whole command; its exit code: 0 all workloads that can be run count, 1 not all, 2 the request is wrong."""
    configs = list(request.configs) or selection.own_files()
    try:
        cases = selection.read_all(configs)
        workloads = selection.chosen(cases, request.workloads, request.label_filter, request.quick)
    except FileError as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        return 2
    if request.list_only:
        table.show_list(cases)
        return 0
    if not workloads:
        print("error: no workload is selected", file=sys.stderr)
        return 2
    settings = request.settings
    if not settings.base_port:
        settings = replace(settings, base_port=free_base_port())
    calibration = Calibration()
    outcomes: list[Outcome] = []
    try:
        with Progress() as progress, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_all(workloads, settings, progress, outcomes))
    except KeyboardInterrupt:
        print("interrupted; what follows is what was measured before", file=sys.stderr)
        _report(request, settings, configs, outcomes, calibration)
        return 130
    return 1 if _report(request, settings, configs, outcomes, calibration).invalid else 0


async def _all(workloads: Sequence[Workload], settings: Settings, progress: Progress, outcomes: list[Outcome]) -> None:
    clock, rand = SystemClock(), Rand()
    for number, workload in enumerate(workloads, 1):
        progress.begin(workload.full_name, number, len(workloads))
        outcome = await run.run(workload, settings, clock, rand, progress.now)
        outcomes.append(outcome)
        progress.ended(summary(outcome))


def summary(outcome: Outcome) -> str:
    """One line."""
    rates = ", ".join(f"{measured.pods_per_second:,.0f} pods/s" for measured in outcome.measured)
    return f"{outcome.workload.full_name}: {outcome.lacks or results.problem_of(outcome) or rates}"


def _report(
    request: Request,
    settings: Settings,
    configs: Sequence[pathlib.Path],
    outcomes: Sequence[Outcome],
    calibration: Calibration,
) -> Report:
    parameters = {
        "configs": [path.name for path in configs],
        "workloads": list(request.workloads),
        "labels": request.label_filter,
        "quick": request.quick,
        "tenant_partitions": settings.tenant_partitions,
        "resource_partitions": settings.resource_partitions,
        "creators": settings.creators,
        "create_batch": settings.create_batch,
        "timeout_seconds": settings.timeout_s,
    }
    report = results.report(parameters, outcomes)
    report.figures |= calibration.figures()
    if request.data_items is not None:
        request.data_items.write_text(perfdash.dumps(outcomes))
    if request.html is not None:
        request.html.write_text(page.render(report, outcomes, batched=settings.create_batch > 1))
    if request.as_json:
        print(report.dumps())
    else:
        table.show(report, outcomes, batched=settings.create_batch > 1)
    for outcome in outcomes:
        if problem := results.problem_of(outcome):
            print(f"error: {problem}", file=sys.stderr)
    return report
