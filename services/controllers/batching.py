"""Items of many askers in few requests: whoever has something to write hands it over and gets its own outcomes back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from services.client.clientset import Outcome
from services.rpc.status import StatusError

T = TypeVar("T")
Send = Callable[[Sequence[T]], Awaitable[Sequence[Outcome]]]


class BatchLane(Generic[T]):
    """``send``: one request of at most ``items_max`` items; it may raise ``StatusError``. While requests are under way
    what comes is gathered for the next ones. Works while ``run`` runs, which may be any
    number of times at once."""

    def __init__(self, send: Send[T], *, items_max: int) -> None:
        self._send = send
        self._items_max = items_max
        self._waiting: deque[tuple[T, asyncio.Future[Outcome]]] = deque()
        self._awake = asyncio.Event()

    async def submit(self, items: Sequence[T]) -> list[Outcome]:
        """An outcome per item, in order. A request that failed as a whole is the outcome of each of its items."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Outcome]] = [loop.create_future() for _ in items]
        self._waiting.extend(zip(items, futures, strict=True))
        self._awake.set()
        return list(await asyncio.gather(*futures)) if futures else []

    async def run(self) -> None:
        """Send, one request after the other, until cancelled."""
        while True:
            while not self._waiting:
                self._awake.clear()
                await self._awake.wait()
            taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._items_max))]
            # An asker that was cancelled wants nothing any more.
            wanted = [(item, future) for item, future in taken if not future.done()]
            if wanted:
                await self._settle(wanted)

    async def _settle(self, wanted: Sequence[tuple[T, asyncio.Future[Outcome]]]) -> None:
        try:
            outcomes = await self._send([item for item, _ in wanted])
        except StatusError as failure:
            outcomes = [Outcome(failure, "", "", 0)] * len(wanted)
        for (_, future), outcome in zip(wanted, outcomes, strict=True):
            if not future.done():
                future.set_result(outcome)
