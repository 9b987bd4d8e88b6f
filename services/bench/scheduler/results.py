"""From outcomes to the common report object: figures by name, and what became of every workload."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from services.bench.report import Figure, Report, latency_figures
from services.bench.scheduler import aims, perfdash, sampling
from services.bench.scheduler.measuring import BEGUN_TO_BOUND, CREATE_CALL, CREATED_TO_BOUND, Measured
from services.bench.scheduler.reader import THROUGHPUT, Workload
from services.bench.scheduler.run import CLIENT, Outcome
from services.bench.targets import Target

THRESHOLD_SOURCE = "threshold of the workload file (upstream's CI hardware)"
_STAGES = {CREATE_CALL: "create_call", CREATED_TO_BOUND: "created_to_bound", BEGUN_TO_BOUND: "begun_to_bound"}
_MB = 1e6
# Below this the machine was this benchmark's own, as far as such figures go.
OTHERS_SHARE_SAID = 0.1
TOO_SHORT = "too short for a sample by upstream's rule"


def report(parameters: Mapping[str, Any], outcomes: Sequence[Outcome]) -> Report:
    """A run counts when every workload that Ursa can run reached its end and no node was overcommitted."""
    result = Report("scheduler", parameters)
    result.machine = {"etcd": next((one.etcd_version for one in outcomes if one.etcd_version), "")}
    for outcome in outcomes:
        for name, measured in named(outcome):
            result.figures |= figures(name, outcome.workload, measured)
        if outcome.measured and not outcome.failure:
            count = float(len(outcome.overcommitted))
            result.figures[f"{outcome.workload.full_name}/overcommitted_nodes"] = Figure(count, "nodes")
    result.extra = {"workloads": [entry(outcome) for outcome in outcomes]}
    result.invalid = "; ".join(problem for outcome in outcomes if (problem := problem_of(outcome)))
    return result


def named(outcome: Outcome) -> list[tuple[str, Measured]]:
    """Every window with its figure's name: the workload's own, with the window's behind it if there are several."""
    full = outcome.workload.full_name
    several = len(outcome.measured) > 1
    return [(f"{full}/{one.name}" if several else full, one) for one in outcome.measured]


def held_against(outcome: Outcome) -> list[tuple[str, float, Target]]:
    """Figures of a workload where less is better, with their targets: over-committed nodes, scheduler memory in MB."""
    full = outcome.workload.full_name
    if not outcome.measured or outcome.failure:
        return []
    found = [(f"{full}/overcommitted_nodes", float(len(outcome.overcommitted)), aims.OVERCOMMITTED_NODES)]
    target = aims.SCHEDULER_MEMORY.get(full)
    for name, measured in named(outcome) if target else ():
        for component, used in measured.used.items():
            if component.startswith("scheduler-") and target:
                key = component.replace(" ", "_")
                found.append((f"{name}/memory/{key}", used.resident_bytes / _MB, target))
    return found


def problem_of(outcome: Outcome) -> str:
    """Why the workload does not count; "" if it does, or could not be run."""
    if outcome.failure:
        return f"{outcome.workload.full_name}: {outcome.failure}"
    if outcome.overcommitted:
        shown = "; ".join(outcome.overcommitted[:3])
        return f"{outcome.workload.full_name}: {len(outcome.overcommitted)} nodes are overcommitted: {shown}"
    return ""


def figures(name: str, workload: Workload, measured: Measured) -> dict[str, Figure]:
    """The gated figure, upstream's beside it, stages, and what the processes used."""
    reference, source = _throughput_threshold(workload)
    found = {name: Figure(measured.pods_per_second, "pods/s", reference, source)}
    summary = sampling.summary(measured.samples)
    if summary:
        found[f"{name}/sampled"] = Figure(summary["Average"], "pods/s", reference, source)
        for bucket in ("Perc50", "Perc90", "Perc99"):
            found[f"{name}/sampled_{bucket.lower()}"] = Figure(summary[bucket], "pods/s")
    found |= _other_threshold(name, workload, measured)
    for stage, seconds in measured.stages.items():
        found |= latency_figures(f"{name}/{_STAGES[stage]}", seconds)
    for component, used in measured.used.items():
        key = component.replace(" ", "_")
        found[f"{name}/cpu/{key}"] = Figure(used.cpu_s, "CPU-s")
        found[f"{name}/memory/{key}"] = Figure(used.resident_bytes / _MB, "MB")
    found[f"{name}/others_cpu_share"] = Figure(measured.others_share, "of all cores")
    all_cores = measured.wall_s * len(os.sched_getaffinity(0))
    found[f"{name}/client_cpu_share"] = Figure(measured.used[CLIENT].cpu_s / all_cores, "of all cores")
    return found


def _throughput_threshold(workload: Workload) -> tuple[float | None, str]:
    if not workload.threshold or workload.selector.name != THROUGHPUT:
        return None, ""
    return workload.threshold, THRESHOLD_SOURCE


def _other_threshold(name: str, workload: Workload, measured: Measured) -> dict[str, Figure]:
    """The value of the metric that a thresholdMetricSelector picks, held against the threshold."""
    selector = workload.selector
    if not workload.threshold or selector.name == THROUGHPUT:
        return {}
    return {
        f"{name}/{selector.name}/{selector.bucket}": Figure(
            item["data"][selector.bucket], item["unit"], workload.threshold, THRESHOLD_SOURCE
        )
        for item in perfdash.items_of(workload, measured)
        if perfdash.selects(selector, item) and selector.bucket in item["data"]
    }


def entry(outcome: Outcome) -> dict[str, Any]:
    """What became of a workload, for ``workloads`` in the JSON object."""
    workload = outcome.workload
    found: dict[str, Any] = {"name": workload.full_name, "result": result_of(outcome)}
    if reason := outcome.failure or outcome.lacks:
        found["reason"] = reason
    if workload.gates:
        found["ignored_feature_gates"] = dict(workload.gates)
    if notes := notes_of(outcome):
        found["notes"] = notes
    if outcome.measured:
        found["windows"] = [
            {
                "name": one.name,
                "pods": one.pods,
                "seconds": round(one.seconds, 4),
                "samples": [round(sample, 2) for sample in one.samples],
                "scheduler_counters": dict(one.counters),
            }
            for one in outcome.measured
        ]
    return found


def result_of(outcome: Outcome) -> str:
    """``measured``, ``failed`` or ``not supported``."""
    if outcome.lacks:
        return "not supported"
    return "failed" if problem_of(outcome) else "measured"


def notes_of(outcome: Outcome) -> list[str]:
    """What a reader must know beside the figures."""
    notes = list(dict.fromkeys(outcome.notes))
    notes += [
        f"other processes took {measured.others_share:.0%} of the cores while {measured.name} was measured"
        for measured in outcome.measured
        if measured.others_share > OTHERS_SHARE_SAID
    ]
    return notes + [
        f"{measured.seconds:.1f} s are {TOO_SHORT}" for measured in outcome.measured if not measured.samples
    ]
