"""Which fault comes when: in turn, each followed by a check; slow ones in the background, and the rest beside them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from services.base.clock import FakeClock
from services.base.rand import Rand
from services.bench.chaos.facts import Fault
from services.bench.chaos.faults import DARK, NAMES, Inject
from services.bench.chaos.parameters import ChaosParameters
from services.bench.chaos.schedule import Schedule

QUICK = ChaosParameters().quick()
CHECK_S = 2.0


class FakeFaults:
    """Each fault takes ten seconds, a node's death as long as the parameters say."""

    def __init__(self, clock: FakeClock, parameters: ChaosParameters) -> None:
        self.clock = clock
        self.parameters = parameters
        self.spans: dict[str, list[tuple[float, float]]] = {}
        self.death: float | None = None

    def catalogue(self) -> dict[str, Inject]:
        return {name: partial(self._inject, name) for name in NAMES}

    def evictions_begin_in(self) -> float | None:
        if self.death is None:
            return None
        return self.death + self.parameters.grace_s + self.parameters.toleration_s - self.clock.monotonic()

    async def _inject(self, name: str) -> list[Fault]:
        began = self.clock.monotonic()
        taking = name in ("node-death", "node-cut")
        if name == "node-death":
            self.death = began
        await self.clock.sleep(self.parameters.away_s if taking else 10.0)
        self.spans.setdefault(name, []).append((began, self.clock.monotonic()))
        return [Fault(name, "x", began, self.clock.monotonic())]


class Run:
    def __init__(self, parameters: ChaosParameters) -> None:
        self.clock = FakeClock()
        self.faults = FakeFaults(self.clock, parameters)
        self.checks: list[tuple[str, float, float]] = []
        self.schedule = Schedule(self.faults, parameters, self.clock, Rand(1), self._check)  # type: ignore[arg-type]

    async def _check(self, name: str, done: Sequence[Fault]) -> None:
        began = self.clock.monotonic()
        await self.clock.sleep(CHECK_S)
        self.checks.append((name, began, self.clock.monotonic()))

    async def to_the_end(self) -> None:
        running = asyncio.get_running_loop().create_task(self.schedule.run())
        for _ in range(200):
            if running.done():
                return await running
            await self.clock.advance(30.0)
        raise AssertionError("the schedule never ends")

    @property
    def began(self) -> list[str]:
        return [name for name, _, _ in sorted(self.checks, key=lambda check: check[1])]


async def test_without_minutes_every_fault_comes_once_in_its_order() -> None:
    run = Run(QUICK)

    await run.to_the_end()

    assert run.began == list(NAMES)
    assert run.schedule.injected == len(NAMES)


async def test_faults_and_their_checks_never_overlap() -> None:
    run = Run(QUICK)

    await run.to_the_end()

    spans = sorted(span for spans in run.faults.spans.values() for span in spans)
    checks = sorted((began, ended) for _, began, ended in run.checks)
    together = sorted([*spans, *checks])
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(together))


async def test_only_the_chosen_faults_come_again_and_again_until_the_time_is_up() -> None:
    run = Run(replace(QUICK, faults=("rp-kill", "tp-kill"), minutes=2.0))

    await run.to_the_end()

    assert set(run.began) == {"rp-kill", "tp-kill"}
    assert len(run.began) > 4
    assert run.checks[-1][2] < 2 * 60 + 30


async def test_where_evictions_are_slow_nodes_stay_away_while_the_others_come_in_turn() -> None:
    run = Run(ChaosParameters())

    await run.to_the_end()

    [(began, ended)] = run.faults.spans["node-death"]
    assert ended - began == 600.0
    beside = [span for name in ("rp-kill", "etcd-kill", "controller-pause") for span in run.faults.spans[name]]
    assert beside and all(began <= since and until <= ended + 20 for since, until in beside)
    assert {"node-death", "node-cut"} <= set(run.began)


async def test_a_new_kubelet_process_would_forget_who_is_away_so_it_comes_afterwards() -> None:
    run = Run(ChaosParameters())

    await run.to_the_end()

    [(killed, _)] = run.faults.spans["kubelet-kill"]
    assert killed >= run.faults.spans["node-death"][0][1]


async def test_a_tenant_partition_is_dark_when_the_evictions_begin() -> None:
    run = Run(ChaosParameters())

    await run.to_the_end()

    [(dark, _)] = run.faults.spans[DARK]
    [(death, _)] = run.faults.spans["node-death"]
    assert death + 350.0 - 10.0 <= dark <= death + 350.0
    others = [
        span
        for name, spans in run.faults.spans.items()
        if name not in ("node-death", "node-cut", DARK)
        for span in spans
    ]
    assert not any(since <= dark < until for since, until in others)


async def test_slow_times_without_a_fault_that_takes_nodes_are_rounds_as_ever() -> None:
    run = Run(replace(ChaosParameters(), faults=("rp-kill",), minutes=1.0))

    await run.to_the_end()

    assert set(run.began) == {"rp-kill"}
