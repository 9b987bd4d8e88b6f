"""RunsOnce: a pod's containers run on one node only, once at a time, and never on a dead one."""

from __future__ import annotations

from collections.abc import Iterator

from services.bench.chaos.causes import RECORD_S
from services.bench.chaos.facts import Fault, PodSeen, Ran
from services.bench.chaos.history import History, PodLife
from services.bench.chaos.validators.violation import Violation


def runs_once(history: History) -> Iterator[Violation]:
    if not history.of(Ran):
        yield Violation("no kubelet wrote a run journal: there is nothing to judge")
    yield from _unjournaled(history)
    for life in history.pods.values():
        if life.runs:
            yield from _one(history, life)


def _unjournaled(history: History) -> Iterator[Violation]:
    """Where pods were seen Running though no journal tells of the node at all, nobody could judge."""
    journaled = {run.node for run in history.of(Ran)}
    ran = {one.node for one in history.of(PodSeen) if one.phase == "Running" and one.node}
    for node in sorted(ran - journaled) if journaled else ():
        yield Violation(f"no run journal tells of {node}, where pods ran", node=node)


def _one(history: History, life: PodLife) -> Iterator[Violation]:
    nodes = dict.fromkeys(run.node for run in life.runs if run.stage == "run")
    if len(nodes) > 1:
        yield Violation(f"the containers of {life.key} ran on {' and on '.join(nodes)}", life.uid)
    since: dict[str, float] = {}
    for run in life.runs:
        if run.stage == "end":
            since.pop(run.node, None)
            continue
        if _is_dead(history, run):
            yield Violation(f"the containers of {life.key} began on {run.node} while that was dead", life.uid)
        before = since.get(run.node)
        if before is not None and not _started_anew(history.faults, run.node, before, run.at):
            yield Violation(f"the containers of {life.key} began a second time on {run.node}", life.uid)
        since[run.node] = run.at


def _is_dead(history: History, run: Ran) -> bool:
    return any(
        run.node in fault.dead and fault.began + RECORD_S < run.at < fault.ended - RECORD_S for fault in history.faults
    )


def _started_anew(faults: list[Fault], node: str, since: float, at: float) -> bool:
    """Between the two its containers had died with the node, or another process of its kubelet took them over."""
    return any(
        node in (*fault.dead, *fault.restarted) and fault.began >= since - RECORD_S and fault.began <= at
        for fault in faults
    )
