"""``ursa bench …``: run a benchmark, print its table, or one JSON object with ``-o json``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Annotated, Any

import typer

from services.bench.report import Report

app = typer.Typer(
    name="bench",
    no_args_is_help=True,
    help="Measure the control plane. Starts a cluster of its own, on its own ports, and leaves nothing behind.",
)


class Output(StrEnum):
    """How the result is printed."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("-o", "--output", help="table, or json: one object on standard output.")]


@app.callback()
def bench() -> None:
    """Measure the control plane. Starts a cluster of its own, on its own ports, and leaves nothing behind.

    Exit code 0 only if the run itself was valid; progress goes to standard error.
    """


@app.command()
def density(
    nodes: Annotated[int, typer.Option(min=1, help="Hollow nodes in all, spread over the resource partitions.")] = 200,
    pods: Annotated[int, typer.Option(min=1, help="Pods in all, spread over one tenant per tenant partition.")] = 1000,
    tenant_partitions: Annotated[int, typer.Option(min=1, max=4)] = 2,
    resource_partitions: Annotated[int, typer.Option(min=1, max=4)] = 2,
    creators: Annotated[int, typer.Option(min=1, help="Parallel creators.")] = 30,
    create_batch: Annotated[int, typer.Option(min=1, max=1000, help="Pods per create call; 1 is a unary create.")] = 1,
    rate: Annotated[float, typer.Option(min=0, help="Pods per second; 0: as fast as they go.")] = 0.0,
    start_delay_ms: Annotated[int, typer.Option(min=0, help="What a hollow container takes to start.")] = 0,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds after the last create; then the run is invalid.")
    ] = 120,
    output: OutputOption = Output.TABLE,
) -> None:
    """Start pods on hollow nodes and time each one's way from create to Running, stage by stage."""
    from services.bench import density as driver

    if nodes % resource_partitions:
        raise typer.BadParameter(
            f"must be a multiple of the {resource_partitions} resource partitions", param_hint="--nodes"
        )
    parameters = driver.DensityParameters(
        nodes=nodes,
        pods=pods,
        tenant_partitions=tenant_partitions,
        resource_partitions=resource_partitions,
        creators=creators,
        create_batch=create_batch,
        pods_per_second=rate,
        start_delay_ms=start_delay_ms,
        timeout_seconds=timeout,
    )
    finish(lambda: driver.run(parameters, progress), output)


def progress(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def finish(work: Callable[[], Coroutine[Any, Any, Report]], output: Output) -> None:
    """Run a benchmark to its end, print it, and exit non-zero if it does not count."""
    import uvloop

    from services.bench.cluster import ClusterFailed
    from services.rpc.status import StatusError

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(work())
    except (ClusterFailed, StatusError) as failure:
        print(f"error: {failure}", file=sys.stderr)
        raise typer.Exit(1) from failure
    if output is Output.JSON:
        print(report.dumps())
    else:
        _print_table(report)
    if report.invalid:
        print(f"error: this run does not count: {report.invalid}", file=sys.stderr)
        raise typer.Exit(1)


def _print_table(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    document = report.to_json()
    table = Table(title=f"ursa bench {report.benchmark}", title_justify="left")
    table.add_column("figure")
    for column in ("value", "reference", "ratio"):
        table.add_column(column, justify="right")
    table.add_column("unit")
    for name, figure in document["figures"].items():
        cells = [f"{figure[key]:,.4g}" if key in figure else "" for key in ("value", "reference", "ratio")]
        table.add_row(name, *cells, figure["unit"])
    console = Console()
    console.print(table)
    machine = document["machine"]
    console.print(f"commit {document['commit']}; {machine['cpus']} CPUs, {machine['cpu_model']}", highlight=False)
