"""``ursa watch`` and ``ursa get --watch``: what is there, then every change, from all partitions on one screen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from services.api.kinds import Kind
from services.base.backoff import Backoff
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.cli import columns, output
from services.cli.cluster import Cluster, explain, is_unreachable
from services.cli.context import Partition
from services.cli.errors import CliError, UsageError
from services.cli.items import Item
from services.cli.output import Format
from services.cli.streams import Streams
from services.cli.verbs import fetch, get
from services.cli.verbs.fetch import Found
from services.rpc.status import StatusError

EVENT_TYPES = {1: "ADDED", 2: "MODIFIED", 3: "DELETED"}
EVENT_WIDTH = len("MODIFIED")
# Room for what is likely to come, so that later lines stay in their columns.
LIKELY = {"STATUS": len("Terminating"), "IP": len("255.255.255.255"), "NODE": len("<none>")}


@dataclass(frozen=True)
class Request:
    """``get``: what is watched and how it is shown (one type). ``events``: say of every line what happened;
    ``only``: leave out what is there already."""

    get: get.Request
    events: bool = False
    only: bool = False


async def watch(cluster: Cluster, request: Request, streams: Streams) -> int:
    """Until it is interrupted. A partition that goes away is watched again from where it ended."""
    if len(request.get.wanted) != 1:
        raise UsageError("one type can be watched at a time")
    wanted = request.get.wanted[0]
    if len(wanted.names) > 1:
        raise UsageError("one name can be watched at a time", hint="or use a selector: -l")
    found = await fetch.find(cluster, wanted, request.get.where, request.get.query)
    if found.failures and not found.items and not found.positions:
        return streams.fail(found.failures)
    streams.fail(found.failures, partial=True)
    printer = _Printer(wanted.kind, request, found, streams)
    if not request.only:
        for item in found.items:
            printer.show("ADDED", item)
    tenant = await request.get.where.tenant_for(wanted.kind, cluster, many=not wanted.names)
    selection = {
        "tenant": tenant,
        "namespace": request.get.where.namespace_for(wanted.kind, many=not wanted.names),
        "label_selector": request.get.query.labels,
        "field_selector": _fields(request, wanted.names),
    }
    async with asyncio.TaskGroup() as group:
        for partition in await fetch.targets(cluster, wanted.kind, tenant):
            position = found.positions.get(partition.name)
            group.create_task(_Follower(cluster, wanted.kind, partition, selection, printer, streams).run(position))
    return 0


def _fields(request: Request, names: tuple[str, ...]) -> str:
    named = [f"metadata.name={name}" for name in names]
    return ",".join(filter(None, [request.get.query.fields, *named]))


class _Printer:
    """Lines of one table whose columns stay where they are while it grows."""

    def __init__(self, kind: Kind, request: Request, found: Found, streams: Streams) -> None:
        self._request = request
        self._streams = streams
        self._colliding = columns.colliding_nodes(found.items)
        self._columns = columns.of(kind, self._view())
        cells = columns.rows(found.items, self._columns, self._view())
        self._widths = [
            max([len(column.header), LIKELY.get(column.header, 0), *(len(row[index]) for row in cells)])
            for index, column in enumerate(self._columns)
        ]
        self._headed = not request.get.headers

    def show(self, event: str, item: Item) -> None:
        match self._request.get.format:
            case Format.JSON:
                self._streams.out(output.as_json(self._document(event, item)))
            case Format.YAML:
                self._streams.out("---\n" + output.as_yaml(self._document(event, item)))
            case Format.NAME:
                self._streams.out(item.title)
            case _:
                self._row(event, item)
        self._streams.flush()

    def _document(self, event: str, item: Item) -> dict[str, Any]:
        document = output.document(item)
        return {"type": event, "object": document} if self._request.events else document

    def _view(self) -> columns.View:
        request = self._request.get
        return columns.View(
            now=SystemClock().time(),
            wide=request.format is Format.WIDE,
            tenants=request.where.all_tenants,
            namespaces=request.where.every_namespace,
            labels=request.labels,
            colliding=self._colliding,
        )

    def _row(self, event: str, item: Item) -> None:
        if not self._headed:
            self._headed = True
            self._line("EVENT", [column.header for column in self._columns])
        [cells] = columns.rows([item], self._columns, self._view())
        self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, cells, strict=True)]
        self._line(event, cells)

    def _line(self, event: str, cells: list[str]) -> None:
        padded = [cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True)]
        lead = [event.ljust(EVENT_WIDTH)] if self._request.events else []
        self._streams.out(output.GAP.join([*lead, *padded]).rstrip())


class _Follower:
    """One partition's watch, taken up again after every interruption."""

    def __init__(
        self,
        cluster: Cluster,
        kind: Kind,
        partition: Partition,
        selection: dict[str, str],
        printer: _Printer,
        streams: Streams,
    ) -> None:
        self._client = cluster.clients(partition).resource(kind)
        self._kind = kind
        self._partition = partition
        self._selection = selection
        self._show: Callable[[str, Item], None] = printer.show
        self._streams = streams
        self._clock = SystemClock()
        self._backoff = Backoff(Rand(), initial_s=0.5, maximum_s=5.0)
        self._told = False

    async def run(self, position: int | None) -> None:
        """``position`` None: the partition could not be listed; what it has is shown when it comes back."""
        while True:
            try:
                async for batch in self._batches(position):
                    position = batch.resource_version or position
                    self._take(batch)
            except StatusError as failure:
                position = self._interrupted(failure, position)
                await self._clock.sleep(self._backoff.next())

    def _batches(self, position: int | None) -> Any:
        return self._client.watch(
            **self._selection, resource_version=position, send_initial_events=position is None or None, bookmarks=True
        )

    def _take(self, batch: Any) -> None:
        if self._told:
            self._told = False
            self._streams.note(f"{self._partition.name} answers again")
        self._backoff.reset()
        for event in batch.events:
            self._show(EVENT_TYPES.get(event.type, "UNKNOWN"), Item(self._kind, event.object, self._partition))

    def _interrupted(self, failure: StatusError, position: int | None) -> int | None:
        """Where to go on. Raises ``CliError`` for a refusal, which would only be repeated."""
        if failure.reason == "Expired":
            self._streams.warn(f"{self._partition.name}: changes were missed; showing what is there now")
            return None
        if not (is_unreachable(failure) or failure.reason in ("TooManyRequests", "SlowWatcher", "InternalError")):
            raise explain(failure)
        if not self._told:
            self._told = True
            self._streams.warn(f"{self._partition.name} does not answer ({failure.message}); trying again")
        return position


def first_error(group: BaseExceptionGroup[BaseException]) -> CliError | None:
    """The error for the person among those that ended the watches of several partitions."""
    for error in group.exceptions:
        if isinstance(error, CliError):
            return error
    return None
