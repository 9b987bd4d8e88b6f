"""Disruption: keeps each PodDisruptionBudget's status, which says how many of its pods may be disrupted right now.

Source: kube-controller-manager ``pkg/controller/disruption``. The pods that are expected are as many as their workloads
want, and for ``minAvailable`` as a number those that there are. A pod that no workload controls is expected as it is
(upstream does not count it for the other forms).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from google.protobuf.struct_pb2 import Value

from services.api.disruption import BudgetChange, Change, Place, PlaceLeft, PodChange, PodState, ScaleChange
from services.api.pb.ursa.meta.v1.meta_pb2 import Condition
from services.api.pb.ursa.policy.v1.pod_disruption_budget_pb2 import PodDisruptionBudget, PodDisruptionBudgetStatus
from services.api.selectors import LabelSelector
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import first_of
from services.rpc.status import StatusError

_LOG = logging.getLogger(__name__)

# A pod whose eviction was granted is given this long to be seen going; then the grant counts no more.
DELETION_TIMEOUT_S = 120
# Changes are gathered this long: a status is worked out once for many pods.
GATHER_S = 0.2
DISRUPTION_ALLOWED = "DisruptionAllowed"

NO_SCALES: Mapping[str, int] = {}

T = TypeVar("T")


class Port(Protocol):
    """The partition, as far as disruption goes. Every method may raise ``StatusError``."""

    def changes(self) -> AbstractAsyncContextManager[Callable[[], Awaitable[Sequence[Change]]]]:
        """A function that waits for changes: first every budget, and every pod and workload of the namespaces that have
        one."""
        ...

    async def write_status(self, key: str, budget: PodDisruptionBudget, status: PodDisruptionBudgetStatus) -> None:
        """Store ``status`` unless the budget is another one by now than ``budget``."""
        ...


@dataclass(frozen=True)
class Verdict:
    """The status to have, and in how many seconds a grant in it runs out (``None``: there is none)."""

    status: PodDisruptionBudgetStatus
    recheck_s: float | None


def decide(
    budget: PodDisruptionBudget, pods: Iterable[PodState], now: float, scales: Mapping[str, int] = NO_SCALES
) -> Verdict:
    """``pods``: all of the budget's namespace. ``now``: seconds since the epoch. ``scales``: how many pods each
    workload of the namespace wants, by UID."""
    mine = [pod for pod in pods if not pod.finished and selects(budget, pod)]
    granted = _granted(budget, mine, now)
    wanted = len(mine)
    if _is_relative(budget):
        workloads = {pod.workload for pod in mine if pod.workload}
        missing = sorted(workloads - scales.keys())
        if missing:
            return _failed_safe(budget, f"found no controller with UID {missing[0]} for its pods", now)
        wanted = sum(scales[uid] for uid in workloads) + sum(not pod.workload for pod in mine)
    expected, desired = scale(budget, wanted)
    healthy = sum(pod.ready and not pod.ending and pod.name not in granted for pod in mine)
    status = PodDisruptionBudgetStatus(
        observed_generation=budget.metadata.generation,
        disruptions_allowed=max(healthy - desired, 0) if expected else 0,
        current_healthy=healthy,
        desired_healthy=desired,
        expected_pods=expected,
        conditions=budget.status.conditions,
    )
    for name in granted:
        status.disrupted_pods[name].CopyFrom(budget.status.disrupted_pods[name])
    _set_condition(status, now)
    return Verdict(status, min((ends_at - now for ends_at in granted.values()), default=None))


def _is_relative(budget: PodDisruptionBudget) -> bool:
    """It says how many may be missing, or a percentage: of as many as there should be."""
    spec = budget.spec
    return spec.HasField("max_unavailable") or spec.min_available.WhichOneof("kind") == "string_value"


def _failed_safe(budget: PodDisruptionBudget, why: str, now: float) -> Verdict:
    """Nobody can say how many pods there should be: nothing may be disrupted (upstream ``failSafe``)."""
    status = PodDisruptionBudgetStatus()
    status.CopyFrom(budget.status)
    status.disruptions_allowed = 0
    status.observed_generation = budget.metadata.generation
    _condition(status, "False", "SyncFailed", why, now)
    return Verdict(status, None)


def selects(budget: PodDisruptionBudget, pod: PodState) -> bool:
    """An unset selector selects nothing, an empty one every pod of the namespace."""
    if not budget.spec.HasField("selector"):
        return False
    return LabelSelector.from_message(budget.spec.selector).matches(pod.labels)


def scale(budget: PodDisruptionBudget, pods: int) -> tuple[int, int]:
    """(expected, desired healthy) of ``pods`` pods; percentages are rounded up."""
    spec = budget.spec
    if spec.HasField("max_unavailable"):
        return pods, max(pods - scaled(spec.max_unavailable, pods), 0)
    if spec.HasField("min_available"):
        return pods, scaled(spec.min_available, pods)
    return 0, 0


def scaled(value: Value, total: int) -> int:
    """An IntOrString: itself, or its percentage of ``total``, rounded up."""
    if value.WhichOneof("kind") == "string_value":
        return -(-total * int(value.string_value.rstrip("%")) // 100)
    return int(value.number_value)


def _granted(budget: PodDisruptionBudget, pods: Iterable[PodState], now: float) -> dict[str, float]:
    """Pods whose disruption was granted and that have not been seen going: name → when the grant runs out."""
    staying = {pod.name for pod in pods if not pod.ending}
    return {
        name: ends_at
        for name, at in budget.status.disrupted_pods.items()
        if name in staying and (ends_at := at.seconds + DELETION_TIMEOUT_S) >= now
    }


def _set_condition(status: PodDisruptionBudgetStatus, now: float) -> None:
    allowed = status.disruptions_allowed > 0
    wanted = ("True", "SufficientPods") if allowed else ("False", "InsufficientPods")
    _condition(status, *wanted, "", now)


def _condition(status: PodDisruptionBudgetStatus, value: str, reason: str, message: str, now: float) -> None:
    condition = next((known for known in status.conditions if known.type == DISRUPTION_ALLOWED), None)
    if condition is None:
        condition = status.conditions.add(type=DISRUPTION_ALLOWED)
    _update(condition, value, reason, now)
    condition.message = message
    condition.observed_generation = status.observed_generation


def _update(condition: Condition, value: str, reason: str, now: float) -> None:
    if condition.status != value:
        condition.last_transition_time.seconds = int(now)
        condition.last_transition_time.nanos = 0
    condition.status, condition.reason = value, reason


class Budgets:
    """Budgets, and the pods and workloads of their namespaces, as the port has shown them; tells which statuses to work
    out."""

    def __init__(self) -> None:
        self._budgets: dict[Place, dict[str, PodDisruptionBudget]] = {}
        self._pods: dict[Place, dict[str, PodState]] = {}
        self._scales: dict[Place, dict[str, int]] = {}
        self._changed: dict[Place, None] = {}
        self._recheck_at: dict[Place, float] = {}

    def see(self, changes: Iterable[Change]) -> None:
        for change in changes:
            match change:
                case BudgetChange():
                    _put(self._budgets, change.place, change.key, change.budget)
                case PodChange():
                    _put(self._pods, change.place, change.key, change.pod)
                case ScaleChange():
                    _put(self._scales, change.place, change.uid, change.replicas)
                case PlaceLeft():
                    self._pods.pop(change.place, None)
                    self._scales.pop(change.place, None)
                    self._recheck_at.pop(change.place, None)
            self._changed[change.place] = None

    def due(self, now: float) -> list[tuple[str, PodDisruptionBudget, Verdict]]:
        """The budgets of places where something changed or a grant ran out, with what their status is to be."""
        late = [place for place, at in self._recheck_at.items() if at <= now]
        places, self._changed = [*self._changed, *late], {}
        found = []
        for place in dict.fromkeys(places):
            pods, scales = self._pods.get(place, {}).values(), self._scales.get(place, {})
            verdicts = [
                (key, budget, decide(budget, pods, now, scales)) for key, budget in self._budgets.get(place, {}).items()
            ]
            self._recheck_at.pop(place, None)
            rechecks = [verdict.recheck_s for _, _, verdict in verdicts if verdict.recheck_s is not None]
            if rechecks:
                self._recheck_at[place] = now + min(rechecks) + 1
            found += verdicts
        return found

    def next_recheck_s(self, now: float) -> float | None:
        """Seconds until a grant runs out; ``None``: there is none."""
        return max(min(self._recheck_at.values()) - now, 0.0) if self._recheck_at else None


def _put(held: dict[Place, dict[str, T]], place: Place, key: str, value: T | None) -> None:
    if value is not None:
        held.setdefault(place, {})[key] = value
        return
    of_place = held.get(place, {})
    of_place.pop(key, None)
    if not of_place:
        held.pop(place, None)


class DisruptionController:
    """The loop. After a failure it begins anew from everything there is."""

    def __init__(self, port: Port, clock: Clock, rand: Rand) -> None:
        self._port = port
        self._clock = clock
        self._backoff = Backoff(rand, initial_s=0.2, maximum_s=10.0)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with self._port.changes() as changes:
                    await self._follow(changes)
            except StatusError as failure:
                _LOG.info("disruption budgets wait", extra={"why": failure.message})
            await self._clock.sleep(self._backoff.next())

    async def _follow(self, changes: Callable[[], Awaitable[Sequence[Change]]]) -> None:
        budgets = Budgets()
        while True:
            await self._wait(budgets, changes)
            for key, budget, verdict in budgets.due(self._clock.time()):
                if verdict.status != budget.status:
                    await self._port.write_status(key, budget, verdict.status)
            self._backoff.reset()

    async def _wait(self, budgets: Budgets, changes: Callable[[], Awaitable[Sequence[Change]]]) -> None:
        """Take note of the next changes, or return when a grant runs out."""

        async def note() -> None:
            budgets.see(await changes())

        recheck_s = budgets.next_recheck_s(self._clock.time())
        if recheck_s is None:
            await note()
        else:
            await first_of(self._clock.sleep(recheck_s), note())
        await self._clock.sleep(GATHER_S)
