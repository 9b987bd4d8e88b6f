"""OrderedStatus: in a watch a pod's phase never goes back, and what was deleted stays so."""

from __future__ import annotations

from collections.abc import Iterator

from services.bench.chaos.facts import PodSeen
from services.bench.chaos.history import History
from services.bench.chaos.validators.violation import Violation

RANK = {"": 0, "Pending": 0, "Running": 1, "Succeeded": 2, "Failed": 2}


def ordered_status(history: History) -> Iterator[Violation]:
    last: dict[tuple[str, str], PodSeen] = {}
    for one in history.of(PodSeen):
        before = last.get((one.watch, one.uid))
        last[(one.watch, one.uid)] = one
        if one.phase not in RANK:
            yield Violation(f"{one.watch}: {one.key} has the unknown phase {one.phase!r}", one.uid)
        elif before is not None:
            yield from _step(before, one)


def _step(before: PodSeen, one: PodSeen) -> Iterator[Violation]:
    versions = f"(@{before.resource_version}, then @{one.resource_version})"
    if before.event == "deleted":
        if one.resource_version > before.resource_version:
            yield Violation(f"{one.watch}: {one.key} was deleted, and is {one.event} again {versions}", one.uid)
        return
    # A phase that is unknown was told of when it came, and has no place in the order.
    rank, rank_before = RANK.get(one.phase, 0), RANK.get(before.phase, 0)
    back = rank < rank_before
    ended_twice = rank_before == 2 and one.phase != before.phase
    if back or ended_twice:
        yield Violation(f"{one.watch}: {one.key} was {before.phase} and then {one.phase or '-'} {versions}", one.uid)
    if before.ending and not one.ending and one.event != "deleted":
        yield Violation(f"{one.watch}: {one.key} was being deleted and then was not {versions}", one.uid)
    if before.node and one.node != before.node:
        yield Violation(f"{one.watch}: {one.key} was bound to {before.node} and then to {one.node or '-'}", one.uid)
