"""Plays a step: sends requests when they are due, whatever became of those before (open loop), or as fast as they go.

A latency counts from the time the request was due. So it holds what the server made it wait for, and also what this
process did; how late it sent is measured too. Requests about the same objects wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.bench.player import encoding
from services.bench.player.encoding import Call, Encoder, Item
from services.bench.player.journal import Journal
from services.bench.player.link import ALREADY_EXISTS, NOT_FOUND, RETRYABLE, GaveUp, Link, Refused, insist
from services.bench.player.requests import Key, Request, Resource, Step, Verb

# A server that hangs must not make the driver keep everything that is due in memory as open calls.
OPEN_CALLS_MAX = 5000
_PAUSE_S, _PAUSE_MAX_S = 0.05, 2.0
_REFUSALS_MAX = 20


class DriverFailed(Exception):
    """The step cannot be played to its end: too much was refused."""


@dataclass(frozen=True)
class Limits:
    """``at_once``: open calls per partition where requests are not paced. ``settle_s``: how long a request is repeated
    before it counts as lost."""

    at_once: int = 30
    settle_s: float = 60.0


class Driver:
    """``links``: by tenant. What was sent and acknowledged is in ``journal``."""

    def __init__(
        self, links: Mapping[str, Link], encoder: Encoder, journal: Journal, limits: Limits, clock: Clock, rand: Rand
    ) -> None:
        self._links = links
        self._encoder = encoder
        self._limits = limits
        self._clock = clock
        self._rand = rand
        self.journal = journal
        # The latest open request about each object.
        self._last: dict[Key, asyncio.Task[None]] = {}

    async def play(self, step: Step) -> None:
        """Return when every request has its answer. Raises ``DriverFailed``."""
        if step.paced:
            await self._paced(step)
        else:
            await self._at_once(step)
        if self.journal.refusals:
            raise DriverFailed("; ".join(self.journal.refusals[:3]))

    async def _paced(self, step: Step) -> None:
        began = self._clock.monotonic()
        room = asyncio.Semaphore(OPEN_CALLS_MAX)
        async with asyncio.TaskGroup() as group:
            for request in step.requests:
                due = began + request.at_s
                pause = due - self._clock.monotonic()
                if pause > 0:
                    await self._clock.sleep(pause)
                await room.acquire()
                if self._hopeless:
                    break
                self._start(group, request, due).add_done_callback(lambda _: room.release())

    async def _at_once(self, step: Step) -> None:
        """So many at a time to each partition; what is due has no other time than when it is sent."""
        by_link: dict[int, list[Request]] = {}
        for request in step.requests:
            by_link.setdefault(id(self._links[request.tenant]), []).append(request)

        async def line(work: Iterator[Request]) -> None:
            for request in work:
                if self._hopeless:
                    return
                await self._start(group, request, self._clock.monotonic())

        async with asyncio.TaskGroup() as group:
            for requests in by_link.values():
                work = iter(requests)
                for _ in range(self._limits.at_once):
                    group.create_task(line(work))

    @property
    def _hopeless(self) -> bool:
        return len(self.journal.refusals) > _REFUSALS_MAX

    # -- one request

    def _start(self, group: asyncio.TaskGroup, request: Request, due: float) -> asyncio.Task[None]:
        keys = request.keys
        earlier = {task for key in keys if (task := self._last.get(key)) is not None}
        task = group.create_task(self._after(earlier, request, due))
        for key in keys:
            self._last[key] = task
        task.add_done_callback(lambda done: self._ended(keys, done))
        return task

    def _ended(self, keys: list[Key], task: asyncio.Task[None]) -> None:
        for key in keys:
            if self._last.get(key) is task:
                del self._last[key]

    async def _after(self, earlier: set[asyncio.Task[None]], request: Request, due: float) -> None:
        begun = self._clock.monotonic()
        if earlier:
            await asyncio.wait(earlier)
        await self._send(request, due, begun)

    async def _send(self, request: Request, due: float, begun: float) -> None:
        self.journal.sent += 1
        try:
            found, tries = await self._settle(request, self._clock.monotonic() + self._limits.settle_s)
        except (Refused, GaveUp) as failure:
            self.journal.refused(request, str(failure))
            return
        now = self._clock.monotonic()
        if request.resource is Resource.PODS and request.verb is Verb.CREATE:
            self.journal.created(request, [item.uid for item in found], due, now)
        elif request.resource is Resource.PODS and request.verb is Verb.DELETE:
            self.journal.asked_to_delete([item.uid for item in found if item.uid], due)
        self.journal.answer(request, due, begun, now, tries)

    async def _settle(self, request: Request, deadline: float) -> tuple[list[Item], int]:
        """What became of every object: an item that may still succeed is sent again, the others are not."""
        pauses = Backoff(self._rand, initial_s=_PAUSE_S, maximum_s=_PAUSE_MAX_S)
        link = self._links[request.tenant]
        settled: dict[int, Item] = {}
        left, tries = list(range(max(1, request.count))), 0
        while left:
            call = self._encoder.call(request, left)
            found, more = await self._ask(link, request, call, deadline, pauses, left)
            tries += more
            # Side by side: after an answer that came too late a whole batch has to be looked up.
            first = not tries
            asked = [
                self._known(link, request, index, item, deadline, pauses, first=first)
                for index, item in zip(left, found, strict=True)
            ]
            again = []
            for index, known in zip(left, await asyncio.gather(*asked), strict=True):
                if known is None:
                    again.append(index)
                else:
                    settled[index] = known
            if again:
                tries += 1
                pause_s = pauses.next()
                if self._clock.monotonic() + pause_s > deadline:
                    raise GaveUp(f"{call.path}: {len(again)} items are not settled; the last one: {found[-1].message}")
                await self._clock.sleep(pause_s)
            left = again
        return [settled[index] for index in range(max(1, request.count))], tries

    async def _ask(
        self, link: Link, request: Request, call: Call, deadline: float, pauses: Backoff, left: list[int]
    ) -> tuple[list[Item], int]:
        try:
            answer, tries = await insist(link, call.path, call.message, deadline, self._clock, pauses)
        except Refused as refused:
            # Of a single object, as its outcome in a batch would be.
            if encoding.is_batch(call):
                raise
            return [Item("", refused.code, str(refused))], refused.tries
        found = encoding.items(call, answer)
        if len(found) != len(left):
            raise Refused(13, f"{call.path}: {len(found)} outcomes for {len(left)} objects")
        return found, tries

    async def _known(
        self, link: Link, request: Request, index: int, item: Item, deadline: float, pauses: Backoff, *, first: bool
    ) -> Item | None:
        """The item if it is settled, None if it is to be sent again. Raises ``Refused`` for a definite refusal."""
        if not item.code:
            return item
        if item.code in RETRYABLE:
            return None
        if item.code == ALREADY_EXISTS and request.verb is Verb.CREATE and not first:
            # An earlier try of this very request was carried out and its answer lost.
            read = encoding.get(request, request.names[index])
            answer, _ = await insist(link, read.path, read.message, deadline, self._clock, pauses)
            return encoding.items(read, answer)[0]
        if item.code == NOT_FOUND and request.verb is Verb.DELETE:
            return Item("")
        raise Refused(item.code, item.message)
