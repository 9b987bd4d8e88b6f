"""``ursa bench density`` and ``ursa bench load``: the command line. What they do is imported when they are run."""

from __future__ import annotations

from typing import Annotated

import typer

from services.bench.output import Output, OutputOption
from services.bench.player import options
from services.bench.player.options import PACE, PODS, Common, Files


def register(app: typer.Typer) -> None:
    """Add them to ``ursa bench``."""
    app.command()(density)
    app.command()(load)


def density(
    nodes: options.Nodes = None,
    tenant_partitions: options.TenantPartitions = None,
    resource_partitions: options.ResourcePartitions = None,
    hollow_hosts: options.HollowHosts = None,
    start_delay_ms: options.StartDelay = None,
    up_timeout: options.UpTimeout = None,
    base_port: options.BasePort = 0,
    log_level: options.LogLevel = "warning",
    home: options.Home = None,
    keep: options.Keep = False,
    pods_per_node: options.PodsPerNode = None,
    pods: options.Pods = None,
    tenants: options.Tenants = None,
    namespaces: options.Namespaces = None,
    create_batch: options.CreateBatch = None,
    short_lived: options.ShortLived = None,
    lifetime: options.Lifetime = None,
    latency_pods: Annotated[
        int | None, options.option("Latency pods: one a node, of at most so many (100); 0: none.", PODS, least=0)
    ] = None,
    delete: Annotated[
        bool | None,
        typer.Option(
            "--delete/--no-delete",
            help="In the end delete every pod, and time that (no).",
            show_default=False,
            rich_help_panel=PODS,
        ),
    ] = None,
    quick: options.Quick = False,
    rate: Annotated[
        float | None, options.option("Pods per second while saturating; 0: as fast as it goes (0).", PACE, least=0)
    ] = None,
    duration: Annotated[
        float | None, options.option("Saturate for so many seconds at --rate, whatever that makes.", PACE, least=0.1)
    ] = None,
    latency_rate: Annotated[float | None, options.option("Latency pods per second (10).", PACE, least=0)] = None,
    creators: options.Creators = None,
    hold: options.Hold = None,
    timeout: options.Timeout = None,
    seed: options.Seed = None,
    record: options.Record = None,
    replay: options.Replay = None,
    speed: options.Speed = 1.0,
    html: options.Html = None,
    json: options.Json = None,
    data_items: options.DataItems = None,
    keep_logs: options.KeepLogs = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Fill hollow nodes with pods and time each one's way from create to Running, stage by stage.

    [bold]Saturate:[/] so many pods per node are created, at --rate or as fast as it goes, and waited for; --hold rests.
    [bold]Latency:[/] while the cluster is full, one pod a node is started at an even pace, as Kubernetes' density test
    does. [bold]Delete[/] (if asked for): everything goes away again.

    Start-up counts from the time a create was due until a watch of every pod, in a process of its own, shows the pod
    Running. A run counts, and the exit code is 0, only if each acknowledged pod ran, once, on a node that exists,
    nothing was lost or bound twice, and a consistent list says the same in the end. [bold]pod_startup[/] is that of
    paced pods (of all pods if nothing was paced), [bold]stage_…[/] is where the time went, [bold]api_…[/] is what the
    servers measured, [bold]player_…[/] what the player saw, [bold]driver_late_p99[/] how late the player itself was.

    Examples:

    [cyan]ursa bench density --quick --html density.html[/]

    [cyan]ursa bench density --nodes 5000 --rate 200 --duration 300 --latency-pods 0[/]   pod start-up at 200 pods/s

    [cyan]ursa bench density --nodes 5000 --create-batch 100[/]   how fast 150,000 pods run

    [cyan]ursa bench density --nodes 500 --rate 50 --short-lived 0.5 --record day.jsonl[/]   then: --replay day.jsonl
    """
    asked: dict[str, object] = {
        "nodes": nodes,
        "tenant_partitions": tenant_partitions,
        "resource_partitions": resource_partitions,
        "hollow_hosts": hollow_hosts,
        "start_delay_ms": start_delay_ms,
        "up_timeout_s": up_timeout,
        "pods_per_node": pods_per_node,
        "pods": pods,
        "tenants": tenants,
        "namespaces": namespaces,
        "create_batch": create_batch,
        "short_lived": short_lived,
        "lifetime_s": lifetime,
        "latency_pods": latency_pods,
        "latency_rate": latency_rate,
        "delete": delete,
        "rate": rate,
        "duration_s": duration,
        "creators": creators,
        "hold_s": hold,
        "timeout_s": timeout,
        "seed": seed,
    }
    files = Files(html, json, data_items, record, replay)
    common = Common(files, quick, output is Output.JSON, speed, base_port, log_level, home, keep, keep_logs)
    _execute("density", common, asked)


def load(
    nodes: options.Nodes = None,
    tenant_partitions: options.TenantPartitions = None,
    resource_partitions: options.ResourcePartitions = None,
    hollow_hosts: options.HollowHosts = None,
    start_delay_ms: options.StartDelay = None,
    up_timeout: options.UpTimeout = None,
    base_port: options.BasePort = 0,
    log_level: options.LogLevel = "warning",
    home: options.Home = None,
    keep: options.Keep = False,
    workloads: Annotated[
        str | None, options.option("replicasets, or pods that the player makes itself (replicasets).", PODS)
    ] = None,
    pods_per_node: options.PodsPerNode = None,
    pods: options.Pods = None,
    tenants: options.Tenants = None,
    namespaces: options.Namespaces = None,
    create_batch: options.CreateBatch = None,
    services: Annotated[
        bool | None,
        typer.Option(
            "--services/--no-services",
            help="A Service and an EndpointSlice for each workload (no).",
            show_default=False,
            rich_help_panel=PODS,
        ),
    ] = None,
    short_lived: options.ShortLived = None,
    lifetime: options.Lifetime = None,
    delete: Annotated[
        bool | None,
        typer.Option(
            "--delete/--no-delete",
            help="In the end delete everything, and time that (yes).",
            show_default=False,
            rich_help_panel=PODS,
        ),
    ] = None,
    quick: options.Quick = False,
    rate: Annotated[
        float | None, options.option("API requests per second; 0: as fast as they go (50).", PACE, least=0)
    ] = None,
    creators: options.Creators = None,
    hold: options.Hold = None,
    timeout: options.Timeout = None,
    seed: options.Seed = None,
    record: options.Record = None,
    replay: options.Replay = None,
    speed: options.Speed = 1.0,
    html: options.Html = None,
    json: options.Json = None,
    data_items: options.DataItems = None,
    keep_logs: options.KeepLogs = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create, scale, update and delete many workloads of three sizes at an even rate of API requests.

    As Kubernetes' load test: a quarter of the pods is in workloads of 250, a quarter in those of 30, half in those of
    5. Each is a ReplicaSet, or pods that the player makes and deletes itself (--workloads pods), spread over tenants,
    namespaces and tenant partitions. [bold]create[/], [bold]scale[/] (to 50-150 %), [bold]update[/] (a label),
    [bold]delete[/]: each step waits until exactly the wanted pods are there and run. --short-lived adds batch jobs
    that end by themselves beside the services.

    What counts, and what the figures mean, is said by [cyan]ursa bench density --help[/]. Pods that a controller made
    start when the watch first shows them: [bold]workload_pod_startup[/].

    Examples:

    [cyan]ursa bench load --quick[/]

    [cyan]ursa bench load --nodes 500 --rate 100 --services --short-lived 0.2 --html load.html[/]

    [cyan]ursa bench load --workloads pods --tenants 5 --namespaces 4 --record load.jsonl[/]

    [cyan]ursa bench load --replay load.jsonl --speed 2[/]   the same requests in half the time, the figures compared
    """
    if workloads not in (None, "replicasets", "pods"):
        raise typer.BadParameter(f"{workloads!r} is neither replicasets nor pods", param_hint="--workloads")
    asked: dict[str, object] = {
        "nodes": nodes,
        "tenant_partitions": tenant_partitions,
        "resource_partitions": resource_partitions,
        "hollow_hosts": hollow_hosts,
        "start_delay_ms": start_delay_ms,
        "up_timeout_s": up_timeout,
        "workloads": workloads,
        "pods_per_node": pods_per_node,
        "pods": pods,
        "tenants": tenants,
        "namespaces": namespaces,
        "create_batch": create_batch,
        "services": services,
        "short_lived": short_lived,
        "lifetime_s": lifetime,
        "delete": delete,
        "rate": rate,
        "creators": creators,
        "hold_s": hold,
        "timeout_s": timeout,
        "seed": seed,
    }
    files = Files(html, json, data_items, record, replay)
    common = Common(files, quick, output is Output.JSON, speed, base_port, log_level, home, keep, keep_logs)
    _execute("load", common, asked)


def _execute(benchmark: str, common: Common, asked: dict[str, object]) -> None:
    common.files.check()
    from services.bench.player import command
    from services.bench.player.parameters import Impossible

    try:
        raise typer.Exit(command.execute(benchmark, common, asked))
    except Impossible as wrong:
        raise typer.BadParameter(str(wrong), param_hint=f"--{wrong.name.replace('_', '-')}") from wrong
