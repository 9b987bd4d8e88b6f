"""NothingLost: what was acknowledged exists, or was deleted for a reason that is on record."""

from __future__ import annotations

from collections.abc import Iterator

from services.bench.chaos.causes import Cause, cause
from services.bench.chaos.facts import Created, FinalRead, FinalWorkload
from services.bench.chaos.history import History
from services.bench.chaos.validators.violation import Violation


def nothing_lost(history: History) -> Iterator[Violation]:
    created = history.of(Created)
    if not created:
        yield Violation("no create was acknowledged: there is nothing to judge")
    read = {(one.partition, one.resource) for one in history.of(FinalRead)}
    for partition, resource in sorted({(one.partition, one.resource) for one in created} - read):
        yield Violation(f"{resource} of {partition} were never read in the end")
    kept = {(one.partition, one.uid) for one in history.of(FinalWorkload)}
    for one in created:
        if one.resource == "pods":
            yield from _pod(history, one)
        elif (one.partition, one.uid) not in kept:
            yield Violation(f"{one.resource} {one.name} of {one.partition} was acknowledged, and is not there")


def _pod(history: History, created: Created) -> Iterator[Violation]:
    life = history.pods[created.uid]
    if life.final is not None:
        return
    name = f"pod {created.name} of {created.partition}"
    if life.gone_at == float("inf"):
        yield Violation(f"{name} was acknowledged, is not there, and no watch told that it was deleted", life.uid)
    elif cause(history, life) is Cause.NONE:
        yield Violation(f"{name} was acknowledged, and deleted for no recorded reason", life.uid)
