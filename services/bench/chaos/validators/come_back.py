"""ComeBack: after every fault, and in the end, each workload has its replicas again."""

from __future__ import annotations

from collections.abc import Iterator

from services.bench.chaos.causes import eviction_due
from services.bench.chaos.facts import FinalPod, Recovered, Workload
from services.bench.chaos.history import History, PodLife
from services.bench.chaos.validators.violation import Violation


def come_back(history: History) -> Iterator[Violation]:
    if not history.of(Workload):
        yield Violation("there was no workload: there is nothing to judge")
    checked = history.of(Recovered)
    for fault in history.faults:
        if not any(check.began >= fault.ended for check in checked):
            yield Violation(f"nobody looked whether everything came back after {fault.name} of {fault.target}")
    for check in checked:
        for late in check.late:
            yield Violation(f"after {check.fault}: {late} {check.at - check.began:.1f} s after it was over")
        for (partition, name), workload in history.workloads(check.at).items():
            have = sum(1 for life in history.pods_of(partition, name) if _counts(history, life, check.at))
            if have < workload.replicas:
                yield Violation(f"after {check.fault}: {partition} {name} has {have} of {workload.replicas} replicas")
    yield from _finally(history)


def _counts(history: History, life: PodLife, at: float) -> bool:
    """It is up, or still waits for its eviction from a node that is silent at the moment."""
    return _is_up(life, at) or (
        life.lived_at(at)
        and any(
            fault.began <= at < fault.ended and at < eviction_due(history, fault, life)
            for fault in history.silences(life.node)
        )
    )


def _is_up(life: PodLife, at: float) -> bool:
    latest = life.latest(at)
    return latest is not None and latest.event != "deleted" and latest.ready and not latest.ending


def _finally(history: History) -> Iterator[Violation]:
    ready: dict[tuple[str, str], int] = {}
    for pod in history.of(FinalPod):
        if pod.ready and not pod.ending and pod.phase == "Running":
            ready[(pod.partition, pod.workload)] = ready.get((pod.partition, pod.workload), 0) + 1
    for key, workload in history.workloads(float("inf")).items():
        have = ready.get(key, 0)
        if have != workload.replicas:
            yield Violation(f"in the end: {key[0]} {key[1]} has {have} of {workload.replicas} replicas")
