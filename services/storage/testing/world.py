"""What a scenario has to hand: an empty store of pods, and short words for what is done with one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from services.api import wire
from services.api.kinds import PODS
from services.api.pb.ursa.core.v1 import pod_pb2
from services.api.selectors import EVERYTHING, Selection
from services.storage.interface import (
    Event,
    ListQuery,
    Match,
    Page,
    Record,
    ResourceStore,
    Transactor,
    WatchBatch,
    Watcher,
    WatchQuery,
    Write,
)

PATIENCE_S = 15.0

attributes_of = PODS.attributes


def pod(name: str, *, labels: Mapping[str, str] | None = None, node: str = "", note: str = "") -> bytes:
    """The canonical bytes of a small pod."""
    message = pod_pb2.Pod()
    message.metadata.name = name
    message.metadata.labels.update(labels or {})
    if note:
        message.metadata.annotations["note"] = note
    message.spec.node_name = node
    return wire.canonical(message)


def selection(labels: str = "", fields: str = "") -> Selection:
    return Selection.parse(labels, fields, PODS.fields)


Seen = tuple[str, str, int]
"""One event as scenarios compare it: type, name, revision of its record."""


def seen(event: Event) -> Seen:
    return event.type.name, event.record.key.rpartition("/")[2], event.record.revision


@dataclass(frozen=True)
class World:
    """``store`` holds pods and is empty; ``prefix`` is its collection. ``other``, ``other_prefix``: a second one.

    ``transactor`` writes to both.
    ``forget(revision)`` makes the store lose its history up to that revision (compaction, a window that moved on).
    """

    store: ResourceStore
    prefix: str
    forget: Callable[[int], Awaitable[None]]
    transactor: Transactor
    other: ResourceStore
    other_prefix: str

    def key(self, name: str, namespace: str = "default", tenant: str = "acme") -> str:
        return f"{self.prefix}{tenant}/{namespace}/{name}"

    def other_key(self, name: str) -> str:
        return f"{self.other_prefix}acme/default/{name}"

    # -- writes

    async def create(self, name: str, namespace: str = "default", tenant: str = "acme", **content: object) -> Record:
        return await self.put(self.key(name, namespace, tenant), pod(name, **content), 0)  # type: ignore[arg-type]

    async def put(self, key: str, value: bytes, expected_revision: int | None) -> Record:
        record = await self.store.write(Write(key, value, expected_revision))
        assert record is not None
        return record

    async def change(self, record: Record, **content: object) -> Record:
        name = record.key.rpartition("/")[2]
        return await self.put(record.key, pod(name, **content), record.revision)  # type: ignore[arg-type]

    async def delete(self, record: Record) -> None:
        assert await self.store.write(Write(record.key, None, record.revision)) is None

    # -- reads

    async def names(self, chosen: Selection = EVERYTHING, *, below: str = "") -> list[str]:
        """Names of a most recent list."""
        return names(await self.list(chosen, below=below))

    async def watch(
        self,
        chosen: Selection = EVERYTHING,
        *,
        below: str = "",
        revision: int | None = None,
        initial_events: bool | None = None,
        bookmarks: bool = False,
    ) -> Watcher:
        query = WatchQuery(self.prefix + below, chosen, revision, initial_events, bookmarks)
        return await self.store.watch(query)

    async def position(self) -> int:
        """The collection's revision now."""
        return (await self.list()).revision

    async def list(
        self,
        chosen: Selection = EVERYTHING,
        *,
        below: str = "",
        revision: int | None = None,
        match: Match = Match.UNSET,
        limit: int = 0,
        after: str = "",
    ) -> Page:
        query = ListQuery(self.prefix + below, chosen, revision, match, after, limit)
        return await self.store.list(query)


def names(page: Page) -> list[str]:
    return [record.key.rpartition("/")[2] for record in page.records]


async def next_batch(watcher: Watcher, limit_bytes: int = 1 << 20) -> WatchBatch:
    """The next batch, which must come within ``PATIENCE_S``."""
    async with asyncio.timeout(PATIENCE_S):
        while (batch := watcher.take(limit_bytes)) is None:
            await watcher.wait()
    return batch


async def next_events(watcher: Watcher, count: int, limit_bytes: int = 1 << 20) -> list[Seen]:
    """At least ``count`` events of as many batches as they take."""
    found: list[Seen] = []
    while len(found) < count:
        found += map(seen, (await next_batch(watcher, limit_bytes)).events)
    return found
