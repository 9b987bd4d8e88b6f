"""Exponential backoff with jitter: the pause before the next try of something that failed."""

from __future__ import annotations

from services.base.rand import Rand


class Backoff:
    """Pauses growing by ``factor`` from ``initial_s`` to ``maximum_s``, each stretched by up to ``jitter`` of it."""

    def __init__(
        self,
        rand: Rand,
        *,
        initial_s: float = 0.1,
        maximum_s: float = 30.0,
        factor: float = 2.0,
        jitter: float = 0.5,
    ) -> None:
        self._rand = rand
        self._initial_s = initial_s
        self._maximum_s = maximum_s
        self._factor = factor
        self._jitter = jitter
        self._next_s = initial_s

    def next(self) -> float:
        """Seconds to wait now; the following pause is longer."""
        current = self._next_s
        self._next_s = min(self._maximum_s, current * self._factor)
        return min(self._rand.jitter(current, self._jitter), self._maximum_s)

    def reset(self) -> None:
        """What was tried has succeeded: start again from ``initial_s``."""
        self._next_s = self._initial_s
