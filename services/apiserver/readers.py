"""Readers of watches that take nothing: what a stream holds for one must not be held for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.rpc.lanes import Budget

_SWEEPS_PER_PATIENCE = 8


class Reader:
    """The reader of one stream. Its stream sets ``size_bytes`` and ``writing_since_s`` (0: nothing is on its way)
    around each write; ``gone``: it was given up, and the stream ends with its write."""

    __slots__ = ("_give_up", "_leave", "gone", "left_bytes", "size_bytes", "writing_since_s")

    def __init__(self, give_up: Callable[[], None], leave: Callable[[], None]) -> None:
        self._give_up = give_up
        self._leave = leave
        self.writing_since_s = 0.0
        self.size_bytes = 0
        self.left_bytes = 0
        self.gone = False

    def give_up(self) -> None:
        self.gone = True
        self._give_up()

    def leave(self) -> None:
        self.left_bytes = self.size_bytes
        self._leave()


class Readers:
    """The readers of all streams of watches. One that takes nothing of a message for ``patience_s`` is given up within
    an eighth of that more: what its stream holds goes at once, and the call ends when it reads after all, or leaves.

    gRPC cannot break off a message that it has begun to send, which stays in memory: streams leave their places for at
    most as many bytes of such messages as ``budget`` has, and further ones keep theirs. One sweep for all, since a
    timer for each of a million writes would be dear.
    """

    def __init__(self, patience_s: float, budget: Budget) -> None:
        self.patience_s = patience_s
        self._budget = budget
        self._readers: dict[Reader, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, give_up: Callable[[], None], leave: Callable[[], None]) -> Reader:
        """``give_up``: free what the stream holds; ``leave``: its place, then or later."""
        reader = Reader(give_up, leave)
        self._readers[reader] = None
        if self._timer is None:
            self._wait()
        return reader

    def discard(self, reader: Reader) -> None:
        """Its stream has ended."""
        del self._readers[reader]
        self._budget.give(reader.left_bytes)
        if not self._readers and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.patience_s / _SWEEPS_PER_PATIENCE, self._sweep)

    def _sweep(self) -> None:
        before_s = asyncio.get_running_loop().time() - self.patience_s
        for reader in tuple(self._readers):
            if 0.0 < reader.writing_since_s <= before_s:
                if not reader.gone:
                    reader.give_up()
                if not reader.left_bytes and self._budget.take(reader.size_bytes):
                    reader.leave()
        self._wait()
