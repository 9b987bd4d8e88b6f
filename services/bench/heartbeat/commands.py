"""``ursa bench heartbeat``: the command line. What it does is imported when it is run."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.bench.output import Output, OutputOption, print_table, write_files
from services.bench.player import options
from services.bench.player.options import Files

if TYPE_CHECKING:
    from services.bench.heartbeat.parameters import HeartbeatParameters


def register(app: typer.Typer) -> None:
    """Add it to ``ursa bench``."""
    app.command()(heartbeat)


def _asked(what: str, *, least: float, most: float | None = None) -> Any:
    return typer.Option(help=what, show_default=False, min=least, max=most)


def heartbeat(
    nodes: Annotated[int | None, _asked("Hollow nodes in all (10,000).", least=1)] = None,
    minutes: Annotated[float | None, _asked("How long they are held Ready (10).", least=0.05)] = None,
    tenant_partitions: Annotated[int | None, _asked("How many (2).", least=1, most=16)] = None,
    resource_partitions: Annotated[int | None, _asked("How many (2).", least=1, most=16)] = None,
    hosts: Annotated[int | None, _asked("Kubelet processes that share the nodes (2).", least=1, most=16)] = None,
    renew_seconds: Annotated[float | None, _asked("Between two renewals of a lease (10).", least=0.5)] = None,
    lease_seconds: Annotated[int | None, _asked("How long a lease lasts (40).", least=1)] = None,
    settle_seconds: Annotated[float | None, _asked("From the last node Ready to the hold (15).", least=0)] = None,
    join_timeout: Annotated[float | None, _asked("Seconds until all must be Ready (600).", least=1)] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Half a minute; small, so that little of it counts.")] = False,
    html: options.Html = None,
    json: options.Json = None,
    data_items: options.DataItems = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Hollow nodes without pods: how fast they join, that all stay Ready, and what their heartbeats cost."""
    from services.bench.heartbeat.parameters import HeartbeatParameters

    asked = {
        "nodes": nodes,
        "minutes": minutes,
        "tenant_partitions": tenant_partitions,
        "resource_partitions": resource_partitions,
        "hosts": hosts,
        "renew_seconds": renew_seconds,
        "lease_seconds": lease_seconds,
        "settle_seconds": settle_seconds,
        "join_timeout_seconds": join_timeout,
    }
    base = HeartbeatParameters().quick() if quick else HeartbeatParameters()
    parameters = dataclasses.replace(base, **{name: value for name, value in asked.items() if value is not None})  # type: ignore[arg-type]
    if problem := parameters.problems():
        raise typer.BadParameter(problem)
    files = Files(html, json, data_items)
    files.check()
    raise typer.Exit(_execute(parameters, output, files))


def _execute(parameters: HeartbeatParameters, output: Output, files: Files) -> int:
    import json

    import uvloop

    from services.base.clock import SystemClock
    from services.bench.cluster import ClusterFailed
    from services.bench.heartbeat.run import run
    from services.bench.player.display import Display
    from services.rpc.status import StatusError

    try:
        with Display(SystemClock()) as display, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            results = runner.run(run(parameters, display))
        document = write_files(files, results.report, results.observations)
    except (ClusterFailed, OSError, StatusError) as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    report = results.report
    if output is Output.JSON:
        print(json.dumps(document, indent=2))
    else:
        print_table(report)
    if report.invalid:
        print(f"error: this run does not count: {report.invalid}", file=sys.stderr)
    return 1 if report.invalid else 0
