"""One call for many: whoever asks while a call is in flight shares the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class NextCall(Generic[T]):
    """Shares calls that must *begin* after the request for them.

    Joining a quorum read already in flight would not be linearizable: it may have been answered before the write that
    the reader knows of. So a request waits for the call in flight to end and shares the one that follows.
    """

    def __init__(self, call: Callable[[], Awaitable[T]]) -> None:
        self._call = call
        self._running: asyncio.Future[T] | None = None
        self._next: asyncio.Future[T] | None = None

    async def __call__(self) -> T:
        while True:
            if self._next is not None:
                shared = self._next
                try:
                    return await asyncio.shield(shared)
                except asyncio.CancelledError:
                    task = asyncio.current_task()
                    if not shared.cancelled() or (task is not None and task.cancelling()):
                        raise  # this caller was cancelled, whatever became of the one who makes the call
                    continue
            return await self._lead()

    async def _lead(self) -> T:
        mine: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._next = mine
        try:
            while self._running is not None:
                await asyncio.wait([self._running])
            self._next, self._running = None, mine
            result = await self._call()
            mine.set_result(result)
            return result
        except Exception as failure:
            mine.set_exception(failure)
            mine.exception()  # it is raised here too: nobody else need have waited for it
            raise
        finally:
            if not mine.done():
                mine.cancel()
            if self._next is mine:
                self._next = None
            if self._running is mine:
                self._running = None
