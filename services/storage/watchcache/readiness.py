"""Whether a cache may be read, and how long those should wait who find it is not."""

from __future__ import annotations

import asyncio
import math

from services.base.clock import Clock


class Readiness:
    """A cache is ready from its first complete list on; it stays so while it is stale or being replaced."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_s = clock.monotonic()
        self._event = asyncio.Event()

    @property
    def ready(self) -> bool:
        return self._event.is_set()

    def set_ready(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()

    @property
    def retry_after_s(self) -> float:
        """clamp(e^(0.06·downtime), 1, 30) seconds (apiserver ``cacher/ready.go``)."""
        downtime_s = self._clock.monotonic() - self._since_s
        return min(30.0, max(1.0, math.exp(min(0.06 * downtime_s, 10.0))))
