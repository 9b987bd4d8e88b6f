"""EvictedEventually: pods of a node that stays away are evicted in whichever tenant partition owns them, in time, also
while another tenant partition is out of reach."""

from __future__ import annotations

from collections.abc import Iterator

from services.bench.chaos.causes import eviction_due
from services.bench.chaos.facts import Fault
from services.bench.chaos.history import History, PodLife
from services.bench.chaos.validators.violation import Violation


def evicted_eventually(history: History) -> Iterator[Violation]:
    long, judged = False, 0
    for fault in history.faults:
        if not fault.silent:
            continue
        long |= fault.ended - fault.began > history.bounds.eviction_s(len(fault.silent))
        for life in history.pods.values():
            if life.node in fault.silent and life.bound_at < fault.began and life.lived_at(fault.began):
                due = eviction_due(history, fault, life)
                if due > fault.ended:
                    continue  # The node was back before it had to be done.
                judged += 1
                yield from _one(fault, life, due)
    if long and not judged:
        yield Violation("nodes were away for long, and no pod had to leave one: there is nothing to judge")


def _one(fault: Fault, life: PodLife, due: float) -> Iterator[Violation]:
    if min(life.ending_at, life.terminal_at) > due:
        late = f"{due - fault.began:.1f} s after {fault.name} of {fault.target}"
        yield Violation(f"{life.key} of {life.partition} was not evicted from {life.node} {late}", life.uid, life.node)
