"""Randomness as a value that is passed in. Seed it, and a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

# Kubernetes' alphabet for generated names: no vowels and no look-alikes, so no words (apimachinery util/rand).
NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


class Rand:
    """A source of chance; ``seed=None`` takes the operating system's entropy."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return self._random.randint(low, high)

    def choice(self, items: Sequence[T]) -> T:
        return self._random.choice(items)

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """All of them in an order by chance."""
        return self._random.sample(items, len(items))

    def exponential(self, mean: float) -> float:
        """Exponentially distributed around ``mean`` (> 0): times between, or lengths of, events without memory."""
        return self._random.expovariate(1.0 / mean)

    def name_suffix(self, length: int = 5) -> str:
        """Random characters for ``generate_name``."""
        return "".join(self._random.choices(NAME_ALPHABET, k=length))

    def jitter(self, base: float, factor: float) -> float:
        """``base`` stretched by up to ``factor`` of itself (apimachinery util/wait.Jitter)."""
        return base * (1.0 + self._random.random() * factor)

    def hexadecimal(self, digits: int) -> str:
        return f"{self._random.getrandbits(4 * digits):0{digits}x}"
