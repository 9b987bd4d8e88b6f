"""The figures of a run. Their names are stable: docs and dashboards keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.bench.histograms import Histogram
from services.bench.observe import objectives
from services.bench.observe.observations import Observations, quiet
from services.bench.observe.stages import Stages, Watched
from services.bench.player.accounts import Account
from services.bench.player.density import DELETE, LATENCY, SATURATE
from services.bench.player.journal import Journal
from services.bench.player.sightings import Counts, Table
from services.bench.report import Figure, latency_figures

POD_STARTUP_SLO_MS = objectives.POD_STARTUP_P99_S * 1000.0
_SLO = "Kubernetes' pod start-up SLO"
# Of fewer calls there is no 99th percentile.
_CALLS_MIN = 100
_API_SLO_MS = objectives.CALL_P99_S * 1000.0

Floats = np.ndarray


@dataclass(frozen=True)
class StepTimes:
    """When a step began, had its last answer, and had settled; seconds of CLOCK_MONOTONIC."""

    name: str
    began: float
    answered: float
    settled: float
    paced: bool


@dataclass(frozen=True)
class Played:
    """Everything that is known when a run is over."""

    journal: Journal
    table: Table
    account: Account
    counts: Counts
    steps: Sequence[StepTimes]
    nodes: int
    registered_s: float


class Startup:
    """From the time that each player-made pod was due until the watch showed it Running."""

    def __init__(self, played: Played) -> None:
        journal, account = played.journal, played.account
        self._steps = np.array(journal.pod_steps(), dtype=np.str_)
        self.due = journal.pod_due
        self.running = _at(played.table.times["running"], account.rows)
        self.bound = _at(played.table.times["bound"], account.rows)
        self.acknowledged = journal.pod_acknowledged

    def of(self, steps: Sequence[str] | None = None) -> np.ndarray:
        """Which pods were created in these steps and ran."""
        ran: np.ndarray = np.isfinite(self.running)
        return ran if steps is None else ran & np.isin(self._steps, list(steps))

    def seconds(self, chosen: np.ndarray) -> Floats:
        took: Floats = np.maximum(self.running - self.due, 0.0)[chosen]
        return took


def watched(played: Played) -> dict[str, Watched]:
    """Every pod for ``collect_stages``: those of the player from when they were due, those that a controller made from
    when the watch first showed them."""
    journal, times = played.journal, played.table.times
    found = {
        uid: Watched(seen, running)
        for uid, seen, running in zip(played.table.uids, times["seen"].tolist(), times["running"].tolist(), strict=True)
    }
    for uid, due, row in zip(journal.uids, journal.pod_due.tolist(), played.account.rows.tolist(), strict=True):
        if row >= 0:
            found[uid] = Watched(due, found[uid].running_s)
    return found


def figures(played: Played, stages: Stages, observations: Observations | None) -> dict[str, Figure]:
    """All that could be measured."""
    startup = Startup(played)
    made: dict[str, Figure] = {}
    for part in (_pods(played, startup), _steps(played), _controlled(played), _calls(played), _whereabouts(played)):
        made |= part
    for name, seconds in stages.steps_s().items():
        if len(seconds):
            made |= latency_figures(f"stage_{name}", seconds)
    if observations is not None:
        made |= _observed(observations) | _cost(observations, played.counts.ran)
    return made


def _pods(played: Played, startup: Startup) -> dict[str, Figure]:
    every = startup.of()
    if not every.any():
        return {}
    paced = [step.name for step in played.steps if step.paced]
    chosen = startup.of(paced)
    made = _startup("pod_startup", startup.seconds(chosen if chosen.any() else every))
    for step, name in ((SATURATE, "saturation_startup"), (LATENCY, "latency_startup")):
        if (of_step := startup.of([step])).any():
            made |= _startup(name, startup.seconds(of_step))
    fill = of_step if (of_step := startup.of([SATURATE])).any() else every
    took_s = float(startup.running[fill].max() - startup.due[fill].min())
    create_s = float(startup.acknowledged[fill].max() - startup.due[fill].min())
    made |= {
        "all_running": Figure(took_s, "s"),
        "pods_running_per_second": Figure(float(fill.sum()) / took_s, "pods/s"),
        "creates_per_second": Figure(float(fill.sum()) / create_s, "pods/s"),
        **latency_figures("create_acknowledged", (startup.acknowledged - startup.due)[every]),
        **latency_figures("created_to_scheduled", np.maximum(startup.bound - startup.acknowledged, 0.0)[every]),
        **latency_figures("scheduled_to_running", np.maximum(startup.running - startup.bound, 0.0)[every]),
    }
    return made


def _startup(name: str, seconds: Floats) -> dict[str, Figure]:
    made = latency_figures(name, seconds)
    made[f"{name}_p99"] = Figure(made[f"{name}_p99"].value, "ms", POD_STARTUP_SLO_MS, _SLO)
    return made


def _steps(played: Played) -> dict[str, Figure]:
    """How long each step took from its begin to its last answer and until all was as wanted."""
    made: dict[str, Figure] = {}
    for step in played.steps:
        made[f"{step.name}_answered"] = Figure(step.answered - step.began, "s")
        made[f"{step.name}_settled"] = Figure(step.settled - step.began, "s")
    gone = played.table.times["gone"]
    for step in played.steps:
        if step.name == DELETE and (chosen := gone >= step.began).any():
            took_s = float(gone[chosen].max() - step.began)
            made["pods_deleted_per_second"] = Figure(float(chosen.sum()) / took_s, "pods/s")
    asked = played.journal.deleted
    rows = played.table.rows() if asked else {}
    took = np.array([gone[rows[uid]] - at for uid, at in asked.items() if uid in rows], dtype=np.float64)
    if len(took := quiet(took)):
        made |= latency_figures("delete_to_gone", np.maximum(took, 0.0))
    return made


def _controlled(played: Played) -> dict[str, Figure]:
    """Pods that controllers made: from when the watch first showed them until it showed them Running."""
    times = played.table.times
    others = np.ones(len(played.table.uids), dtype=bool)
    others[played.account.rows[played.account.rows >= 0]] = False
    took = quiet((times["running"] - times["seen"])[others])
    if not len(took):
        return {}
    made = _startup("workload_pod_startup", took)
    span_s = float(np.nanmax(times["running"][others]) - np.nanmin(times["seen"][others]))
    made["workload_pods_running_per_second"] = Figure(len(took) / span_s if span_s else 0.0, "pods/s")
    if not len(played.journal.uids):
        made |= {name.removeprefix("workload_"): figure for name, figure in made.items()}
    return made


def _calls(played: Played) -> dict[str, Figure]:
    """The player's own calls, from when they were due."""
    journal = played.journal
    made: dict[str, Figure] = {}
    latencies = journal.latencies_s()
    for (verb, resource), seconds in latencies.items():
        made |= latency_figures(f"player_{verb}_{resource}", seconds)
    if latencies:
        every = np.concatenate(list(latencies.values()))
        p99 = latency_figures("player_mutating", every)["player_mutating_p99"]
        made["player_mutating_p99"] = Figure(p99.value, "ms", _API_SLO_MS, "Kubernetes' API SLO")
        made |= {"driver_late_p99": latency_figures("driver_late", journal.begun_at - journal.due)["driver_late_p99"]}
    made["player_retries"] = Figure(float(journal.retries), "calls")
    return made


