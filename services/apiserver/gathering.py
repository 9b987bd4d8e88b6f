"""When the next message of a patient stream is due: so that many events share what a message costs.

A message costs each end 60-100 µs, whatever it holds. A watch that is in no hurry says how long its events may gather
(``CreateWatch.gather_ms``); then a stream's messages come that far apart. What comes after a quiet time goes at once,
and what other watches of the stream have to say takes along what has gathered.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol


class TimerHandle(Protocol):
    def cancel(self) -> None: ...


class Loop(Protocol):
    """The part of an asyncio event loop that is needed. Seconds."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Any: ...


class Gathering:
    """``awaken`` is called when a message is due, perhaps within ``ask``."""

    __slots__ = ("_awaken", "_due_at", "_loop", "_sent_at", "_timer")

    def __init__(self, loop: Loop, awaken: Callable[[], None]) -> None:
        self._loop = loop
        self._awaken = awaken
        self._sent_at = -math.inf
        self._due_at = math.inf
        self._timer: TimerHandle | None = None

    def ask(self, gather_s: float) -> None:
        """There is something to send that may wait until ``gather_s`` after the last message."""
        if gather_s <= 0:
            self._awaken()
            return
        due_at = self._sent_at + gather_s
        if due_at >= self._due_at:
            return
        left_s = due_at - self._loop.time()
        if left_s <= 0:
            self._awaken()
            return
        self.close()
        self._due_at = due_at
        self._timer = self._loop.call_later(left_s, self._expire)

    def sent(self) -> None:
        """Everything that was asked for goes now."""
        self.close()
        self._sent_at = self._loop.time()

    def close(self) -> None:
        """No call of ``awaken`` is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due_at = math.inf

    def _expire(self) -> None:
        self._timer = None
        self._due_at = math.inf
        self._awaken()
