"""EvictedEventually: pods of a node that stays away are evicted in whichever tenant partition owns them, in time, also
while another tenant partition is out of reach."""

from __future__ import annotations

from collections.abc import Iterator

from services.bench.chaos.causes import eviction_due
from services.bench.chaos.facts import Fault
from services.bench.chaos.history import History, PodLife
from services.bench.chaos.validators.violation import Violation


def evicted_eventually(history: History) -> Iterator[Violation]:
    for fault in history.faults:
        if not fault.silent:
            continue
        for life in history.pods.values():
            if life.node in fault.silent and life.bound_at < fault.began and life.lived_at(fault.began):
                yield from _one(history, fault, life)


def _one(history: History, fault: Fault, life: PodLife) -> Iterator[Violation]:
    due = eviction_due(history, fault, life)
    if due > fault.ended:
        return  # The node was back before it had to be done.
    if min(life.ending_at, life.terminal_at) > due:
        late = f"{due - fault.began:.1f} s after {fault.name} of {fault.target}"
        yield Violation(f"{life.key} of {life.partition} was not evicted from {life.node} {late}", life.uid, life.node)
