"""How long kubelets may keep what they have read of other objects, by the size of the cluster. Pure.

Source: pkg/controller/ttl. The bounds overlap, so that a cluster whose size swings does not rewrite its nodes.
"""

from __future__ import annotations

from typing import NamedTuple


class Boundary(NamedTuple):
    """``ttl_s`` holds while there are at least ``nodes_min`` and at most ``nodes_max`` nodes."""

    nodes_min: int
    nodes_max: int
    ttl_s: int


BOUNDARIES = (
    Boundary(0, 100, 0),
    Boundary(90, 500, 15),
    Boundary(450, 1000, 30),
    Boundary(900, 2000, 60),
    Boundary(1800, 2**31 - 1, 300),
)


class TtlStep:
    """``ttl_s`` for the number of nodes that was last told by ``resize``."""

    def __init__(self) -> None:
        self._step = 0

    @property
    def ttl_s(self) -> int:
        return BOUNDARIES[self._step].ttl_s

    def resize(self, nodes: int) -> bool:
        """True: the TTL is another one now."""
        before = self._step
        while nodes > BOUNDARIES[self._step].nodes_max:
            self._step += 1
        while nodes < BOUNDARIES[self._step].nodes_min:
            self._step -= 1
        return self._step != before
