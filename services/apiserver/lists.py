"""Lists that would keep their place for nothing: they wait for freshness, or for a reader that never reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from services.rpc import status
from services.rpc.lanes import Budget, Lane, Place
from services.storage.interface import Page


class Sending:
    """A list that is being sent: ``records`` are those of its page, or nothing once it was given up."""

    __slots__ = ("given_up", "part_bytes", "place", "records")

    def __init__(self, place: Place, records: Sequence[Any]) -> None:
        self.place = place
        self.records = records
        self.part_bytes = 0
        self.given_up = False


class Unread:
    """Lists whose part is on its way. One that its reader has not taken within ``patience_s`` is given up: its place
    and its page go at once, and it ends when the part is taken after all, or with the call.

    gRPC cannot break off a message that it has begun to send, so that a part stays in memory for each list that was
    given up: at most as many bytes of them as ``budget`` has; further ones keep their places. One timer for all.
    """

    def __init__(self, patience_s: float, budget: Budget, retry_after_s: float) -> None:
        self._patience_s = patience_s
        self._budget = budget
        self._retry_after_s = retry_after_s
        self._held: dict[Sending, float] = {}  # by deadline, in order
        self._timer: asyncio.TimerHandle | None = None

    async def write(self, sending: Sending, part: bytes, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Raises ``StatusError`` if the list was given up meanwhile."""
        loop = asyncio.get_running_loop()
        sending.part_bytes = len(part)
        self._held[sending] = loop.time() + self._patience_s
        if self._timer is None:
            self._timer = loop.call_later(self._patience_s, self._due)
        try:
            await write(part)
        finally:
            self._held.pop(sending, None)
            if sending.given_up:
                self._budget.give(sending.part_bytes)
        if sending.given_up:
            raise status.resource_exhausted(
                "TooManyRequests",
                f"nothing of the list was read for {self._patience_s:g} s: begin it anew",
                retry_after_s=self._retry_after_s,
            )

    def _due(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._held:
            sending, deadline_s = next(iter(self._held.items()))
            if deadline_s > loop.time():
                self._timer = loop.call_at(deadline_s, self._due)
                return
            del self._held[sending]
            if self._budget.take(sending.part_bytes):
                sending.given_up = True
                sending.records = ()
                sending.place.leave()
            else:
                self._held[sending] = loop.time() + self._patience_s


class Aside:
    """Where lists wait for freshness: what has not its page within ``patience_s`` gives its place up meanwhile.

    At most ``waiting_max`` do; more are refused, and with them only those that would wait.
    """

    def __init__(self, lane: Lane, patience_s: float, waiting_max: int) -> None:
        self.waiting = 0
        self._lane = lane
        self._patience_s = patience_s
        self._waiting_max = waiting_max

    async def page(self, place: Place, fetch: Callable[[], Awaitable[Page]]) -> Page:
        """What ``fetch`` gives, and ``place`` is held. Raises what ``fetch`` does, and ``StatusError``."""
        page = await self._patiently(place, fetch)
        if not place.left or place.retake_at_once():
            return page
        # Nobody keeps a page while standing in line: what was waited for is there now, and it is soon made again.
        del page
        await place.retake()
        return await fetch()

    async def _patiently(self, place: Place, fetch: Callable[[], Awaitable[Page]]) -> Page:
        loop = asyncio.get_running_loop()
        stepped_aside = False

        def step_aside() -> None:
            nonlocal stepped_aside
            if self.waiting >= self._waiting_max:
                limit.reschedule(loop.time())
                return
            stepped_aside = True
            self.waiting += 1
            place.leave()

        timer = loop.call_later(self._patience_s, step_aside)
        limit = asyncio.timeout(None)
        try:
            async with limit:
                return await fetch()
        except TimeoutError:
            if not limit.expired():
                raise
            self._lane.refused += 1
            raise self._lane.refusal() from None
        finally:
            timer.cancel()
            if stepped_aside:
                self.waiting -= 1
