"""``ursa bench chaos``: a cluster of its own under load and faults, and the verdict on its history."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from services.base.clock import SystemClock
from services.bench import cluster
from services.bench.chaos import history, stories
from services.bench.chaos.actions import Actions
from services.bench.chaos.causes import Cause, cause
from services.bench.chaos.facts import Fault, Ran, Recovered
from services.bench.chaos.faults import NAMES
from services.bench.chaos.history import History
from services.bench.chaos.parameters import ChaosParameters
from services.bench.chaos.progress import Progress
from services.bench.chaos.recorder import Recorder
from services.bench.chaos.session import Session
from services.bench.chaos.topology import Topology
from services.bench.chaos.validators import VALIDATORS, Violation
from services.bench.link import Link
from services.bench.observe import Observations, Observer
from services.bench.observe.components import Roster
from services.bench.player.display import Display
from services.bench.report import Figure, Report, percentile
from services.rpc.channel import make_channel

Say = Callable[[str], None]

HISTORY = "history.jsonl"
# A fault that breaks a guarantee breaks it for many pods: so many are told in full.
_STORIES_MAX = 5


class UnknownFault(ValueError):
    """A fault that does not exist; the message names those that do."""


def check(parameters: ChaosParameters) -> None:
    """Raises ``UnknownFault``."""
    unknown = [name for name in parameters.faults if name not in NAMES]
    if unknown:
        raise UnknownFault(f"no such fault: {', '.join(unknown)}; there are: {', '.join(NAMES)}")


@dataclass(frozen=True)
class Results:
    """The report, and what was observed; None: nothing was, a history was judged."""

    report: Report
    observations: Observations | None = None


async def run(parameters: ChaosParameters, display: Display, keep: pathlib.Path | None) -> Results:
    """Run it and judge it. ``keep``: the directory for history and logs, kept in any case; else they are kept only if a
    guarantee was violated. Raises ``ClusterFailed``, ``StatusError``, ``UnknownFault``, ``NotDone``, ``OSError``."""
    check(parameters)
    directory = keep or pathlib.Path(tempfile.mkdtemp(prefix="ursa-chaos-"))
    directory.mkdir(parents=True, exist_ok=True)
    display.say(f"seed {parameters.seed}, history in {directory}")
    observations, machine = await play(parameters, directory, display)
    report = judge(history.read(directory / HISTORY), parameters, display)
    report.machine = machine
    if not keep and not report.invalid:
        shutil.rmtree(directory, ignore_errors=True)
    return Results(report, observations)


async def play(
    parameters: ChaosParameters, directory: pathlib.Path, display: Display
) -> tuple[Observations, dict[str, str]]:
    """The run alone: leaves its history in ``directory``. What was observed, and what the result says of the cluster
    beside the machine."""
    clock = SystemClock()
    topology = Topology(parameters.base_port or cluster.free_base_port(), parameters)
    async with contextlib.AsyncExitStack() as stack:
        recorder = stack.enter_context(Recorder(directory / HISTORY))
        links = {
            pair: await stack.enter_async_context(Link(topology.ports[pair], target))
            for pair, target in topology.targets.items()
        }
        display.say(f"starting {parameters.tenant_partitions} TP / {parameters.resource_partitions} RP")
        display.step("starting the cluster", 1)
        started = await stack.enter_async_context(
            cluster.running(
                topology.options(), keep_logs=directory / "logs", pod_timeline=True, base_port=topology.base_port
            )
        )
        host = await stack.enter_async_context(make_channel([topology.kubelet_listen]))
        actions = Actions(Roster(started.home), links, host, clock)
        async with Observer(started, clock=clock) as observer:
            progress = Progress(display, parameters, clock)
            await Session(parameters, started, actions, recorder, clock, progress, observer.mark).run()
        return observer.observations(), started.machine()


def judge(found: History, parameters: ChaosParameters, display: Display) -> Report:
    """Every guarantee against the history; violations are told with the story of what they are about."""
    display.step("judging", len(VALIDATORS))
    verdicts: dict[str, list[Violation]] = {}

    def show() -> None:
        display.update(len(verdicts), {"guarantees": len(verdicts), "violations": sum(map(len, verdicts.values()))})

    show()
    for name, validator in VALIDATORS.items():
        violations = verdicts[name] = list(validator(found))
        display.say(f"{name}: {'holds' if not violations else f'{len(violations)} VIOLATIONS'}")
        _tell(found, violations, display.say)
        show()
    broken = {name: violations for name, violations in verdicts.items() if violations}
    report = Report("chaos", asdict(parameters), figures=figures(found, verdicts))
    report.extra = {
        "guarantees": {name: [violation.text for violation in verdicts[name]] for name in verdicts},
        "faults": [
            {"name": fault.name, "target": fault.target, "seconds": round(fault.ended - fault.began, 3)}
            for fault in found.faults
        ],
    }
    if broken:
        report.invalid = f"{', '.join(broken)} violated; seed {found.begun.seed}, history {found.path}"
    return report


def _tell(found: History, violations: Sequence[Violation], say: Say) -> None:
    for violation in violations[:_STORIES_MAX]:
        say(f"  {violation.text}")
        if violation.pod:
            _indented(stories.of_pod(found, violation.pod), say)
        elif violation.node:
            _indented(stories.of_node(found, violation.node), say)
    if len(violations) > _STORIES_MAX:
        say(f"  and {len(violations) - _STORIES_MAX} more")


def _indented(lines: Sequence[str], say: Say) -> None:
    for line in lines:
        say(f"    {line}")


def figures(found: History, verdicts: Mapping[str, Sequence[Violation]]) -> dict[str, Figure]:
    """What happened, in numbers: without evictions there was little to judge."""
    evicted = [life for life in found.pods.values() if life.ending_at < float("inf")]
    evicted = [life for life in evicted if cause(found, life) is Cause.EVICTED]
    waits = [
        life.ending_at - fault.began
        for life in evicted
        for fault in found.silences(life.node)
        if fault.began <= life.ending_at <= fault.ended
    ]
    recoveries = [check.at - check.began for check in found.of(Recovered)]
    runs = sum(1 for ran in found.of(Ran) if ran.stage == "run")
    return {
        "faults": Figure(len(found.of(Fault)), "faults"),
        "pods": Figure(len(found.pods), "pods"),
        "container_starts": Figure(runs, "starts"),
        "evicted_pods": Figure(len(evicted), "pods"),
        "eviction_p50": Figure(percentile(np.array(waits), 0.5), "s"),
        "eviction_max": Figure(max(waits, default=0.0), "s"),
        "well_again_p50": Figure(percentile(np.array(recoveries), 0.5), "s"),
        "well_again_max": Figure(max(recoveries, default=0.0), "s"),
        "violations": Figure(sum(len(violations) for violations in verdicts.values()), "violations"),
    }
