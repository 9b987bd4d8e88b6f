"""Small, medium and large workloads: how many of each make up so many pods. Pure.

Source: kubernetes test/e2e/scalability/load.go (``computePodCounts``): large ones get a quarter of the pods, medium
ones a third of the rest, small ones what is left, which is about half.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.base.rand import Rand


@dataclass(frozen=True)
class Size:
    """A class of workloads and how many pods one of them has."""

    name: str
    pods: int


SMALL, MEDIUM, LARGE = Size("small", 5), Size("medium", 30), Size("large", 250)
SIZES = (LARGE, MEDIUM, SMALL)
_SCALE_LEAST, _SCALE_MOST = 0.5, 1.5


@dataclass(frozen=True)
class Group:
    """One workload."""

    name: str
    size: Size
    pods: int


def counts(pods: int) -> dict[Size, int]:
    """How many workloads of each size ``pods`` pods make; at least one small one. Fewer than a small one's pods are
    left over."""
    large = pods // 4 // LARGE.pods
    pods -= large * LARGE.pods
    medium = pods // 3 // MEDIUM.pods
    pods -= medium * MEDIUM.pods
    return {LARGE: large, MEDIUM: medium, SMALL: max(1, pods // SMALL.pods)}


def groups(pods: int, rand: Rand) -> list[Group]:
    """The workloads that ``pods`` pods make, in an order by chance: sizes come mixed, as they would."""
    ordered = [
        Group(f"{size.name}-{number:05d}", size, size.pods)
        for size, count in counts(pods).items()
        for number in range(count)
    ]
    return rand.shuffled(ordered)


def scaled(pods: int, rand: Rand) -> int:
    """A new size between 50 % and 150 %, at least one."""
    return max(1, round(pods * rand.uniform(_SCALE_LEAST, _SCALE_MOST)))
