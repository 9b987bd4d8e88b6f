"""When each of thousands of watches ends: by the second, with one timer for all of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Wheel(Generic[T]):
    """``due`` is called with each item at its time, or within ``slot_s`` after it. An item is on it once at most."""

    def __init__(self, due: Callable[[T], None], slot_s: float = 1.0) -> None:
        self._due = due
        self._slot_s = slot_s
        self._slots: dict[int, dict[T, None]] = {}
        self._slot_of: dict[T, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0

    def __len__(self) -> int:
        return len(self._slot_of)

    def add(self, item: T, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        slot = math.ceil((loop.time() + delay_s) / self._slot_s)
        self._slots.setdefault(slot, {})[item] = None
        self._slot_of[item] = slot
        if self._timer is None or slot < self._next:
            self._wait_for(slot)

    def discard(self, item: T) -> None:
        slot = self._slot_of.pop(item, None)
        if slot is not None:
            items = self._slots[slot]
            del items[item]
            if not items:
                del self._slots[slot]

    def close(self) -> None:
        """Nothing is due any more."""
        self._slots.clear()
        self._slot_of.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait_for(self, slot: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = slot
        self._timer = asyncio.get_running_loop().call_at(slot * self._slot_s, self._turn)

    def _turn(self) -> None:
        self._timer = None
        for item in tuple(self._slots.get(self._next, ())):
            self.discard(item)
            self._due(item)
        if self._slots and self._timer is None:
            self._wait_for(min(self._slots))
