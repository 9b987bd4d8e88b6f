"""Shared etcd leases for objects that expire: one lease per minute, not one per object."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from services.base.clock import Clock

BUCKET_S = 60
EVENT_TTL_S = 3600


class LeaseBuckets:
    """Gives the lease of the current minute; what is written under it lives ``ttl_s`` to ``ttl_s`` + 1 minute."""

    def __init__(self, new_lease: Callable[[int], Awaitable[int]], clock: Clock, *, ttl_s: int = EVENT_TTL_S) -> None:
        self._new_lease = new_lease
        self._clock = clock
        self._ttl_s = ttl_s
        self._bucket = -1
        self._lease_id = 0
        self._lock = asyncio.Lock()

    async def lease_id(self) -> int:
        """Raises ``storage.Unavailable``."""
        bucket = int(self._clock.monotonic()) // BUCKET_S
        if bucket != self._bucket:
            async with self._lock:
                if bucket != self._bucket:
                    self._lease_id = await self._new_lease(self._ttl_s + BUCKET_S)
                    self._bucket = bucket
        return self._lease_id
