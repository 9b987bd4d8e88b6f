"""The commands of the one-box: up, down, status, restart."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli import options
from services.cli.options import ONEBOX, NodeRuntime, StatusFormat


def register(app: typer.Typer) -> None:
    """Add them to the ``ursa`` command."""
    for function in (up, down, status, restart):
        app.command(rich_help_panel=ONEBOX)(function)


def up(
    tenant_partitions: Annotated[int | None, typer.Option(help="How many (2).", show_default=False)] = None,
    resource_partitions: Annotated[int | None, typer.Option(help="How many (2).", show_default=False)] = None,
    nodes: Annotated[
        int | None,
        typer.Option(help="Nodes per resource partition (10).", show_default=False),
    ] = None,
    schedulers: Annotated[
        int | None,
        typer.Option(help="Schedulers per tenant partition, of which one works (1).", show_default=False),
    ] = None,
    base_port: Annotated[int | None, typer.Option(help="First of all ports (7100).", show_default=False)] = None,
    home: options.HomeDirectory = None,
    examples: Annotated[bool, typer.Option("--examples/--no-examples", help="Apply examples/ for two tenants.")] = True,
    wait_seconds: Annotated[float, typer.Option(min=0, help="How long to wait until all is ready.")] = 120.0,
    start_delay_ms: Annotated[
        int | None, typer.Option(help="What a hollow container takes to start (0).", show_default=False)
    ] = None,
    sample_ratio: Annotated[
        float | None, typer.Option(help="Part of the creates that is traced (0.01).", show_default=False)
    ] = None,
    otlp_endpoint: Annotated[
        str | None, typer.Option(help="Where traces go, e.g. http://127.0.0.1:4317.", show_default=False)
    ] = None,
    runtime: Annotated[
        NodeRuntime | None,
        typer.Option(
            help="hollow nodes pretend; process nodes run the commands of pods on this machine, as you (hollow).",
            show_default=False,
        ),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error (info).", show_default=False)
    ] = None,
    hollow_hosts: Annotated[
        int | None, typer.Option(help="Processes that share the hollow nodes (1).", show_default=False)
    ] = None,
    pod_timeline: Annotated[
        bool | None,
        typer.Option(
            "--pod-timeline/--no-pod-timeline",
            help="Schedulers and kubelets write what they do with each pod, and when, to timelines/ (no).",
            show_default=False,
        ),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="COMPONENT.FIELD=VALUE",
            help="A field of the configuration of a component, or of all of a kind; repeatable.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start a whole cluster on this machine and wait until it is ready. Runs again safely.

    Settings that are not given are those of the last time; the data of earlier runs is kept.
    """
    from services.cli.onebox import report
    from services.cli.onebox.home import Home
    from services.cli.onebox.progress import Progress
    from services.cli.onebox.up import Wanted
    from services.cli.onebox.up import up as bring_up

    asked: dict[str, object] = {
        "tenant_partitions": tenant_partitions,
        "resource_partitions": resource_partitions,
        "nodes": nodes,
        "schedulers": schedulers,
        "base_port": base_port,
        "sample_ratio": sample_ratio,
        "otlp_endpoint": otlp_endpoint,
        "start_delay_ms": start_delay_ms,
        "log_level": log_level,
        "runtime": runtime.value if runtime else None,
        "hollow_hosts": hollow_hosts,
        "pod_timeline": pod_timeline,
        "overrides": tuple(override) if override else None,
    }
    with Progress() as progress:
        context, health = bring_up(Wanted(Home.at(home), asked, examples, wait_seconds), progress)
    report.after_up(context, health, Home.at(home))


def down(home: options.HomeDirectory = None) -> None:
    """End every process of the cluster; its data stays."""
    from services.cli.onebox import end
    from services.cli.onebox.home import Home
    from services.cli.onebox.progress import Progress

    with Progress() as progress:
        end.down(Home.at(home), progress)


def status(
    output: Annotated[StatusFormat, typer.Option("--output", "-o", help="How to print.")] = StatusFormat.TABLE,
    home: options.HomeDirectory = None,
    context: options.ContextFile = None,
) -> None:
    """Partitions, components, nodes and pods. Exit code 0 if all is ready, 3 if some is not, 1 if nothing runs."""
    from services.cli.onebox import report

    raise typer.Exit(report.status(home, context, output.value))


def restart(
    component: Annotated[str, typer.Argument(metavar="COMPONENT", help="As in `ursa status`.")],
    home: options.HomeDirectory = None,
) -> None:
    """End a component's process and start it again."""
    from services.cli.onebox import control
    from services.cli.onebox.home import Home

    for _ in control.ask(Home.at(home).socket_file, control.Request("restart", component)):
        print(f"{component} restarted")
