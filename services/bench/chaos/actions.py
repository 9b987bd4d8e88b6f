"""What can be done to the processes, machines and links of a one-box."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

import grpc
from google.protobuf.message import Message

from services.api.pb.ursa.kubelet.v1 import hollow_pb2
from services.base.clock import Clock
from services.bench.fetching import fetch
from services.bench.link import Link
from services.bench.observe.components import Process, Roster
from services.client import calls
from services.rpc.status import StatusError

_POLL_S = 0.1
_PROBE_S = 1.0
_CALL_S = 10.0
_SERVICE = "/ursa.kubelet.v1.HollowNodes/"


class Disturbance(Enum):
    """What happens to a node, as ``ursa.kubelet.v1.DisturbanceKind`` has it."""

    DEATH = "death"
    CUT = "cut"
    CRASH = "crash"


class NotDone(Exception):
    """A fault could not be brought about; the message says why."""


class Actions:
    """``links``: by (who asks, who is asked), partitions by name. ``host``: a channel to the host of all nodes."""

    def __init__(
        self,
        roster: Roster,
        links: Mapping[tuple[str, str], Link],
        host: grpc.aio.Channel,
        clock: Clock,
    ) -> None:
        self.links = links
        self._roster = roster
        self._host = host
        self._clock = clock

    def components(self, kind: str) -> list[str]:
        """Names of the processes of a kind, in order."""
        return sorted(name for name, process in self._roster.now().items() if process.kind == kind)

    def send(self, name: str, number: signal.Signals) -> None:
        """Signal a component's process. Raises ``NotDone`` if it has none."""
        process = self._roster.now().get(name)
        if process is None or not process.pid:
            raise NotDone(f"{name} has no process")
        try:
            os.kill(process.pid, number)
        except ProcessLookupError as failure:
            raise NotDone(f"{name} has just ended") from failure

    async def until_anew(self, name: str, before: int, within_s: float) -> bool:
        """Wait until ``name`` has another process than ``before``, and that is ready."""
        deadline = self._clock.monotonic() + within_s
        while self._clock.monotonic() < deadline:
            process = self._roster.now()[name]
            if process.pid not in (0, before) and await is_ready(process):
                return True
            await self._clock.sleep(_POLL_S)
        return False

    def pid(self, name: str) -> int:
        return self._roster.now()[name].pid

    async def unready(self) -> list[str]:
        """Components that are not ready now."""
        return [name for name, process in self._roster.now().items() if not await is_ready(process)]

    async def disturb(self, kind: Disturbance, nodes: Sequence[str]) -> None:
        """Do that to ``nodes`` (``<resource partition>/<name>``) until they are restored. Raises ``NotDone``."""
        for partition, names in _by_partition(nodes):
            request = hollow_pb2.DisturbRequest(
                kind=hollow_pb2.DisturbanceKind.Value(kind.name), nodes=names, resource_partition=partition
            )
            await self._call("Disturb", request, hollow_pb2.DisturbResponse, names)

    async def restore(self, nodes: Sequence[str]) -> None:
        """Undo that. Raises ``NotDone``."""
        for partition, names in _by_partition(nodes):
            request = hollow_pb2.RestoreRequest(nodes=names, resource_partition=partition)
            await self._call("Restore", request, hollow_pb2.RestoreResponse, names)

    async def _call(self, name: str, request: Message, answer: Any, nodes: list[str]) -> None:
        method: Any = self._host.unary_unary(
            _SERVICE + name,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        try:
            done = await calls.unary(method, request, _CALL_S)
        except StatusError as failure:
            raise NotDone(f"{name}: {failure}") from failure
        if sorted(done.nodes) != nodes:
            raise NotDone(f"{name}: asked for {nodes}, done to {sorted(done.nodes)}")


def _by_partition(nodes: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    for partition in sorted({node.partition("/")[0] for node in nodes}):
        yield partition, sorted(node.partition("/")[2] for node in nodes if node.startswith(f"{partition}/"))


async def is_ready(process: Process) -> bool:
    """Its process runs and says that it is ready."""
    if not process.pid or not process.metrics:
        return False
    try:
        await fetch(process.metrics, "/health" if process.is_etcd else "/readyz", timeout_s=_PROBE_S)
    except OSError:
        return False
    return True
