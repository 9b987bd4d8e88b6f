"""What a budget's status is to be, as a table; and which budgets are worked out when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from services.api import manifests
from services.api.disruption import BudgetChange, Change, PlaceLeft, PodChange, PodState, ScaleChange
from services.api.kinds import POD_DISRUPTION_BUDGETS
from services.api.pb.ursa.policy.v1.pod_disruption_budget_pb2 import PodDisruptionBudget, PodDisruptionBudgetStatus
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.controllers.disruption import DELETION_TIMEOUT_S, Budgets, DisruptionController, decide
from services.rpc import status
from tests.support.client_world import until

NOW = 1_000.0
PLACE = ("acme", "default")
KEY = "/ursa/poddisruptionbudgets/acme/default/web"
WEB = {"matchLabels": {"app": "web"}}


def budget(**spec: Any) -> PodDisruptionBudget:
    metadata = {"name": "web", "namespace": "default", "tenant": "acme", "uid": "u", "generation": 3}
    document = {"metadata": metadata, "spec": {"selector": WEB, **spec}}
    made = manifests.parse_json(POD_DISRUPTION_BUDGETS, document)
    assert isinstance(made, PodDisruptionBudget)
    return made


def pod(name: str, *, app: str = "web", ready: bool = True, ending: bool = False, finished: bool = False) -> PodState:
    return PodState(name, {"app": app}, ready, ending, finished)


def numbers(status: PodDisruptionBudgetStatus) -> tuple[int, int, int, int]:
    """(expected, desired, healthy, allowed)"""
    return status.expected_pods, status.desired_healthy, status.current_healthy, status.disruptions_allowed


FOUR = [pod(f"p{number}") for number in range(4)]


@pytest.mark.parametrize(
    ("spec", "pods", "expected"),
    [
        ({"minAvailable": 3}, FOUR, (4, 3, 4, 1)),
        ({"minAvailable": "60%"}, FOUR, (4, 3, 4, 1)),
        ({"minAvailable": "100%"}, FOUR, (4, 4, 4, 0)),
        ({"maxUnavailable": 1}, FOUR, (4, 3, 4, 1)),
        ({"maxUnavailable": "30%"}, FOUR, (4, 2, 4, 2)),
        ({"maxUnavailable": 9}, FOUR, (4, 0, 4, 4)),
        ({"minAvailable": 9}, FOUR, (4, 9, 4, 0)),
        ({"minAvailable": 0}, [], (0, 0, 0, 0)),
        ({}, FOUR, (0, 0, 4, 0)),
        ({"minAvailable": 1}, [*FOUR, pod("x", app="db")], (4, 1, 4, 3)),
        ({"minAvailable": 1}, [pod("a", ready=False), pod("b")], (2, 1, 1, 0)),
        ({"maxUnavailable": 1}, [pod("a", ending=True), pod("b"), pod("c")], (3, 2, 2, 0)),
        ({"minAvailable": 1}, [pod("a", finished=True), pod("b")], (1, 1, 1, 0)),
        ({"minAvailable": 1, "selector": {}}, [*FOUR, pod("x", app="db")], (5, 1, 5, 4)),
    ],
)
def test_the_numbers_of_a_budget(spec: dict[str, Any], pods: list[PodState], expected: tuple[int, ...]) -> None:
    assert numbers(decide(budget(**spec), pods, NOW).status) == expected


def test_an_unset_selector_selects_nothing() -> None:
    unset = budget(minAvailable=1)
    unset.spec.ClearField("selector")
    assert numbers(decide(unset, FOUR, NOW).status) == (0, 1, 0, 0)


def test_a_granted_disruption_counts_until_it_is_seen_or_runs_out() -> None:
    held = budget(minAvailable=2)
    for name, at in (("p0", NOW - 20), ("p1", NOW - DELETION_TIMEOUT_S - 1), ("gone", NOW), ("going", NOW)):
        held.status.disrupted_pods[name].seconds = int(at)
    verdict = decide(held, [*FOUR, pod("going", ending=True)], NOW)
    assert set(verdict.status.disrupted_pods) == {"p0"}
    assert numbers(verdict.status) == (5, 2, 3, 1)
    assert verdict.recheck_s == DELETION_TIMEOUT_S - 20


def test_the_condition_says_when_it_changed() -> None:
    held = budget(minAvailable=1)
    held.status.CopyFrom(decide(held, FOUR, NOW).status)
    (condition,) = held.status.conditions
    assert (condition.status, condition.reason, condition.last_transition_time.seconds) == (
        "True",
        "SufficientPods",
        1000,
    )
    held.status.CopyFrom(decide(held, FOUR[:2], NOW + 5).status)
    assert held.status.conditions[0].last_transition_time.seconds == 1000
    held.status.CopyFrom(decide(held, FOUR[:1], NOW + 9).status)
    (condition,) = held.status.conditions
    assert (condition.status, condition.reason, condition.last_transition_time.seconds) == (
        "False", "InsufficientPods", 1009,
    )  # fmt: skip
    assert (condition.observed_generation, held.status.observed_generation) == (3, 3)
    assert decide(held, FOUR[:1], NOW + 20).status == held.status, "nothing new, nothing written"


def test_only_places_where_something_changed_are_worked_out() -> None:
    budgets = Budgets()
    budgets.see([BudgetChange(KEY, PLACE, budget(minAvailable=1)), PodChange("/p0", PLACE, FOUR[0])])
    assert [key for key, _, _ in budgets.due(NOW)] == [KEY]
    assert not budgets.due(NOW)
    budgets.see([PodChange("/p0", PLACE, None)])
    assert [numbers(verdict.status) for _, _, verdict in budgets.due(NOW)] == [(0, 1, 0, 0)]
    budgets.see([BudgetChange(KEY, PLACE, None)])
    assert not budgets.due(NOW)


def test_a_budget_that_comes_back_finds_its_pods_unless_their_place_was_left() -> None:
    budgets, shown = Budgets(), BudgetChange(KEY, PLACE, budget(minAvailable=1))
    budgets.see([shown, PodChange("/p0", PLACE, FOUR[0]), BudgetChange(KEY, PLACE, None), shown])
    assert [numbers(verdict.status) for _, _, verdict in budgets.due(NOW)] == [(1, 1, 1, 0)]
    budgets.see([BudgetChange(KEY, PLACE, None), PlaceLeft(PLACE), shown])
    assert [numbers(verdict.status) for _, _, verdict in budgets.due(NOW)] == [(0, 1, 0, 0)]


class Partition:
    """Shows what it is told to, and keeps the statuses that are written."""

    def __init__(self) -> None:
        self.shown: asyncio.Queue[Sequence[Change]] = asyncio.Queue()
        self.written: list[tuple[str, tuple[int, int, int, int]]] = []
        self.failures = 0
        self.opened = 0

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[Callable[[], Awaitable[Sequence[Change]]]]:
        self.opened += 1
        yield self.shown.get

    async def write_status(self, key: str, budget: PodDisruptionBudget, wanted: PodDisruptionBudgetStatus) -> None:
        if self.failures:
            self.failures -= 1
            raise status.unavailable("down")
        self.written.append((key, numbers(wanted)))


async def test_the_loop_gathers_changes_writes_what_differs_and_comes_back_when_a_grant_runs_out() -> None:
    clock, port = FakeClock(), Partition()
    held = budget(minAvailable=1)
    held.status.disrupted_pods["p0"].seconds = int(clock.time())
    async with Supervisor() as tasks:
        tasks.start(DisruptionController(port, clock, Rand(1)).run(), name="disruption")
        port.shown.put_nowait([BudgetChange(KEY, PLACE, held), *(PodChange(f"/{p.name}", PLACE, p) for p in FOUR)])
        await until(clock, lambda: len(port.written) == 1)
        assert port.written[-1] == (KEY, (4, 1, 3, 2))
        await clock.advance(DELETION_TIMEOUT_S + 3)
        await until(clock, lambda: len(port.written) == 2)
        assert port.written[-1] == (KEY, (4, 1, 4, 3))


async def test_after_a_failure_everything_is_looked_at_anew() -> None:
    clock, port = FakeClock(), Partition()
    port.failures = 1
    async with Supervisor() as tasks:
        tasks.start(DisruptionController(port, clock, Rand(1)).run(), name="disruption")
        port.shown.put_nowait([BudgetChange(KEY, PLACE, budget(minAvailable=1))])
        await until(clock, lambda: port.opened == 2)
        port.shown.put_nowait([BudgetChange(KEY, PLACE, budget(minAvailable=1))])
        await until(clock, lambda: bool(port.written))


def owned(name: str, workload: str = "rs-1") -> PodState:
    return replace(pod(name), workload=workload)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"maxUnavailable": 1}, (10, 9, 4, 0)),
        ({"maxUnavailable": "70%"}, (10, 3, 4, 1)),
        ({"minAvailable": "20%"}, (10, 2, 4, 2)),
        ({"minAvailable": 3}, (4, 3, 4, 1)),
    ],
    ids=["maxUnavailable", "maxUnavailable %", "minAvailable %", "minAvailable counts what there is"],
)
def test_what_is_expected_is_what_the_workloads_want(spec: dict[str, Any], expected: tuple[int, ...]) -> None:
    pods = [owned(f"p{number}") for number in range(4)]
    assert numbers(decide(budget(**spec), pods, NOW, {"rs-1": 10, "other": 99}).status) == expected


def test_several_workloads_and_pods_of_nobody_are_expected_together() -> None:
    pods = [owned("a"), owned("b", "rs-2"), pod("c")]
    found = decide(budget(maxUnavailable=2), pods, NOW, {"rs-1": 3, "rs-2": 2})
    assert numbers(found.status) == (6, 4, 3, 0)


def test_while_nobody_knows_what_a_workload_wants_nothing_may_be_disrupted() -> None:
    before = decide(budget(maxUnavailable=1), FOUR, NOW).status
    assert before.disruptions_allowed == 1
    known = budget(maxUnavailable=1)
    known.status.CopyFrom(before)
    found = decide(known, [owned("a")], NOW + 5, {}).status
    [condition] = found.conditions
    assert found.disruptions_allowed == 0 and found.expected_pods == before.expected_pods
    assert (condition.status, condition.reason) == ("False", "SyncFailed") and "rs-1" in condition.message
    again = decide(known, [owned("a")], NOW + 6, {"rs-1": 1}).status
    assert again.conditions[0].reason == "SufficientPods" and again.conditions[0].message == ""


def test_a_budget_is_worked_out_again_when_a_workload_is_scaled() -> None:
    budgets = Budgets()
    budgets.see([BudgetChange(KEY, PLACE, budget(maxUnavailable=1)), ScaleChange("rs-1", PLACE, 1)])
    budgets.see([PodChange("/a", PLACE, owned("a"))])
    assert [numbers(verdict.status) for _, _, verdict in budgets.due(NOW)] == [(1, 0, 1, 1)]
    budgets.see([ScaleChange("rs-1", PLACE, 5)])
    assert [numbers(verdict.status) for _, _, verdict in budgets.due(NOW)] == [(5, 4, 1, 0)]
    budgets.see([ScaleChange("rs-1", PLACE, None)])
    [(_, _, verdict)] = budgets.due(NOW)
    assert verdict.status.conditions[0].reason == "SyncFailed"
