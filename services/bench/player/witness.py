"""The witness: a process of its own that watches every pod of every tenant partition, whoever made it.

A process of its own keeps the driver's clock honest. Only uid, node, phase and whether it terminates are decoded. A
watch that breaks goes on from where it was; one that cannot makes the run invalid.
"""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from services.api.excerpts import excerpt
from services.api.kinds import PODS
from services.api.pb.ursa.core.v1.pod_service_pb2 import PodList, PodWatchBatch
from services.api.pb.ursa.meta.v1.meta_pb2 import ListRequest, WatchRequest
from services.base.clock import Clock
from services.base.tasks import Supervisor
from services.bench import http2
from services.bench.player.link import refusal
from services.bench.player.sightings import Sightings
from services.rpc import methods

MODE = "witness"
OPEN_TIMEOUT_S = 60.0
_AGAIN_S = 0.2
_EXPIRED = 11
_POD = "events.object"

_Batch = excerpt(
    PodWatchBatch,
    (
        "resource_version",
        "events.type",
        f"{_POD}.metadata.name",
        f"{_POD}.metadata.uid",
        f"{_POD}.metadata.deletion_timestamp.seconds",
        f"{_POD}.spec.node_name",
        f"{_POD}.spec.resource_partition",
        f"{_POD}.status.phase",
    ),
)
_List = excerpt(PodList, ("items.metadata.uid",))


class Witness:
    """``endpoints`` by tenant partition."""

    def __init__(self, endpoints: Mapping[str, str], tasks: Supervisor, clock: Clock) -> None:
        self._endpoints = endpoints
        self._tasks = tasks
        self._clock = clock
        self.sightings = Sightings()

    async def open(self) -> None:
        """Open a watch of each partition and return when all stand. Raises ``TimeoutError``, ``OSError``,
        ``http2.CallFailed``."""
        # From a known place on, so that a watch that breaks before its first event loses none either.
        begins = [await _revision(endpoint) for endpoint in self._endpoints.values()]
        streams = [_PodStream(self.sightings, self._clock, begin) for begin in begins]
        for stream, (name, endpoint) in zip(streams, self._endpoints.items(), strict=True):
            self._tasks.start(self._follow(name, endpoint, stream), name=f"watch-{name}")
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            for stream in streams:
                await stream.is_open.wait()

    async def _follow(self, name: str, endpoint: str, stream: _PodStream) -> None:
        while True:
            try:
                connection = await http2.connect(endpoint)
            except OSError:
                await self._clock.sleep(_AGAIN_S)
                continue
            stream.over.clear()
            request = WatchRequest(tenant="*", resource_version=stream.revision, allow_watch_bookmarks=True)
            try:
                connection.start(methods.path(PODS, "Watch"), stream, request.SerializeToString())
                await stream.over.wait()
            except http2.CallFailed as failure:
                stream.ended(str(failure))
            finally:
                connection.close()
            refused = refusal(stream.end_reason)
            if refused.code == _EXPIRED:
                self.sightings.complain(f"the watch of {name} lost its place: {refused}")
                return
            await self._clock.sleep(_AGAIN_S)

    async def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """``counts``; ``save`` to a file; ``audit``: hold what the watches showed against a consistent list."""
        match command["do"]:
            case "counts":
                return {**asdict(self.sightings.counts), "problems": self.sightings.problems}
            case "save":
                self.sightings.save(pathlib.Path(command["file"]))
                return {}
            case "audit":
                return await self._audit()
        raise ValueError(f"unknown command {command}")

    async def _audit(self) -> dict[str, Any]:
        listed: set[str] = set()
        try:
            for endpoint in self._endpoints.values():
                listed |= await self._listed(endpoint)
        except (OSError, http2.CallFailed) as failure:
            return {"failed": [str(failure)], "missing": [], "unseen": []}
        there = self.sightings.there()
        return {"failed": [], "missing": sorted(there - listed)[:5], "unseen": sorted(listed - there)[:5]}

    async def _listed(self, endpoint: str) -> set[str]:
        found: set[str] = set()

        def take(data: bytes | bytearray, start: int, end: int) -> None:
            part = _List.FromString(bytes(memoryview(data)[start:end]))
            found.update(pod.metadata.uid for pod in part.items)

        connection = await http2.connect(endpoint)
        stream = _Listing(take)
        connection.start(methods.path(PODS, "List"), stream, ListRequest(tenant="*").SerializeToString())
        await stream.over.wait()
        connection.close()
        if refusal(stream.end_reason).code:
            raise http2.CallFailed(stream.end_reason)
        return found


class _PodStream(http2.Messages):
    """A ``Receiver`` of a typed watch."""

    def __init__(self, sightings: Sightings, clock: Clock, revision: int) -> None:
        super().__init__(self._message)
        self._sightings = sightings
        self._clock = clock
        self.revision = revision
        self.is_open = asyncio.Event()
        self.over = asyncio.Event()

    def _message(self, data: bytes | bytearray, start: int, end: int) -> None:
        batch = _Batch.FromString(bytes(memoryview(data)[start:end]))
        if batch.resource_version:
            self.revision = batch.resource_version
        self._sightings.take(batch.events, self._clock.monotonic())

    def opened(self) -> None:
        self._part.clear()
        self.is_open.set()

    def ended(self, reason: str) -> None:
        super().ended(reason)
        self.over.set()


async def _revision(endpoint: str) -> int:
    """The partition's resource version now."""
    connection = await http2.connect(endpoint)
    try:
        answer = await connection.call(methods.path(PODS, "List"), ListRequest(tenant="*", limit=1).SerializeToString())
        return int(PodList.FromString(answer).metadata.resource_version)
    finally:
        connection.close()


class _Listing(http2.Messages):
    def __init__(self, take: Any) -> None:
        super().__init__(take)
        self.over = asyncio.Event()

    def ended(self, reason: str) -> None:
        super().ended(reason)
        self.over.set()
