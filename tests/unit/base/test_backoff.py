"""Backoff grows to its bound, is jittered within its factor, and starts again after a success."""

from __future__ import annotations

from services.base.backoff import Backoff
from services.base.rand import Rand


def test_pauses_grow_to_the_maximum_and_reset() -> None:
    backoff = Backoff(Rand(1), initial_s=0.1, maximum_s=1.0, factor=2.0, jitter=0.5)
    pauses = [backoff.next() for _ in range(8)]
    for pause, floor in zip(pauses, [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0], strict=True):
        assert floor <= pause <= min(1.0, floor * 1.5)
    backoff.reset()
    assert backoff.next() <= 0.15


def test_the_same_seed_gives_the_same_pauses() -> None:
    first, second = (Backoff(Rand(7)) for _ in range(2))
    assert [first.next() for _ in range(5)] == [second.next() for _ in range(5)]
