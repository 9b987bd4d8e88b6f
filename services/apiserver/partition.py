"""What the two kinds of partition server share in their wiring: the resources they serve, and the life of the process.

The stores come from outside: nothing here names a concrete one.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from services.api import keys
from services.api.kinds import EVENTS, KINDS, Kind
from services.apiserver import options
from services.apiserver.hosting import Host
from services.apiserver.leases import LeaseBuckets
from services.apiserver.resource import Resource
from services.base import telemetry
from services.base.clock import Clock, SystemClock
from services.base.rand import Rand
from services.base.telemetry import TelemetryConfig
from services.storage.interface import ResourceStore

B = TypeVar("B")


class StoreMaker(Protocol):
    """``services.storage.stores.Stores``."""

    def open(self, kind: Kind, prefix: str, *, cached: bool) -> ResourceStore: ...


class PartitionConfig(Protocol):
    """What every partition server's configuration has."""

    @property
    def name(self) -> str: ...
    @property
    def telemetry(self) -> TelemetryConfig: ...


def open_resources(
    partition_kind: str,
    stores: StoreMaker,
    *,
    uncached: tuple[str, ...],
    new_lease: Callable[[int], Awaitable[int]],
    clock: Clock,
) -> dict[str, Resource]:
    """Every kind that a ``partition_kind`` ("tenant", "resource") partition serves, by resource name.

    ``uncached``: resources without a watch cache (``options.cached``). ``new_lease``: seconds to an etcd lease's id.
    """
    events = LeaseBuckets(new_lease, clock)
    return {
        name: Resource(
            kind,
            stores.open(kind, keys.prefix(kind), cached=options.cached(kind, uncached)),
            lease=events.lease_id if kind is EVENTS else None,
        )
        for name, kind in KINDS.items()
        if kind.served_by(partition_kind)
    }


async def run_partition(
    service: str,
    config: PartitionConfig,
    open_backend: Callable[[Clock, Rand], AbstractAsyncContextManager[B]],
    assemble: Callable[[B, Clock, Rand], Host],
    stopping: asyncio.Event,
) -> None:
    """The process of one partition server, until ``stopping`` is set. ``service``: its name in traces and metrics."""
    clock, rand = SystemClock(), Rand()
    running = telemetry.start(config.telemetry, service=service, partition=config.name)
    try:
        # Long-lived objects are many and the collector looks at all of them: rarer, and at what was loaded never.
        gc.set_threshold(100_000, 50, 100)
        async with open_backend(clock, rand) as backend:
            host = assemble(backend, clock, rand)
            host.on_first_ready = gc.freeze
            await host.run(stopping)
    finally:
        running.shutdown()
