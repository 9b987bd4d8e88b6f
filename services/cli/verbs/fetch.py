"""Finding objects: one request for each partition that has some, in pages, merged into one sequence of items."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from services.api import kinds
from services.api.kinds import Kind
from services.cli import columns
from services.cli.cluster import Answer, Cluster, explain
from services.cli.context import Partition
from services.cli.errors import CliError, Refused
from services.cli.items import Item
from services.cli.selection import Wanted
from services.cli.verbs.scope import Where
from services.client.clientset import Clientset
from services.rpc.status import StatusError

# Every partition holds a copy of the objects that name the partitions of the other kind.
REPLICATED = (kinds.RESOURCE_PARTITIONS, kinds.TENANT_PARTITIONS)


# Items, whether there are more than the limit, and the position of the list.
Page = tuple[list[Item], bool, int]


@dataclass(frozen=True)
class Query:
    """What a list is restricted to. ``limit``: objects in all, 0: no limit; ``chunk``: objects per request, 0: all."""

    labels: str = ""
    fields: str = ""
    limit: int = 0
    chunk: int = 500
    resource_version: int | None = None


@dataclass
class Found:
    """``failures``: what could not be had, in words; the rest was. ``more``: objects beyond the limit (None: unknown).
    ``positions``: the list's resource version by partition, for watching on from there."""

    items: list[Item] = field(default_factory=list)
    failures: list[CliError] = field(default_factory=list)
    cut: bool = False
    positions: dict[str, int] = field(default_factory=dict)

    def add(self, other: Found) -> None:
        self.items += other.items
        self.failures += other.failures
        self.cut = self.cut or other.cut
        self.positions |= other.positions


async def find(cluster: Cluster, wanted: Wanted, where: Where, query: Query) -> Found:
    """Objects by name or by selection. Raises ``CliError`` for a refusal; what is only unreachable is in the result."""
    if wanted.names:
        return await _by_name(cluster, wanted, where, query)
    return await _by_selection(cluster, wanted.kind, where, query)


async def targets(cluster: Cluster, kind: Kind, tenant: str) -> list[Partition]:
    """As ``Cluster.targets``, with refusals in a person's words."""
    try:
        return await cluster.targets(kind, tenant)
    except StatusError as failure:
        raise explain(failure) from failure


async def _by_selection(cluster: Cluster, kind: Kind, where: Where, query: Query) -> Found:
    tenant = await where.tenant_for(kind, cluster)
    namespace = where.namespace_for(kind)
    found = Found()

    async def one(partition: Partition, clients: Clientset) -> Page:
        return await _pages(clients, partition, kind, tenant, namespace, query)

    for answer in await _ask(cluster, await targets(cluster, kind, tenant), one):
        if answer.failure:
            found.failures.append(explain(answer.failure, partition=answer.partition))
        elif answer.value:
            items, cut, position = answer.value
            found.items += items
            found.cut = found.cut or cut
            found.positions[answer.partition.name] = position
    _settle(found, kind, query)
    return found


async def _ask(
    cluster: Cluster,
    partitions: Sequence[Partition],
    one: Callable[[Partition, Clientset], Coroutine[Any, Any, Page]],
) -> list[Answer[Page]]:
    """Ask them all; a refusal that names the right partition is followed once."""
    try:
        try:
            return await cluster.each(partitions, one)
        except StatusError as failure:
            if failure.reason != "WrongPartition" or cluster.forced:
                raise
            return await cluster.each([cluster.right_one(failure)], one)
    except StatusError as failure:
        raise explain(failure) from failure


def _settle(found: Found, kind: Kind, query: Query) -> None:
    if kind in REPLICATED:
        copies = {item.metadata.name: item for item in reversed(found.items)}
        found.items = [copies[name] for name in sorted(copies)]
    if kind is kinds.EVENTS:
        found.items.sort(key=lambda item: columns.event_time(item.object))
    else:
        found.items.sort(key=lambda item: (item.metadata.tenant, item.metadata.namespace, item.metadata.name))
    if query.limit and len(found.items) > query.limit:
        found.items = found.items[: query.limit]
        found.cut = True


async def _pages(
    clients: Clientset, partition: Partition, kind: Kind, tenant: str, namespace: str, query: Query
) -> Page:
    """Items, whether there are more than the limit, and the list's position. A list whose position has expired between
    two pages is read again in one piece."""
    client = clients.resource(kind)
    items: list[Item] = []
    token, position = "", 0
    while True:
        room = query.limit - len(items) if query.limit else 0
        size = min(filter(None, (room, query.chunk)), default=0)
        try:
            page = await client.list(
                tenant=tenant,
                namespace=namespace,
                label_selector=query.labels,
                field_selector=query.fields,
                resource_version=None if token else query.resource_version,
                limit=size,
                continue_token=token,
            )
        except StatusError as failure:
            if not token or failure.reason != "Expired":
                raise
            whole = Query(query.labels, query.fields, query.limit, 0)
            return await _pages(clients, partition, kind, tenant, namespace, whole)
        items += [Item(kind, one, partition) for one in page.items]
        token, position = page.continue_token, page.resource_version
        if not token or (query.limit and len(items) >= query.limit):
            return items, bool(token), position


async def _by_name(cluster: Cluster, wanted: Wanted, where: Where, query: Query) -> Found:
    kind = wanted.kind
    if where.every_namespace and kind.namespaced:
        raise Refused("a name and all namespaces do not go together", hint="name the namespace with -n")
    tenant = await where.tenant_for(kind, cluster, many=False)
    namespace = where.namespace_for(kind, many=False)
    partitions = await targets(cluster, kind, tenant)
    found = Found()
    for name in wanted.names:
        found.add(await _named(cluster, partitions, kind, tenant, namespace, name, query))
    return found


async def _named(
    cluster: Cluster, partitions: Sequence[Partition], kind: Kind, tenant: str, namespace: str, name: str, query: Query
) -> Found:
    """The objects of that name: several when partitions have same-named ones, as nodes may."""
    found = Found()
    missing: StatusError | None = None

    async def one(clients: Clientset) -> Any:
        return await clients.resource(kind).get(
            name, tenant=tenant, namespace=namespace, resource_version=query.resource_version
        )

    for partition in partitions:
        try:
            answered, obj = await cluster.following(partition, one)
        except StatusError as failure:
            if failure.code is grpc.StatusCode.NOT_FOUND:
                missing = failure
            else:
                found.failures.append(explain(failure, partition=partition))
            continue
        found.items.append(Item(kind, obj, answered))
        if kind in REPLICATED:
            break
    if not found.items and missing is not None:
        found.failures.append(explain(missing))
    return found
