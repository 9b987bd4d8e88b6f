"""Which pods of one node must go so that a pod fits: as few and as unimportant as possible.

Source: kubernetes plugins/defaultpreemption SelectVictimsOnNode and framework/preemption pickOneNodeForPreemption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from services.scheduler.core.budgets import Budgets
from services.scheduler.core.pods import PodInfo

# Added to each victim's priority, so that more victims always sum up to more (priorities may be negative).
PRIORITY_OFFSET = 2**31
# A pod that has not started yet would start now: later than every other.
NOT_STARTED = 2**62


class Room(Protocol):
    """A node from which every possible victim has been taken."""

    def fits(self) -> bool:
        """The preemptor fits as it is now."""
        ...

    def put_back(self, pod: PodInfo) -> bool:
        """Put ``pod`` back if the preemptor still fits then; whether it was."""
        ...


class Order(NamedTuple):
    """How candidates are compared; the smallest is the best. ``start`` is negative: the latest comes first."""

    violations: int
    highest_priority: int
    sum_of_priorities: int
    victims: int
    start: int
    rank: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """``victims``, most important first, make room on ``row``; ``order.violations`` of them violate a budget."""

    order: Order
    row: int
    victims: tuple[PodInfo, ...]


def importance(pod: PodInfo) -> tuple[int, int, int, str]:
    """The most important pod is the smallest: higher priority, then earlier start (scheduler/util MoreImportantPod)."""
    return -pod.priority, pod.started or NOT_STARTED, pod.sequence, pod.uid


def choose(row: int, rank: int, possible: Sequence[PodInfo], room: Room, budgets: Budgets) -> Candidate | None:
    """The victims among ``possible``; ``None``: there are none, or the pod does not fit even without all of them.

    Pods are put back from the most important one on, those first whose disruption would violate a budget.
    """
    if not possible or not room.fits():
        return None
    by_importance = sorted(possible, key=importance)
    violating, others = budgets.split(by_importance)
    lost = _not_put_back(violating, room.put_back)
    gone = [*lost, *_not_put_back(others, room.put_back)]
    if lost and len(gone) > len(lost):
        gone.sort(key=importance)
    if not gone:
        return None
    return Candidate(order_of(gone, len(lost), rank), row, tuple(gone))


def _not_put_back(pods: Iterable[PodInfo], put_back: Callable[[PodInfo], bool]) -> list[PodInfo]:
    return [pod for pod in pods if not put_back(pod)]


def order_of(victims: Sequence[PodInfo], violations: int, rank: int) -> Order:
    """``victims``, most important first."""
    highest = victims[0].priority
    return Order(
        violations=violations,
        highest_priority=highest,
        sum_of_priorities=sum(pod.priority + PRIORITY_OFFSET for pod in victims),
        victims=len(victims),
        # The earliest start of the victims of the highest priority.
        start=-min(pod.started or NOT_STARTED for pod in victims if pod.priority == highest),
        rank=rank,
    )
