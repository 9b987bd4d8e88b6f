"""``ursa hollow``: nodes without machines, for a cluster that runs."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from services.cli import options
from services.cli.options import ONEBOX

_DIST = "100ms, 50ms-2s (uniform), lognormal:200ms,0.5 or exp:1s."
_SPEC = "SHARE[,after=DURATION][,for=DURATION], as in 1%,after=60s,for=600s."

app = typer.Typer(help="Hollow nodes that join a running cluster; `disturb` and `restore` them while they run.")


class Kind(enum.StrEnum):
    DEATH = "death"
    CUT = "cut"
    CRASH = "crash"


At = Annotated[
    list[str] | None,
    typer.Option("--at", metavar="HOST:PORT", help="The host's address; the one-box's by default.", show_default=False),
]
NodeNames = Annotated[
    list[str] | None, typer.Option("--node", metavar="NAME", help="This node; repeatable.", show_default=False)
]
Rp = Annotated[str, typer.Option("--rp", metavar="NAME", help="Only nodes of this partition.", show_default=False)]


def register(ursa: typer.Typer) -> None:
    """Add them to the ``ursa`` command."""
    ursa.add_typer(app, name="hollow", rich_help_panel=ONEBOX)


@app.callback(invoke_without_command=True)
def hollow(
    typer_context: typer.Context,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="How many in all, spread over the partitions.", show_default=False)
    ] = None,
    rp: Annotated[
        list[str] | None,
        typer.Option("--rp", metavar="NAME", help="A resource partition; repeatable (all).", show_default=False),
    ] = None,
    name_prefix: Annotated[str, typer.Option(help="Nodes are <prefix><partition>-<number>.")] = "joined-",
    zones: Annotated[str, typer.Option(metavar="A,B,C", help="Given to the nodes in turn.", show_default=False)] = "",
    capacity: Annotated[str, typer.Option(help="Of each node.")] = "cpu=32,memory=256Gi,pods=110",
    start_delay: Annotated[str, typer.Option(metavar="DIST", help=f"What containers take to start: {_DIST}")] = "0",
    stop_delay: Annotated[str, typer.Option(metavar="DIST", help="What they take to stop.")] = "0",
    crash_rate: Annotated[float, typer.Option(min=0, help="Kubelet crashes per node and hour.")] = 0.0,
    pod_failure_rate: Annotated[str, typer.Option(metavar="SHARE", help="Part of the starts that fail.")] = "0",
    death: Annotated[str, typer.Option(metavar="SPEC", help=f"Nodes that die: {_SPEC}", show_default=False)] = "",
    cut: Annotated[str, typer.Option(metavar="SPEC", help="Nodes cut off: as above.", show_default=False)] = "",
    proxy: Annotated[bool, typer.Option("--proxy", help="A hollow kube-proxy on the nodes.")] = False,
    proxy_share: Annotated[str, typer.Option(metavar="SHARE", help="With --proxy: on so many of them.")] = "100%",
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="For `disturb` (a free port of loopback).", show_default=False)
    ] = "",
    delete_on_exit: Annotated[bool, typer.Option("--delete-on-exit", help="Delete the nodes in the end.")] = False,
    seed: Annotated[int | None, typer.Option(help="Makes chance repeatable.", show_default=False)] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
    context: options.ContextFile = None,
) -> None:
    """Join hollow nodes to the running cluster, in the foreground, until Ctrl-C."""
    if typer_context.invoked_subcommand is not None:
        return
    from services.cli import context as contexts
    from services.cli.errors import UsageError
    from services.cli.hollow import plan, session
    from services.cli.onebox.progress import Progress

    if nodes is None:
        raise UsageError("--nodes is missing: how many hollow nodes?", hint="see `ursa hollow --help`")
    asked = plan.Options(
        nodes=nodes,
        rps=tuple(rp or ()),
        name_prefix=name_prefix,
        zones=tuple(zone for zone in zones.split(",") if zone),
        capacity=capacity,
        start_delay=start_delay,
        stop_delay=stop_delay,
        crash_rate=crash_rate,
        pod_failure_rate=pod_failure_rate,
        death=death,
        cut=cut,
        proxy_share=proxy_share if proxy else "0",
        listen=plan.addresses([listen])[0] if listen else "",
        delete_on_exit=delete_on_exit,
        seed=seed,
        log_level=log_level,
    )
    with Progress() as progress:
        session.run(asked, contexts.load(context), progress)


@app.command()
def disturb(
    kind: Annotated[Kind, typer.Option(help="death: with all that ran; cut: no network; crash: the kubelet only.")],
    share: Annotated[str, typer.Option(help="Part of the nodes, 1% or 0.01.", show_default=False)] = "",
    node: NodeNames = None,
    duration: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="Until `restore` if 0; a crash is over at once.")
    ] = "0",
    seed: Annotated[int | None, typer.Option(help="The same seed takes the same nodes.", show_default=False)] = None,
    rp: Rp = "",
    at: At = None,
    home: options.HomeDirectory = None,
) -> None:
    """Let hollow nodes die, cut them off, or crash their kubelets; prints their names."""
    from services.api.pb.ursa.kubelet.v1 import hollow_pb2
    from services.cli.errors import UsageError
    from services.cli.hollow import disturbing, plan
    from services.cli.onebox.home import Home
    from services.cli.running import run
    from services.kubelet.distribution import duration_s

    if bool(share) == bool(node):
        raise UsageError("either --share or --node says which nodes")
    try:
        seconds = duration_s(duration)
    except ValueError as failure:
        raise UsageError(f"--for: {failure}") from failure
    request = hollow_pb2.DisturbRequest(
        kind=hollow_pb2.DisturbanceKind.Value(kind.name),
        share=plan.share("--share", share) if share else 0.0,
        nodes=node or (),
        for_seconds=seconds,
        seed=seed,
        resource_partition=rp,
    )
    hosts = plan.addresses(at) if at else disturbing.hosts_of(Home.at(home))
    for name in run(disturbing.disturb(hosts, request)):
        print(name)


@app.command()
def restore(
    node: NodeNames = None,
    rp: Rp = "",
    at: At = None,
    home: options.HomeDirectory = None,
) -> None:
    """End the disturbance of these nodes, or of all; prints their names."""
    from services.api.pb.ursa.kubelet.v1 import hollow_pb2
    from services.cli.hollow import disturbing, plan
    from services.cli.onebox.home import Home
    from services.cli.running import run

    hosts = plan.addresses(at) if at else disturbing.hosts_of(Home.at(home))
    request = hollow_pb2.RestoreRequest(nodes=node or (), resource_partition=rp)
    for name in run(disturbing.restore(hosts, request)):
        print(name)
