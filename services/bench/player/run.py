"""A whole run: a cluster, its tenants and nodes, the witness, the steps one after the other, and what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from services.base import timeline
from services.base.clock import Clock
from services.base.rand import Rand
from services.bench import cluster, crew
from services.bench.cluster import BenchCluster
from services.bench.observe.observations import Observations
from services.bench.observe.observer import Observer
from services.bench.observe.stages import Stages, collect_stages
from services.bench.player import accounts, results, sightings, site, witness
from services.bench.player.display import Display
from services.bench.player.driver import Driver, DriverFailed, Limits
from services.bench.player.encoding import Encoder
from services.bench.player.journal import Journal
from services.bench.player.requests import Request, Scenario, Settling, Step
from services.bench.player.results import Played, StepTimes
from services.bench.player.sightings import Counts
from services.bench.report import Figure

POLL_S = 0.2
AUDITS = 20
WITNESS = "bench witness"


@dataclass(frozen=True)
class Settings:
    """Where and how a run takes place. ``nodes``: in all. ``home``: of a one-box that runs already; None: one of the
    run's own. ``timeout_s``: how long a step may take to settle after its last answer, and a request to be answered.
    ``keep``: the cluster stays up. ``options``: more of ``ursa up``."""

    nodes: int
    tenant_partitions: int = 2
    resource_partitions: int = 2
    hollow_hosts: int = 1
    start_delay_ms: int = 0
    seed: int = 1
    at_once: int = 30
    timeout_s: float = 120.0
    up_timeout_s: float = 300.0
    base_port: int = 0
    log_level: str = "info"
    home: pathlib.Path | None = None
    keep: bool = False
    keep_logs: pathlib.Path | None = None
    options: tuple[str, ...] = ()


@dataclass
class Result:
    """``played`` None: it did not come that far. ``problems``: why it does not count."""

    problems: list[str] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    observations: Observations | None = None
    stages: Stages | None = None
    requests: list[Request] = field(default_factory=list)
    pods_left: int = 0
    machine: dict[str, str] = field(default_factory=dict)
    home: pathlib.Path | None = None


Write = Callable[[site.Nodes, list[str]], Scenario]
"""Makes the scenario for the nodes that there are, and the tenant partitions by name."""


async def run(write: Write, settings: Settings, display: Display, clock: Clock, rand: Rand) -> tuple[Result, Scenario]:
    """Raises ``ClusterFailed``, ``StatusError``; what goes wrong with the scenario itself is in the result."""
    async with _cluster(settings, display) as started:
        nodes = await site.nodes(started.endpoints("resource"))
        scenario = write(nodes, list(started.endpoints("tenant")))
        result = Result(machine=started.machine(), home=started.home)
        await site.prepare(started.endpoints("tenant"), scenario.places, clock)
        with tempfile.TemporaryDirectory(prefix="ursa-bench-") as directory:
            await _Run(scenario, settings, started, nodes, display, clock, rand, pathlib.Path(directory)).play(result)
        return result, scenario


@contextlib.asynccontextmanager
async def _cluster(settings: Settings, display: Display) -> AsyncIterator[BenchCluster]:
    if settings.home is not None:
        yield await cluster.attached(settings.home)
        return
    options = [
        f"--tenant-partitions={settings.tenant_partitions}",
        f"--resource-partitions={settings.resource_partitions}",
        f"--nodes={settings.nodes // settings.resource_partitions}",
        f"--start-delay-ms={settings.start_delay_ms}",
        f"--hollow-hosts={settings.hollow_hosts}",
        f"--log-level={settings.log_level}",
        f"--wait-seconds={settings.up_timeout_s:g}",
        *settings.options,
    ]
    display.say(
        f"starting {settings.tenant_partitions} TP / {settings.resource_partitions} RP with {settings.nodes} nodes"
    )
    display.step("starting the cluster", 1)
    async with cluster.running(
        options,
        pod_timeline=True,
        keep=settings.keep,
        keep_logs=settings.keep_logs,
        base_port=settings.base_port,
    ) as started:
        yield started


class _Run:
    def __init__(
        self, scenario: Scenario, settings: Settings, started: BenchCluster, nodes: site.Nodes, display: Display,
        clock: Clock, rand: Rand, directory: pathlib.Path,
    ) -> None:  # fmt: skip
        self._scenario = scenario
        self._settings = settings
        self._cluster = started
        self._nodes = nodes
        self._display = display
        self._clock = clock
        self._rand = rand
        self._directory = directory
        self._journal = Journal()
        self._steps: list[StepTimes] = []
        self._counts = Counts()
        self._violations: list[str] = []

    async def play(self, result: Result) -> None:
        endpoints = self._cluster.endpoints("tenant")
        load = {"mode": witness.MODE, "endpoints": endpoints}
        async with (
            crew.worker(load, self._directory) as worker,
            site.links(endpoints, self._scenario.places) as links,
            Observer(self._cluster, clock=self._clock) as observer,
        ):
            observer.add_process(WITNESS, worker.pid)
            limits = Limits(self._settings.at_once, self._settings.timeout_s)
            encoder = Encoder(self._scenario.templates)
            driver = Driver(links, encoder, self._journal, limits, self._clock, self._rand)
            began = self._clock.monotonic()
            try:
                for step in self._scenario.steps:
                    observer.mark(step.name)
                    await self._step(step, driver, worker)
                    result.pods_left = step.pods
                result.problems += await self._audit(worker)
            except DriverFailed as failure:
                result.problems.append(str(failure))
            await self._look(worker)
            await worker.ask(do="save", file=str(self._directory / "sightings.npz"))
            await observer.look()
            result.observations = observer.observations()
        result.requests = self._journal.played(began)
        # Timelines are whole up to a second ago, and everything that counts has happened.
        await self._clock.sleep(2 * timeline.FLUSH_S)
        self._evaluate(result)

    def _evaluate(self, result: Result) -> None:
        table = sightings.load(self._directory / "sightings.npz")
        files = self._cluster.timelines()
        journals = [file for file in files if file.name.startswith("hollow")]
        marks = (mark for file in journals for mark in timeline.read(file)) if journals else None
        account = accounts.settle(self._journal, table, self._nodes.names, self._violations, marks)
        result.problems += account.problems
        played = Played(
            self._journal, table, account, self._counts, self._steps, len(self._nodes.names), self._nodes.registered_s
        )
        result.stages = collect_stages(files, results.watched(played))
        result.figures = results.figures(played, result.stages, result.observations)

    # -- steps

    async def _step(self, step: Step, driver: Driver, worker: crew.Worker) -> None:
        self._display.step(step.name, len(step.requests))
        began = self._clock.monotonic()
        answered = await self._play_followed(step, driver, worker)
        await self._settle(step, worker)
        settled = self._clock.monotonic()
        self._steps.append(StepTimes(step.name, began, answered, settled, step.paced))
        if step.hold_s:
            await self._hold(step, worker)

    async def _play_followed(self, step: Step, driver: Driver, worker: crew.Worker) -> float:
        """Play it while the display goes on; when the last answer came. Raises ``DriverFailed``."""
        answered_before = self._journal.answered
        playing, failure = True, None

        async def follow() -> None:
            # Told to end, not cancelled: a question that was asked must have its answer read.
            while playing:
                await self._look(worker)
                self._display.update(self._journal.answered - answered_before, self._numbers())
                await self._clock.sleep(POLL_S)

        async with asyncio.TaskGroup() as group:
            group.create_task(follow())
            try:
                await driver.play(step)
            except DriverFailed as failed:
                failure = failed
            answered = self._clock.monotonic()
            playing = False
        if failure is not None:
            raise failure
        return answered

    async def _settle(self, step: Step, worker: crew.Worker) -> None:
        """Raises ``DriverFailed`` when what is wanted does not come about in time."""
        if step.settling is Settling.NONE:
            return
        self._display.step(f"{step.name}: settling", step.pods or 1)
        deadline = self._clock.monotonic() + self._settings.timeout_s
        while True:
            await self._look(worker)
            counts = self._counts
            # Of ended pods some may have been collected, as nobody needs them any more.
            if counts.there_ran + counts.collected >= step.pods and counts.there <= step.pods:
                return
            self._display.update(counts.there_ran if step.pods else 1, self._numbers())
            if self._violations:
                return
            if self._clock.monotonic() > deadline:
                seen = f"{counts.there_ran} of {step.pods} pods Running or ended, {counts.there} there"
                raise DriverFailed(f"{step.name} did not settle within {self._settings.timeout_s:g} s: {seen}")
            await self._clock.sleep(POLL_S)

    async def _hold(self, step: Step, worker: crew.Worker) -> None:
        self._display.step(f"{step.name}: holding", round(step.hold_s))
        began = self._clock.monotonic()
        while (passed := self._clock.monotonic() - began) < step.hold_s:
            await self._look(worker)
            self._display.update(round(passed), self._numbers())
            await self._clock.sleep(min(1.0, step.hold_s - passed))

    async def _look(self, worker: crew.Worker) -> None:
        answer: dict[str, Any] = await worker.ask(do="counts")
        self._violations = answer.pop("problems")
        self._counts = Counts(**answer)

    def _numbers(self) -> dict[str, object]:
        counts, journal = self._counts, self._journal
        return {
            "open": journal.sent - journal.answered,
            "retries": journal.retries,
            "there": counts.there,
            "bound": counts.bound,
            "running": counts.running,
            "ended": counts.ended,
            "gone": counts.seen - counts.there,
        }

    async def _audit(self, worker: crew.Worker) -> list[str]:
        """What a consistent list of every partition says, held against the watch, which may be a moment late."""
        for _ in range(AUDITS):
            found = await worker.ask(do="audit")
            if not any(found.values()):
                return []
            await self._clock.sleep(POLL_S)
        return [
            f"{what} {', '.join(found[key])}"
            for key, what in (
                ("failed", "pods could not be listed in the end:"),
                ("missing", "pods that no list has:"),
                ("unseen", "pods that no watch showed:"),
            )
            if found[key]
        ]
