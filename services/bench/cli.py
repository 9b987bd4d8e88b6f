"""``ursa bench …``: run a benchmark, print its table, or one JSON object with ``-o json``."""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import sys
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, ClassVar, Protocol, Self, TypeVar

import typer

from services.bench.chaos import command as chaos
from services.bench.heartbeat import commands as heartbeat
from services.bench.output import Output, OutputOption, print_table
from services.bench.player import commands as player
from services.bench.report import Report

app = typer.Typer(
    name="bench",
    no_args_is_help=True,
    help="Measure the control plane. Starts a cluster of its own, on its own ports, and leaves nothing behind.",
)


def _asked(what: str, *, least: float, most: float | None = None) -> Any:
    """An option of what a benchmark's parameters say unless it is given."""
    return typer.Option(help=what, show_default=False, min=least, max=most)


QuickOption = Annotated[bool, typer.Option("--quick", help="At most a minute; smaller, so less steady.")]
PodBytesOption = Annotated[int | None, _asked("Stored size of a pod.", least=1)]


@app.callback()
def bench() -> None:
    """Measure the control plane. Starts a cluster of its own, on its own ports, and leaves nothing behind.

    Exit code 0 only if the run itself was valid; progress goes to standard error.
    """


player.register(app)
heartbeat.register(app)
chaos.register(app)


