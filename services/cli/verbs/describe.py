"""``ursa describe``: everything about an object on one page, its events with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.api import kinds
from services.base.clock import SystemClock
from services.cli.cluster import SYSTEM_TENANT, Cluster, is_unreachable
from services.cli.describing import describe as text_of
from services.cli.errors import CliError
from services.cli.items import Item
from services.cli.selection import Wanted
from services.cli.streams import Streams
from services.cli.verbs import fetch
from services.cli.verbs.fetch import Query
from services.cli.verbs.scope import Where
from services.rpc.status import StatusError


@dataclass(frozen=True)
class Request:
    wanted: Sequence[Wanted]
    where: Where
    query: Query = field(default_factory=Query)
    events: bool = True


async def describe(cluster: Cluster, request: Request, streams: Streams) -> int:
    """Print one page for each object; the exit code."""
    failures: list[CliError] = []
    printed = 0
    for wanted in request.wanted:
        found = await fetch.find(cluster, wanted, request.where, request.query)
        failures += found.failures
        for item in found.items:
            events = await _events(cluster, item) if request.events else []
            if printed:
                streams.out("\n")
            ledger = await _ledger(cluster, item)
            for line in text_of(item, events, SystemClock().time(), ledger):
                streams.out(line)
            printed += 1
    if not printed and not failures:
        streams.note("No resources found")
    return streams.fail(failures, partial=printed > 0)


async def _ledger(cluster: Cluster, item: Item) -> Any:
    """The capacity ledger of a node; None for everything else, and where there is none."""
    if item.kind is not kinds.NODES:
        return None
    try:
        return await cluster.clients(item.partition).capacity_ledgers.get(item.metadata.name)
    except StatusError as failure:
        if is_unreachable(failure) or failure.reason == "NotFound":
            return None
        raise


async def _events(cluster: Cluster, item: Item) -> list[Any]:
    """Events about this object, by UID. None of them is worth failing for: an unreachable store just has none."""
    metadata = item.metadata
    if not item.partition.kind or item.kind is kinds.EVENTS:
        return []
    selector = f"involvedObject.kind={item.kind.name},involvedObject.name={metadata.name}"
    try:
        listing = await cluster.clients(item.partition).events.list(
            tenant=metadata.tenant or SYSTEM_TENANT, namespace=metadata.namespace, field_selector=selector
        )
    except StatusError as failure:
        if is_unreachable(failure) or failure.reason == "NotFound":
            return []
        raise
    return [event for event in listing.items if event.involved_object.uid in ("", metadata.uid, metadata.name)]
