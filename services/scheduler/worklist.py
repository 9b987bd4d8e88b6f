"""Work that may fail and is tried again, each item after a pause of its own: what fails holds up nothing else. Pure."""

from __future__ import annotations

from typing import Generic, TypeVar

from services.base.backoff import Backoff
from services.base.rand import Rand

T = TypeVar("T")


class Worklist(Generic[T]):
    """Items by key, in the order in which they came; one that failed goes to the back and waits."""

    def __init__(self, rand: Rand, *, initial_s: float = 0.1, maximum_s: float = 5.0) -> None:
        self._rand = rand
        self._initial_s = initial_s
        self._maximum_s = maximum_s
        self._items: dict[str, T] = {}
        # Of those that failed: when they are due (monotonic seconds), and how long the next pause is.
        self._due: dict[str, float] = {}
        self._backoffs: dict[str, Backoff] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def add(self, key: str, item: T) -> None:
        """One that is known keeps its place and its pause."""
        self._items[key] = item

    def done(self, key: str) -> None:
        """Idempotent."""
        self._items.pop(key, None)
        self._due.pop(key, None)
        self._backoffs.pop(key, None)

    def failed(self, key: str, now: float) -> None:
        """Try again later; nothing if it was done meanwhile."""
        if key not in self._items:
            return
        self._items[key] = self._items.pop(key)
        backoff = self._backoffs.get(key)
        if backoff is None:
            backoff = Backoff(self._rand, initial_s=self._initial_s, maximum_s=self._maximum_s)
            self._backoffs[key] = backoff
        self._due[key] = now + backoff.next()

    def take(self, now: float, limit: int) -> list[T]:
        """At most ``limit`` items that are due. They stay until ``done``."""
        found: list[T] = []
        for key, item in self._items.items():
            if self._due.get(key, now) <= now:
                found.append(item)
                if len(found) == limit:
                    break
        return found

    def next_in(self, now: float) -> float | None:
        """Seconds until an item is due; None if there is none at all."""
        if len(self._due) < len(self._items):
            return 0.0
        return max(0.0, min(self._due.values()) - now) if self._due else None

    def clear(self) -> None:
        self._items.clear()
        self._due.clear()
        self._backoffs.clear()