@app.command()
def storage(
    quick: QuickOption = False,
    creates: Annotated[int | None, _asked("Unary creates.", least=1)] = None,
    batch_creates: Annotated[int | None, _asked("Creates in batches.", least=1)] = None,
    batch_size: Annotated[int | None, _asked("Pods a batch.", least=1, most=1000)] = None,
    in_flight: Annotated[int | None, _asked("Unary calls at a time.", least=1)] = None,
    pod_bytes: PodBytesOption = None,
    puts: Annotated[int | None, _asked("Single etcd puts.", least=1)] = None,
    echoes: Annotated[int | None, _asked("Calls of the echo server.", least=1)] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write pods one by one and in batches, beside raw etcd puts and a bare echo server, with the same client."""
    from services.bench import storage as driver

    parameters = _chosen(
        driver.StorageParameters(),
        quick,
        creates=creates,
        batch_creates=batch_creates,
        batch_size=batch_size,
        in_flight=in_flight,
        pod_bytes=pod_bytes,
        puts=puts,
        echoes=echoes,
    )
    finish(lambda: driver.run(parameters, progress), output)


@app.command()
def watch(
    quick: QuickOption = False,
    watchers: Annotated[int | None, _asked("Watchers in the large phases.", least=2)] = None,
    creates: Annotated[int | None, _asked("Pods a throughput phase.", least=1)] = None,
    rate: Annotated[float | None, _asked("Writes/s for latency.", least=1)] = None,
    latency_seconds: Annotated[float | None, _asked("Of each latency phase.", least=0.5)] = None,
    node_watches: Annotated[int | None, _asked("Watches of a node name.", least=1)] = None,
    node_events: Annotated[int | None, _asked("Pods for those.", least=1)] = None,
    idle_watches: Annotated[int | None, _asked("Watches that see nothing.", least=1)] = None,
    idle_seconds: Annotated[float | None, _asked("For how long.", least=1)] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Deliver events to a thousand watchers: how many a second, how late, and what an idle watch costs."""
    from services.bench import watch as driver

    parameters = _chosen(
        driver.WatchParameters(),
        quick,
        watchers=watchers,
        creates=creates,
        writes_per_second=rate,
        latency_seconds=latency_seconds,
        node_watches=node_watches,
        node_events=node_events,
        idle_watches=idle_watches,
        idle_seconds=idle_seconds,
    )
    finish(lambda: driver.run(parameters, progress), output)


@app.command()
def ramp(
    quick: QuickOption = False,
    rate: Annotated[float | None, _asked("Writes/s.", least=1)] = None,
    write_seconds: Annotated[float | None, _asked("Of each step.", least=0.5)] = None,
    first: Annotated[int | None, _asked("Watches of the first step; 25 times as many of one node.", least=1)] = None,
    most: Annotated[int | None, _asked("Of the last, should nothing break before.", least=1)] = None,
    memory_mb: Annotated[float | None, _asked("What the server may take.", least=1)] = None,
    budget: Annotated[float | None, _asked("Seconds for all of it.", least=1)] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Double the watches of one server until deliveries are late, something fails or memory runs out; at most 5 min."""
    from services.bench import ramp as driver

    parameters = _chosen(
        driver.RampParameters(),
        quick,
        writes_per_second=rate,
        write_seconds=write_seconds,
        first=first,
        most=most,
        memory_mb_max=memory_mb,
        budget_s=budget,
    )
    finish(lambda: driver.run(parameters, progress), output)


@app.command("list")
def list_(
    quick: QuickOption = False,
    pods: Annotated[int | None, _asked("Pods in the partition.", least=1)] = None,
    pod_bytes: PodBytesOption = None,
    lists: Annotated[int | None, _asked("Single lists in a row.", least=1)] = None,
    at_once: Annotated[int | None, _asked("Lists together.", least=1, most=16)] = None,
    rounds: Annotated[int | None, _asked("How often that.", least=1)] = None,
    restarts: Annotated[int | None, _asked("Kills of the server.", least=1)] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List a hundred thousand pods, once and eight times at once; what they weigh; a restart under them."""
    from services.bench import listing as driver

    parameters = _chosen(
        driver.ListParameters(),
        quick,
        pods=pods,
        pod_bytes=pod_bytes,
        lists=lists,
        at_once=at_once,
        rounds=rounds,
        restarts=restarts,
    )
    finish(lambda: driver.run(parameters, progress), output)


@app.command()
def scheduler(
    config: Annotated[
        list[pathlib.Path] | None,
        typer.Option(help="A scheduler_perf workload file; Ursa's own if not given.", show_default=False),
    ] = None,
    workload: Annotated[
        list[str] | None, typer.Option(help="NAME/SIZE, NAME or a pattern; repeatable.", show_default=False)
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="a,+b,-c: with a and b, without c (performance).", show_default=False)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only the smallest size of each.")] = False,
    creators: Annotated[int, typer.Option(min=1, help="Parallel creators.")] = 30,
    create_batch: Annotated[int, typer.Option(min=1, max=1000, help="Pods per create call; 1 is a unary create.")] = 1,
    tenant_partitions: Annotated[int, typer.Option(min=1, max=16)] = 1,
    resource_partitions: Annotated[int, typer.Option(min=1, max=16)] = 1,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that each workload may take.")] = 600,
    base_port: Annotated[int, typer.Option(min=0, help="First of the ports; 0: free ones are found.")] = 0,
    data_items: Annotated[
        pathlib.Path | None, typer.Option(help="Write perf-dash's JSON file there.", show_default=False)
    ] = None,
    html: Annotated[
        pathlib.Path | None, typer.Option(help="Write a page with plots there.", show_default=False)
    ] = None,
    keep_logs: Annotated[
        pathlib.Path | None, typer.Option(help="Copy the processes' logs there.", show_default=False)
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Say which workloads there are, and run none.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run kube-scheduler's own workload files unmodified: pods/s from the first create to the last bind."""
    from services.bench.scheduler import command
    from services.bench.scheduler.run import Settings

    settings = Settings(tenant_partitions, resource_partitions, creators, create_batch, timeout, base_port, keep_logs)
    request = command.Request(
        config or (), workload or (), labels, quick, settings, output is Output.JSON, html, data_items, list_
    )
    raise typer.Exit(command.execute(request))


class _Parameters(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def quick(self) -> Self: ...


P = TypeVar("P", bound=_Parameters)


def _chosen(full: P, quick: bool, **asked: float | None) -> P:
    """``full`` or its quick form, with what was asked for (None: not given) in its place."""
    base = full.quick() if quick else full
    return dataclasses.replace(base, **{name: value for name, value in asked.items() if value is not None})


def progress(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def finish(work: Callable[[], Coroutine[Any, Any, Report]], output: Output) -> None:
    """Run a benchmark to its end, print it, and exit non-zero if it does not count."""
    import uvloop

    from services.bench.cluster import ClusterFailed
    from services.bench.http2 import CallFailed
    from services.rpc.status import StatusError

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(work())
    except (ClusterFailed, CallFailed, StatusError) as failure:
        print(f"error: {failure}", file=sys.stderr)
        raise typer.Exit(1) from failure
    if output is Output.JSON:
        print(report.dumps())
    else:
        print_table(report)
    if report.invalid:
        print(f"error: this run does not count: {report.invalid}", file=sys.stderr)
        raise typer.Exit(1)
