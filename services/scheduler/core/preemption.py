"""Which pods have to go so that pods fit that no node takes: many preemptors in one round, no victim chosen twice.

Victims are pods of a lower priority that this scheduler's own tenant partition has on the node. They are chosen on one
node at a time, as kube-scheduler does (plugins/defaultpreemption, framework/preemption); only the way to the best node
differs (``preemption_search``). Deciding is all that happens here: claims, deletions and nominations are the caller's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.scheduler.core.arrays import Ints
from services.scheduler.core.budgets import Budgets
from services.scheduler.core.evictable import add_requests
from services.scheduler.core.nodes import NodeColumns, NodeId
from services.scheduler.core.pods import PodClass, PodInfo
from services.scheduler.core.usage import Usage
from services.scheduler.core.victims import Candidate


class Placed(Protocol):
    """The pods of the node table (``NodeTable``), as of the usage that a round begins with."""

    def row(self, node: NodeId) -> int | None: ...

    def placed(self, node: NodeId) -> Mapping[str, PodInfo]: ...

    def pod(self, uid: str) -> PodInfo | None: ...

    def node_of(self, uid: str) -> NodeId | None: ...

    def priorities(self, below: int) -> list[int]: ...

    def evictable(self, below: int) -> Ints: ...


@dataclass(frozen=True, slots=True)
class Pledge:
    """Room that is being made: ``pod`` is counted on ``node`` already, its ``victims`` (UIDs) until they have ended."""

    pod: PodInfo
    node: NodeId
    victims: Collection[str]


@dataclass(frozen=True, slots=True)
class Preemption:
    """``victims`` (most important first, never empty) are to go; ``pod`` fits on ``node`` when they have.

    ``violations`` of them violate a PodDisruptionBudget.
    """

    pod: PodInfo
    node: NodeId
    node_uid: str
    victims: tuple[PodInfo, ...]
    violations: int


@dataclass(frozen=True, slots=True)
class NotPreempted:
    """Nobody else has to go for ``pod``: ``message`` says why ("preemption: 0/5 nodes are available: …").

    Either it would not help, or pods that are going already leave room enough: then it waits for their end.

    ``hindered``: pods whose own way is not settled yet stand in the way; worth another try soon, unasked.
    """

    pod: PodInfo
    message: str
    hindered: bool = False


@dataclass(frozen=True, slots=True)
class Preemptions:
    """What a round decided, in the order of decision."""

    chosen: list[Preemption] = field(default_factory=list)
    refused: list[NotPreempted] = field(default_factory=list)


class Round:
    """The state of one round: ``usage`` is as it will be when all that was decided so far has come to pass."""

    def __init__(
        self,
        nodes: NodeColumns,
        usage: Usage,
        placed: Placed,
        budgets: Budgets,
        pledges: Iterable[Pledge],
        exempt: Iterable[str],
    ) -> None:
        self.nodes = nodes
        self.usage = usage.copy()
        self.placed = placed
        self.budgets = budgets
        # Rows where victims of somebody go: they may have room for others as well, with no more victims.
        self.emptying: set[int] = set()
        self._unavailable: dict[str, tuple[PodClass, int]] = {}
        # Evictable sums by priority, without the pods that are not available.
        self._sums: dict[int, Ints] = {}
        for uid in exempt:
            self._withhold(uid)
        for pledge in pledges:
            row = placed.row(pledge.node)
            victims = [pod for uid in pledge.victims if (pod := placed.pod(uid)) is not None]
            if row is not None and victims:
                self._go(row, victims)
                # Those that have begun to end are in the budgets' numbers already.
                budgets.disrupt(pod for pod in victims if not pod.kind.ending)

    def possible(self, row: int, below: int) -> list[PodInfo]:
        """The pods on ``row`` that may be chosen by a preemptor of priority ``below``."""
        unavailable = self._unavailable
        return [
            pod
            for uid, pod in self.placed.placed(self.nodes.ids[row]).items()
            if pod.priority < below and uid not in unavailable
        ]

    def sums(self, below: int) -> Ints:
        """What those pods request, by resource and row; not to be written to."""
        known = self._sums.get(below)
        if known is None:
            known = self._sums[below] = self.placed.evictable(below).copy()
            by_class: dict[PodClass, list[int]] = {}
            for kind, row in self._unavailable.values():
                by_class.setdefault(kind, []).append(row)
            for kind, rows in by_class.items():
                if kind.pod.spec.priority < below:
                    add_requests(known, kind, rows, -1, self.nodes.resources)
        return known

    def without_possible(self, below: int) -> Usage:
        """The usage whose census lacks every pod that a preemptor of priority ``below`` may choose."""
        unavailable = Counter(self._unavailable.values())
        left = self.usage.copy()
        for kind, pods_of_row in self.usage.census.rows():
            if kind.pod.spec.priority < below:
                rows = [row for row, pods in pods_of_row.items() for _ in range(pods - unavailable.get((kind, row), 0))]
                left.census.add(kind, rows, -1)
        return left

    def carry_out(self, pod: PodInfo, found: Candidate) -> Preemption:
        """``pod`` takes the place of the victims."""
        row = found.row
        self.await_room(pod, row)
        self._go(row, found.victims)
        self.budgets.disrupt(found.victims)
        return Preemption(pod, self.nodes.ids[row], self.nodes.uids[row], found.victims, found.order.violations)

    def await_room(self, pod: PodInfo, row: int) -> None:
        """``pod`` will find room on ``row`` without more victims."""
        self.usage.add(pod.kind, (row,))

    def _withhold(self, uid: str) -> None:
        pod, node = self.placed.pod(uid), self.placed.node_of(uid)
        row = None if node is None else self.placed.row(node)
        if pod is not None and row is not None:
            self._unavailable[uid] = (pod.kind, row)

    def _go(self, row: int, victims: Sequence[PodInfo]) -> None:
        """``victims`` leave ``row``."""
        resources = self.nodes.resources
        self.emptying.add(row)
        by_class: dict[PodClass, int] = {}
        for victim in victims:
            if victim.uid not in self._unavailable:
                by_class[victim.kind] = by_class.get(victim.kind, 0) + 1
                self._unavailable[victim.uid] = (victim.kind, row)
        for kind, count in by_class.items():
            self.usage.add(kind, (row,) * count, -1)
            for below, sums in self._sums.items():
                if kind.pod.spec.priority < below:
                    add_requests(sums, kind, (row,) * count, -1, resources)
