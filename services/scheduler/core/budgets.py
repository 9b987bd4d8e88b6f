"""PodDisruptionBudgets as preemption sees them: how many more of their pods may be disrupted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from services.api.selectors import LabelSelector
from services.scheduler.core.pods import PodClass, PodInfo


@dataclass(frozen=True, slots=True)
class Budget:
    """``selector`` matches pods of ``tenant`` and ``namespace``; ``allowed`` more of them may be disrupted.

    ``disrupted`` are the names of pods whose disruption is granted already (status.disruptedPods).
    """

    tenant: str
    namespace: str
    name: str
    selector: LabelSelector
    allowed: int
    disrupted: frozenset[str] = frozenset()


@dataclass
class Budgets:
    """The budgets during one round of preemptions: each chosen victim uses up what it disrupts."""

    budgets: Sequence[Budget] = ()
    _left: list[int] = field(init=False)
    _matching: dict[PodClass, tuple[int, ...]] = field(default_factory=dict)
    _of_namespace: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._left = [budget.allowed for budget in self.budgets]
        for index, budget in enumerate(self.budgets):
            self._of_namespace.setdefault((budget.tenant, budget.namespace), []).append(index)

    def __bool__(self) -> bool:
        return bool(self.budgets)

    def exhausted(self, pods: PodClass) -> bool:
        """Some budget of these pods allows no disruption more: hardly any of them can go without violating it."""
        return any(self._left[index] <= 0 for index in self._of(pods))

    def split(self, victims: Iterable[PodInfo]) -> tuple[list[PodInfo], list[PodInfo]]:
        """Those whose disruption would violate a budget if all of ``victims`` went in that order, and the others.

        Source: kubernetes plugins/defaultpreemption filterPodsWithPDBViolation.
        """
        if not self.budgets:
            return [], list(victims)
        left = self._left.copy()
        violating: list[PodInfo] = []
        others: list[PodInfo] = []
        for pod in victims:
            violates = False
            for index in self._of(pod.kind):
                if pod.name in self.budgets[index].disrupted:
                    continue
                left[index] -= 1
                violates |= left[index] < 0
            (violating if violates else others).append(pod)
        return violating, others

    def disrupt(self, victims: Iterable[PodInfo]) -> None:
        """``victims`` are going to be disrupted."""
        for pod in victims:
            for index in self._of(pod.kind):
                if pod.name not in self.budgets[index].disrupted:
                    self._left[index] -= 1

    def _of(self, pods: PodClass) -> tuple[int, ...]:
        found = self._matching.get(pods)
        if found is None:
            # As upstream: a pod without labels has no budget, and a selector of nothing matches none.
            found = self._matching[pods] = tuple(
                index
                for index in self._of_namespace.get((pods.tenant, pods.namespace), ())
                if pods.labels and _selects(self.budgets[index].selector, pods)
            )
        return found


def _selects(selector: LabelSelector, pods: PodClass) -> bool:
    return not selector.everything and selector.matches(pods.labels)
