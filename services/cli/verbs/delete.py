"""``ursa delete``: by name, by selection or by file; waits until the objects are gone unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import grpc

from services.cli.cluster import Cluster, explain, is_unreachable
from services.cli.errors import CliError, Refused
from services.cli.files import Document
from services.cli.items import Item
from services.cli.selection import Wanted
from services.cli.streams import Streams
from services.cli.verbs import fetch
from services.cli.verbs.fetch import Query
from services.cli.verbs.scope import Where
from services.cli.waiting import until_async
from services.rpc.status import StatusError

PAUSE_S = 0.2


@dataclass(frozen=True)
class Request:
    """``grace_s`` None: the object's own grace period. ``policy``: Background, Foreground, Orphan, "" (Background).
    ``wait_s``: how long to wait until they are gone."""

    wanted: Sequence[Wanted]
    where: Where
    query: Query = field(default_factory=Query)
    documents: Sequence[Document] = ()
    grace_s: int | None = None
    policy: str = ""
    wait: bool = True
    wait_s: float = 120.0
    dry_run: str = "none"
    ignore_not_found: bool = False
    names_only: bool = False


async def delete(cluster: Cluster, request: Request, streams: Streams) -> int:
    """Delete them; the exit code: every object is tried, whatever becomes of the others."""
    failures: list[CliError] = []
    items: list[Item] = []
    for wanted, where in _targets(request):
        try:
            found = await fetch.find(cluster, wanted, where, request.query)
        except CliError as failure:
            failures.append(failure)
            continue
        items += found.items
        failures += [one for one in found.failures if not (request.ignore_not_found and "(NotFound)" in one.message)]
    if not items and not failures and not request.ignore_not_found:
        streams.note("No resources found")
    return streams.fail([*failures, *await delete_items(cluster, items, request, streams)])


def _targets(request: Request) -> Iterator[tuple[Wanted, Where]]:
    """What to delete and where; a file's objects in reverse, so that a namespace goes after what is in it."""
    for wanted in request.wanted:
        yield wanted, request.where
    for document in reversed(request.documents):
        metadata = document.manifest.object.metadata
        where = Where(metadata.tenant or request.where.tenant, metadata.namespace or request.where.namespace)
        yield Wanted(document.manifest.kind, (metadata.name,)), where


async def delete_items(cluster: Cluster, items: Sequence[Item], request: Request, streams: Streams) -> list[CliError]:
    """Delete these very objects (by UID, so never a successor of the same name); what went wrong."""
    failures: list[CliError] = []
    going: list[Item] = []
    for item in items:
        try:
            await _delete_one(cluster, item, request)
        except StatusError as failure:
            failures.append(explain(failure, partition=item.partition))
            continue
        _say(item, request, streams)
        going.append(item)
    if request.wait and request.dry_run == "none":
        failures += await _wait(cluster, going, request.wait_s)
    return failures


async def _delete_one(cluster: Cluster, item: Item, request: Request) -> None:
    if request.dry_run == "client":
        return
    await (
        cluster.clients(item.partition)
        .resource(item.kind)
        .delete(
            item.metadata.name,
            tenant=item.metadata.tenant,
            namespace=item.metadata.namespace,
            uid=item.metadata.uid,
            grace_period_seconds=request.grace_s,
            propagation_policy=request.policy,
            dry_run=request.dry_run == "server",
        )
    )


def _say(item: Item, request: Request, streams: Streams) -> None:
    if request.names_only:
        streams.out(item.title)
        return
    forced = " force" if request.grace_s == 0 else ""
    dry = {"none": "", "client": " (dry run)", "server": " (server dry run)"}[request.dry_run]
    streams.out(f'{item.kind.qualified} "{item.metadata.name}"{forced} deleted{dry}')
    streams.flush()


async def _wait(cluster: Cluster, items: Sequence[Item], wait_s: float) -> list[CliError]:
    left = list(items)

    async def all_gone() -> bool:
        while left and await _is_gone(cluster, left[-1]):
            left.pop()
        return not left

    if await until_async(all_gone, wait_s, pause_s=PAUSE_S):
        return []
    names = ", ".join(item.title for item in left[:5])
    return [Refused(f"still there after {wait_s:.0f} s: {names}", hint="the delete goes on; --no-wait does not wait")]


async def _is_gone(cluster: Cluster, item: Item) -> bool:
    try:
        live = (
            await cluster.clients(item.partition)
            .resource(item.kind)
            .get(item.metadata.name, tenant=item.metadata.tenant, namespace=item.metadata.namespace)
        )
    except StatusError as failure:
        if failure.code is grpc.StatusCode.NOT_FOUND:
            return True
        if is_unreachable(failure):
            return False
        raise explain(failure, partition=item.partition) from failure
    return bool(live.metadata.uid != item.metadata.uid)
