"""``ursa scale``: how many pods a workload is to have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from services.api import kinds
from services.cli.cluster import Cluster, explain
from services.cli.errors import CliError, Refused, UsageError
from services.cli.files import Document
from services.cli.items import Item
from services.cli.selection import Wanted
from services.cli.streams import Streams
from services.cli.verbs import fetch
from services.cli.verbs.fetch import Query
from services.cli.verbs.scope import Where
from services.rpc.status import StatusError

SCALABLE = (kinds.REPLICA_SETS,)


@dataclass(frozen=True)
class Request:
    """``current``: only if it asks for so many now; ``resource_version``: only if it is that version (0: any)."""

    wanted: Sequence[Wanted]
    where: Where
    replicas: int
    query: Query = field(default_factory=Query)
    documents: Sequence[Document] = ()
    current: int | None = None
    resource_version: int = 0
    dry_run: str = "none"
    names_only: bool = False


async def scale(cluster: Cluster, request: Request, streams: Streams) -> int:
    """Scale them; the exit code: every object is tried, whatever becomes of the others."""
    targets = [*_targets(request)]
    for wanted, _ in targets:
        if wanted.kind not in SCALABLE:
            known = ", ".join(kind.resource for kind in SCALABLE)
            raise UsageError(f"{wanted.kind.resource} cannot be scaled", hint=f"what can: {known}")
    failures: list[CliError] = []
    items: list[Item] = []
    for wanted, where in targets:
        try:
            found = await fetch.find(cluster, wanted, where, request.query)
        except CliError as failure:
            failures.append(failure)
            continue
        items += found.items
        failures += found.failures
    if not items and not failures:
        streams.note("No resources found")
    for item in items:
        try:
            await _scale_one(cluster, item, request)
        except StatusError as failure:
            failures.append(explain(failure, partition=item.partition))
        except CliError as failure:
            failures.append(failure)
        else:
            _say(item, request, streams)
    return streams.fail(failures)


def _targets(request: Request) -> Iterator[tuple[Wanted, Where]]:
    for wanted in request.wanted:
        yield wanted, request.where
    for document in request.documents:
        metadata = document.manifest.object.metadata
        where = Where(metadata.tenant or request.where.tenant, metadata.namespace or request.where.namespace)
        yield Wanted(document.manifest.kind, (metadata.name,)), where


async def _scale_one(cluster: Cluster, item: Item, request: Request) -> None:
    metadata, version = item.metadata, request.resource_version
    if request.current is not None:
        if item.object.spec.replicas != request.current:
            raise Refused(f"Expected replicas to be {request.current}, was {item.object.spec.replicas}")
        # What was compared is what is changed.
        version = version or metadata.resource_version
    if request.dry_run == "client":
        return
    await (
        cluster.clients(item.partition)
        .resource(item.kind)
        .patch(
            metadata.name,
            msgspec.json.encode({"spec": {"replicas": request.replicas}}).decode(),
            tenant=metadata.tenant,
            namespace=metadata.namespace,
            uid=metadata.uid,
            resource_version=version,
            dry_run=request.dry_run == "server",
        )
    )


def _say(item: Item, request: Request, streams: Streams) -> None:
    dry = {"none": "", "client": " (dry run)", "server": " (server dry run)"}[request.dry_run]
    streams.out(item.title if request.names_only else f"{item.title} scaled{dry}")
    streams.flush()
