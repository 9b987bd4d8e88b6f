"""Does a run count? What was acknowledged, held against what the witness saw and what the nodes' runtimes wrote.
Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass

import numpy as np

from services.base.timeline import Mark, Stage
from services.bench.player.journal import Journal
from services.bench.player.sightings import Table

Floats = np.ndarray
_SHOWN = 3


@dataclass(frozen=True)
class Account:
    """``problems``: why the run does not count, empty if it does. ``rows``: of each acknowledged pod in the table, −1
    for one that was never seen. ``withdrawn``: pods that the player deleted before they ran."""

    problems: tuple[str, ...]
    rows: np.ndarray
    withdrawn: int


def settle(
    journal: Journal, table: Table, nodes: Set[str], violations: Sequence[str], marks: Iterable[Mark] | None = None
) -> Account:
    """``nodes``: all that exist, as ``rp/name``. ``violations``: what the witness complained of. ``marks``: the
    kubelets' run journals, whole; None: they wrote none (a cluster that was started without)."""
    by_uid = table.rows()
    rows = np.array([by_uid.get(uid, -1) for uid in journal.uids], dtype=np.int64)
    deleted = np.array([uid in journal.deleted for uid in journal.uids], dtype=bool)
    seen = rows >= 0
    ran, ended, gone = (_known(table.times[name], rows) for name in ("running", "ended", "gone"))
    withdrawn = deleted & ~ran
    others = np.ones(len(table.uids), dtype=bool)
    others[rows[seen]] = False
    idle = others & np.isnan(table.times["running"]) & np.isnan(table.times["gone"])

    def of(chosen: np.ndarray) -> Callable[[], list[str]]:
        return lambda: [journal.uids[index] for index in np.flatnonzero(chosen)[:_SHOWN]]

    problems = [
        *violations,
        *_some(~seen, "acknowledged pods were never seen by a watch", of(~seen)),
        *_some(seen & ~ran & ~withdrawn, "acknowledged pods were not Running", of(seen & ~ran & ~withdrawn)),
        *_some(gone & ~deleted & ~ended, "acknowledged pods vanished", of(gone & ~deleted & ~ended)),
        *_some(
            idle, "pods of workloads were not Running", lambda: [table.uids[at] for at in np.flatnonzero(idle)[:_SHOWN]]
        ),
        *_elsewhere(table, nodes),
        *(_journaled(table, marks) if marks is not None else ()),
    ]
    if len(set(journal.uids)) < len(journal.uids):
        problems.append("two creates were acknowledged with the same uid")
    return Account(tuple(problems), rows, int(withdrawn.sum()))


def _known(times: Floats, rows: np.ndarray) -> np.ndarray:
    """Whether each row has a time; not if there is no such row."""
    if not len(times):
        return np.zeros(len(rows), dtype=bool)
    known: np.ndarray = np.isfinite(times[rows]) & (rows >= 0)
    return known


def _some(chosen: np.ndarray, what: str, examples: Callable[[], list[str]]) -> list[str]:
    count = int(chosen.sum())
    return [f"{count} {what}, as {', '.join(examples())}"] if count else []


def _elsewhere(table: Table, nodes: Set[str]) -> list[str]:
    used = {table.nodes[at] for at in np.unique(table.node[table.node >= 0])}
    missing = sorted(used - nodes)
    return [f"pods on nodes that do not exist: {', '.join(missing[:_SHOWN])}"] if missing else []


def _journaled(table: Table, marks: Iterable[Mark]) -> list[str]:
    """By the runtimes themselves: a pod begins on one node only, though perhaps again there after a restart. What was
    seen Running and is in no journal was judged by nobody."""
    where: dict[str, str] = {}
    found = [
        f"pod {mark.uid} ran on {where[mark.uid]} and on {mark.node}"
        for mark in marks
        if mark.stage is Stage.RUN and where.setdefault(mark.uid, mark.node) != mark.node
    ][:_SHOWN]
    ran = np.flatnonzero(np.isfinite(table.times["running"]))
    untold = [table.uids[row] for row in ran if table.uids[row] not in where]
    if untold:
        found.append(f"{len(untold)} pods ran and are in no run journal, as {', '.join(untold[:_SHOWN])}")
    return found
