"""Lanes: how many calls are worked on at once, how many wait for that, and who is turned away.

A call enters its lane before its request is read, so that whoever waits or is refused costs next to nothing: no
message in memory, no parsing. Calls of one lane never wait for those of another. Pure but for the futures of those
who wait.
"""

from __future__ import annotations

import asyncio
from collections import deque

from services.rpc import arrivals, status
from services.rpc.arrivals import Arrivals
from services.rpc.status import StatusError

_REFUSE_AFTER_S = 1.0
_HELD_MAX = 2000


class Budget:
    """Bytes of requests that are being worked on, over all lanes that share it."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.used = 0

    def take(self, size_bytes: int) -> bool:
        """False: there is no room for them now. What is larger than the whole budget has it to itself."""
        if self.used and self.used + size_bytes > self._bytes_max:
            return False
        self.used += size_bytes
        return True

    def give(self, size_bytes: int) -> None:
        self.used -= size_bytes


class Lane:
    """``at_once_max`` calls under way and ``waiting_max`` in line, each for at most ``wait_s_max``.

    Use: ``if not lane.enter() and not await lane.wait(): refuse``, and ``leave`` once for each that got in.
    """

    def __init__(
        self,
        name: str,
        *,
        at_once_max: int,
        waiting_max: int,
        wait_s_max: float,
        retry_after_s: float,
        budget: Budget,
    ) -> None:
        self.name = name
        self.budget = budget
        self.arrivals = Arrivals(arrivals.REQUEST_S_MAX)
        self.running = 0
        self.refused = 0
        self._at_once_max = at_once_max
        self._waiting_max = waiting_max
        self._wait_s_max = wait_s_max
        self._retry_after_s = retry_after_s
        self.waiting = 0
        self._held = 0
        self._line: deque[asyncio.Future[bool]] = deque()

    def enter(self) -> bool:
        """True: a place was free."""
        if self.running >= self._at_once_max:
            return False
        self.running += 1
        return True

    async def wait(self) -> bool:
        """Stand in line for a place; False: the line is full, or it took too long."""
        if self.waiting >= self._waiting_max:
            self.refused += 1
            await self._hold()
            return False
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._stand(turn)
        timer = loop.call_later(self._wait_s_max, _resolve, turn)
        try:
            admitted = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.leave()  # the place came together with the cancellation: hand it on
            raise
        finally:
            self.waiting -= 1
            timer.cancel()
        if not admitted:
            self.refused += 1
        return admitted

    def leave(self) -> None:
        """Give the place to the next in line."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(True)
                return
        self.running -= 1

    def refusal(self) -> StatusError:
        """What those are told who find no place."""
        return status.resource_exhausted(
            "TooManyRequests", f"too many {self.name} at once, try again later", retry_after_s=self._retry_after_s
        )

    async def _hold(self) -> None:
        """Whoever is refused hears of it a little later: clients that come back at once would keep the server busy
        with nothing but refusing them (gRPC accepts one call in each turn of the loop, whosever it is)."""
        if self._held < _HELD_MAX:
            self._held += 1
            try:
                await asyncio.sleep(_REFUSE_AFTER_S)
            finally:
                self._held -= 1

    def _stand(self, turn: asyncio.Future[bool]) -> None:
        # Whoever gave up is still in the line, and is passed over when its turn comes.
        if len(self._line) > 64 + 2 * self.waiting:
            self._line = deque(other for other in self._line if not other.done())
        self.waiting += 1
        self._line.append(turn)


class Place:
    """A place in a lane that is left once, by whoever is first to; and may be taken again."""

    __slots__ = ("_lane", "left")

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self.left = False

    def leave(self) -> None:
        if not self.left:
            self.left = True
            self._lane.leave()

    def retake_at_once(self) -> bool:
        """True: a place was free. Only for one that was left."""
        if not self._lane.enter():
            return False
        self.left = False
        return True

    async def retake(self) -> None:
        """Stand in line again. Raises ``StatusError`` (TooManyRequests)."""
        if not self._lane.enter() and not await self._lane.wait():
            raise self._lane.refusal()
        self.left = False


async def place_in(lane: Lane) -> Place:
    """Raises ``StatusError`` (TooManyRequests)."""
    if not lane.enter() and not await lane.wait():
        raise lane.refusal()
    return Place(lane)


def _resolve(turn: asyncio.Future[bool]) -> None:
    if not turn.done():
        turn.set_result(False)
