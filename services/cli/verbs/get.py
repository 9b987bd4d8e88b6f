"""``ursa get``: objects as tables or documents; what some partition could not say is a warning beside the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.base.clock import SystemClock
from services.cli import columns, output
from services.cli.cluster import Cluster
from services.cli.columns import View
from services.cli.errors import CliError, Refused
from services.cli.items import Item
from services.cli.output import Format
from services.cli.selection import Wanted
from services.cli.streams import Streams
from services.cli.verbs import fetch
from services.cli.verbs.fetch import Found, Query
from services.cli.verbs.scope import Where

Group = tuple[Wanted, list[Item]]


@dataclass(frozen=True)
class Request:
    """``wanted`` in the order asked for."""

    wanted: Sequence[Wanted]
    where: Where
    query: Query = field(default_factory=Query)
    format: Format = Format.TABLE
    labels: bool = False
    headers: bool = True
    ignore_not_found: bool = False


async def get(cluster: Cluster, request: Request, streams: Streams) -> int:
    """Print them; the exit code. Raises ``CliError``."""
    found = Found()
    groups: list[Group] = []
    for wanted in request.wanted:
        part = await fetch.find(cluster, wanted, request.where, request.query)
        groups.append((wanted, part.items))
        found.add(part)
    _print(groups, found, request, streams)
    failures = [one for one in found.failures if not (request.ignore_not_found and "(NotFound)" in one.message)]
    return streams.fail(failures, partial=bool(found.positions or found.items))


def _print(groups: Sequence[Group], found: Found, request: Request, streams: Streams) -> None:
    match request.format:
        case Format.JSON | Format.YAML:
            write = output.as_json if request.format is Format.JSON else output.as_yaml
            single = len(found.items) == 1 and len(groups) == 1 and len(groups[0][0].names) == 1
            if single:
                streams.out(write(output.document(found.items[0])))
            elif found.items or not found.failures:
                streams.out(write(output.listing(found.items)))
        case Format.NAME:
            for item in found.items:
                streams.out(item.title)
        case _:
            _print_tables(groups, found, request, streams)
    if found.cut:
        streams.note(f"only the first {request.query.limit} are shown (--limit)")


def _print_tables(groups: Sequence[Group], found: Found, request: Request, streams: Streams) -> None:
    filled = [items for _, items in groups if items]
    for position, items in enumerate(filled):
        if position:
            streams.out("")
        lines = output.item_table(items, view(request, items))
        for line in lines if request.headers else lines[1:]:
            streams.out(line)
    if not filled and not found.failures and not any(wanted.names for wanted, _ in groups):
        streams.note(_nothing([wanted for wanted, _ in groups], request.where))


def view(request: Request, items: Sequence[Item]) -> View:
    """How these objects are shown."""
    return View(
        now=SystemClock().time(),
        wide=request.format is Format.WIDE,
        tenants=request.where.all_tenants,
        namespaces=request.where.every_namespace,
        labels=request.labels,
        typed=len(request.wanted) > 1,
        colliding=columns.colliding_nodes(items),
    )


def _nothing(wanted: Sequence[Wanted], where: Where) -> str:
    namespaced = all(one.kind.namespaced for one in wanted)
    if not namespaced or where.every_namespace:
        return "No resources found"
    return f"No resources found in {where.namespace or 'default'} namespace."


def not_one(found: Found, name: str) -> CliError:
    """What to say when one object was wanted and there is not exactly one."""
    return found.failures[0] if found.failures else Refused(f"{name} not found")