def _whereabouts(played: Played) -> dict[str, Figure]:
    counts, table = played.counts, played.table
    registered_s = max(1.0, played.registered_s)
    return {
        "pods_running_at_once": Figure(float(counts.most_running), "pods"),
        "pods_ended_by_themselves": Figure(float(counts.ended_alone), "pods"),
        "pods_withdrawn": Figure(float(played.account.withdrawn), "pods"),
        "nodes_used": Figure(float(len(np.unique(table.node[table.node >= 0]))), "nodes"),
        "nodes_registered_per_second": Figure(played.nodes / registered_s, "nodes/s"),
        "watch_events": Figure(float(counts.events), "events"),
    }


def _observed(observations: Observations) -> dict[str, Figure]:
    """Latencies as the servers measured them, all callers together; CPU and peak memory by component."""
    made: dict[str, Figure] = {}
    mutating = objectives.of_kind(observations.api, "mutating")
    if mutating.count:
        p99_ms = mutating.quantile(objectives.SHARE) * 1000.0
        made["api_mutating_p99"] = Figure(p99_ms, "ms", _API_SLO_MS, "Kubernetes' API SLO")
    # Rests dilute the whole: the worst time between two scrapes is told beside it.
    spans = [objectives.of_kind(span.latencies, "mutating") for span in observations.api_over_time]
    worst = [span.quantile(objectives.SHARE) * 1000.0 for span in spans if span.count >= _CALLS_MIN]
    if worst:
        made["api_mutating_worst_p99"] = Figure(max(worst), "ms", _API_SLO_MS, "Kubernetes' API SLO")
    # The disk's part: where a machine is shared it may stand still for seconds, and every write with it.
    fsync = Histogram()
    for etcd in observations.etcds.values():
        fsync.add(etcd.fsync)
    if fsync.count:
        made["etcd_fsync_p99"] = Figure(fsync.quantile(0.99) * 1000.0, "ms")
        made["etcd_fsync_longest_below"] = Figure(fsync.longest() * 1000.0, "ms")
    for name, component in sorted(observations.components.items()):
        made[f"cpu_{_plain(name)}"] = Figure(component.cores_mean(), "cores")
        if len(resident := quiet(component.resident_bytes)):
            made[f"memory_{_plain(name)}"] = Figure(float(resident.max()) / 1e6, "MB")
    return made


def _cost(observations: Observations, pods: int) -> dict[str, Figure]:
    """CPU for each pod that ran, by kind of component and in all: what a faster or quieter machine would not change."""
    used: dict[str, float] = {}
    for component in observations.components.values():
        if len(component.cpu_s):
            spent = float(component.cpu_s[-1] - component.cpu_s[0])
            used[component.kind] = used.get(component.kind, 0.0) + spent
    if not pods or not used:
        return {}
    made = {f"cpu_per_pod_{_plain(kind)}": Figure(spent * 1000.0 / pods, "ms") for kind, spent in sorted(used.items())}
    return made | {"cpu_per_pod": Figure(sum(used.values()) * 1000.0 / pods, "ms")}


def _plain(name: str) -> str:
    return name.replace("-", "_").replace(" ", "_")


def _at(times: Floats, rows: np.ndarray) -> Floats:
    """``times`` of each row, NaN for −1."""
    if not len(times):
        return np.full(len(rows), np.nan)
    found: Floats = np.where(rows >= 0, times[rows], np.nan)
    return found


Side = tuple[float, str]


def compared(before: Mapping[str, Side], now: Mapping[str, Figure]) -> dict[str, Figure]:
    """``now`` with the recorded run's value as the reference, where there was one; a target's reference stays."""
    return {
        name: Figure(figure.value, figure.unit, before[name][0], "the recorded run")
        if name in before and before[name][1] == figure.unit
        else figure
        for name, figure in now.items()
    }
