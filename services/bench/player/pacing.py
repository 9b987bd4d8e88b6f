"""When requests are due, and how numbers are spread: the arithmetic of schedules. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from services.base.rand import Rand
from services.bench.player.requests import Place

T = TypeVar("T")


def due_s(number: int, per_second: float) -> float:
    """When number ``number`` (from 0) is due at an even rate; 0 for a rate of 0 (as fast as it goes)."""
    return number / per_second if per_second else 0.0


def batches(count: int, size: int, first: int = 0) -> Iterator[tuple[int, int]]:
    """(first, count) of runs of at most ``size`` that cover ``count`` numbers from ``first``."""
    for start in range(first, first + count, size):
        yield start, min(size, first + count - start)


def places(partitions: Sequence[str], tenants: int, namespaces: int, prefix: str = "bench") -> tuple[Place, ...]:
    """``tenants`` on each partition with ``namespaces`` each; neighbours in the order are on different partitions."""
    found = []
    for namespace in range(namespaces):
        for tenant in range(tenants):
            for partition in partitions:
                name = f"{prefix}-{partition}" + (f"-{tenant + 1}" if tenants > 1 else "")
                found.append(Place(partition, name, "default" if not namespace else f"load-{namespace + 1}"))
    return tuple(found)


def in_turn(items: Sequence[T], number: int) -> T:
    return items[number % len(items)]


class Lifetimes:
    """Draws how long pods live: a ``share`` of them are batch jobs that end by themselves, exponentially distributed
    around ``mean_s``, between a tenth and five times of it; 0 for those that run on."""

    def __init__(self, share: float, mean_s: float, rand: Rand) -> None:
        self._share = share
        self._mean_s = mean_s
        self._rand = rand

    def draw(self, count: int) -> tuple[float, ...]:
        """One for each of ``count`` pods; empty if all run on."""
        if not self._share:
            return ()
        drawn = tuple(self._one() for _ in range(count))
        return drawn if any(drawn) else ()

    def one_s(self) -> float:
        """The lifetime of a batch job."""
        return round(min(5 * self._mean_s, max(0.1 * self._mean_s, self._rand.exponential(self._mean_s))), 3)

    def _one(self) -> float:
        return self.one_s() if self._rand.uniform(0.0, 1.0) < self._share else 0.0
