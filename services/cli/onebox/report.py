"""What ``ursa up`` and ``ursa status`` print."""

from __future__ import annotations

import pathlib
import shlex
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from services.base.clock import SystemClock
from services.cli import context as contexts
from services.cli.ages import human
from services.cli.context import Context
from services.cli.errors import OK, REFUSED, UNREACHABLE, UsageError
from services.cli.onebox import status as statuses
from services.cli.onebox.health import Health
from services.cli.onebox.home import Home
from services.cli.output import as_json, as_yaml, table

NOT_READY = "no"
NOTHING: dict[str, Any] = {"partitions": [], "components": [], "nodes": {}, "pods": {}}
PHASES = ("Pending", "Running", "Succeeded", "Failed", "Unknown")


def after_up(context: Context, health: Health, home: Home) -> None:
    """The tables of a cluster that has come up, and what to try next."""
    console = Console(highlight=False)
    rows = [
        (one.name, one.kind, one.endpoint, _nodes(health, one.name), _tenants(health, one.name))
        for one in context.partitions
    ]
    _print(console, ("PARTITION", "KIND", "GRPC", "NODES READY", "TENANTS"), rows)
    if any(health.pods.values()):
        _print(console, ("TENANT", "TP", *_phases(health.pods)), _pod_rows(health.pods, health.placements))
    tenant = next(iter(health.pods), None)
    commands = (
        ("ursa get pods --all-tenants -o wide", "every pod, its tenant, node and partitions"),
        ("ursa get nodes", "the nodes of all resource partitions"),
        (f"ursa describe pods -A --tenant {tenant}", "everything about a tenant's pods")
        if tenant
        else ("ursa create tenant acme", "make a tenant"),
    )
    console.print("\nTry next:")
    if home.root != Home.at(None).root:
        console.print(f"  [bold]export URSA_HOME={shlex.quote(str(home.root))}[/bold]", soft_wrap=True)
    program = _program()
    for command, meaning in commands:
        text = command.replace("ursa", program, 1)
        console.print(f"  [bold]{text:<{37 + len(program) - len('ursa')}}[/bold]  {meaning}", soft_wrap=True)


def _program() -> str:
    """How this person can call the command: by name where it is on PATH, else as it was called now."""
    called = pathlib.Path(sys.argv[0])
    found = shutil.which("ursa")
    return "ursa" if called.name != "ursa" or (found and called.absolute() == pathlib.Path(found)) else str(called)


def status(home: pathlib.Path | None, context: pathlib.Path | None, format: str) -> int:
    """Print the status; the exit code."""
    place = Home(context.absolute().parent) if context else Home.at(home)
    try:
        where = contexts.load(context or place.context_file)
    except UsageError:
        if format == "json":
            print(as_json(NOTHING))
        raise
    found = statuses.gather(place, where)
    if format == "json":
        print(as_json(found.document))
    elif format == "yaml":
        print(as_yaml(found.document))
    else:
        _print_status(found, place)
    if not found.running:
        return REFUSED
    return OK if found.ready else UNREACHABLE


def _print_status(found: statuses.Status, home: Home) -> None:
    console = Console(highlight=False)
    document, now = found.document, SystemClock().time()
    if not found.running:
        console.print(f"[red]not running[/red] ({home.root}); start it with `ursa up`", soft_wrap=True)
    rows = [
        (one["name"], one["kind"], _ready(one["ready"]), one["endpoint"], one["etcd"], one.get("reason", ""))
        for one in document["partitions"]
    ]
    _print(console, ("PARTITION", "KIND", "READY", "GRPC", "ETCD", "REASON"), rows)
    if document["components"]:
        _print(
            console,
            ("COMPONENT", "KIND", "STATE", "READY", "PID", "RESTARTS", "FOR", "LAST EXIT"),
            [_component_row(one, now) for one in document["components"]],
        )
    if document["nodes"]:
        nodes = [
            (name, "?" if one["total"] is None else one["total"], one["ready"])
            for name, one in document["nodes"].items()
        ]
        _print(console, ("RP", "NODES", "READY"), nodes)
    if document["pods"]:
        _print(console, ("TENANT", *_phases(document["pods"])), _pod_rows(document["pods"]))


def _component_row(one: dict[str, Any], now: float) -> tuple[object, ...]:
    since = human(now - one["since"]) if one["since"] else ""
    return (
        one["name"],
        one["kind"],
        one["state"],
        _ready(one["ready"]),
        one["pid"] or "-",
        one["restarts"],
        since,
        one.get("lastExit", ""),
    )


def _print(console: Console, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table without the columns that are empty; what is not ready stands out in a terminal."""
    filled = [column for column in range(len(header)) if any(str(row[column]) for row in rows)]
    cells = [[str(row[column]) for column in filled] for row in rows]
    lines = table([header[column] for column in filled], cells)
    console.print()
    for position, line in enumerate(lines):
        style = "bold" if position == 0 else "red" if NOT_READY in cells[position - 1] else ""
        console.print(Text(line, style=style), soft_wrap=True)


def _ready(ready: bool) -> str:
    return "yes" if ready else NOT_READY


def _nodes(health: Health, partition: str) -> str:
    count = health.nodes.get(partition)
    return f"{count.ready}/{count.total}" if count else ""


def _tenants(health: Health, partition: str) -> str:
    return ", ".join(sorted(tenant for tenant, home in health.placements.items() if home == partition))


def _phases(pods: dict[str, dict[str, int]]) -> list[str]:
    seen = {phase for counts in pods.values() for phase in counts} | {"Running"}
    return [phase for phase in PHASES if phase in seen] + sorted(seen - set(PHASES))


def _pod_rows(pods: dict[str, dict[str, int]], placements: dict[str, str] | None = None) -> list[tuple[object, ...]]:
    phases = _phases(pods)
    return [
        (
            tenant,
            *((placements.get(tenant, ""),) if placements is not None else ()),
            *(counts.get(one, 0) for one in phases),
        )
        for tenant, counts in pods.items()
    ]
