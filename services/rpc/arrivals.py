"""Calls that have their place and not yet their request: a peer that sends headers only must not keep it for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from services.rpc.status import StatusError

# What has its place in a lane has its request within this time, or loses it.
REQUEST_S_MAX = 5.0


class Arrivals:
    """Requests that are awaited, each for at most ``patience_s``. One timer for all: most are there at once, and a
    timer for each would cost every call some microseconds."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._held: dict[asyncio.Task[Any], float] = {}  # by deadline, in order
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """The next message of the call. Raises ``StatusError`` (DEADLINE_EXCEEDED)."""
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        self._held[task] = deadline_s = loop.time() + self._patience_s
        if self._timer is None:
            self._timer = loop.call_at(deadline_s, self._due)
        try:
            return await context.read()
        except asyncio.CancelledError:
            # The peer may have cancelled as well: then there is nobody to tell.
            if task not in self._late or task.uncancel():
                raise
            raise StatusError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                "Timeout",
                f"the call brought no request within {self._patience_s:g} s after it was admitted",
            ) from None
        finally:
            if self._held.pop(task, None) is None:
                self._late.discard(task)

    def _due(self) -> None:
        self._timer = None
        while self._held:
            task, deadline_s = next(iter(self._held.items()))
            loop = task.get_loop()
            if deadline_s > loop.time():
                self._timer = loop.call_at(deadline_s, self._due)
                return
            del self._held[task]
            self._late.add(task)
            task.cancel()
