"""Shared etcd leases for objects that expire: one lease per minute, or per few megabytes, not one per object."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from services.base.clock import Clock

BUCKET_S = 60
EVENT_TTL_S = 3600
# What one lease owns expires at one revision, and a watch is told a revision in one message, old values and all.
LEASE_BYTES_MAX = 4 << 20
_OVERHEAD_BYTES = 64  # of an object, in such a message


class LeaseBuckets:
    """Gives a lease of the current minute; what is written under it lives ``ttl_s`` to ``ttl_s`` + 1 minute.

    A minute has more than one if more than ``LEASE_BYTES_MAX`` is written in it.
    """

    def __init__(self, new_lease: Callable[[int], Awaitable[int]], clock: Clock, *, ttl_s: int = EVENT_TTL_S) -> None:
        self._new_lease = new_lease
        self._clock = clock
        self._ttl_s = ttl_s
        self._bucket = -1
        self._lease_id = 0
        self._bytes = 0
        self._lock = asyncio.Lock()

    async def lease_id(self, value_bytes: int) -> int:
        """The lease for a value of so many bytes. Raises ``storage.Unavailable``."""
        size_bytes = value_bytes + _OVERHEAD_BYTES
        if not self._fits(size_bytes):
            async with self._lock:
                if not self._fits(size_bytes):
                    bucket = self._now()
                    self._lease_id = await self._new_lease(self._ttl_s + BUCKET_S)
                    self._bucket, self._bytes = bucket, 0
        self._bytes += size_bytes
        return self._lease_id

    def _fits(self, size_bytes: int) -> bool:
        return self._now() == self._bucket and self._bytes + size_bytes <= LEASE_BYTES_MAX

    def _now(self) -> int:
        return int(self._clock.monotonic()) // BUCKET_S
