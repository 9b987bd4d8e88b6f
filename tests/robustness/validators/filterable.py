"""Filterable: a watch shows exactly its selection. Entering it is ADDED, leaving it DELETED, and the object is the one
that etcd has at that revision, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.robustness.evidence import Evidence, Phases
from tests.robustness.timeline import ADDED, matches


def filterable(evidence: Evidence) -> Iterator[str]:
    for watch in evidence.watches:
        yield from _state(evidence, watch)
        yield from _changes(evidence, watch)


def _state(evidence: Evidence, watch: Phases) -> Iterator[str]:
    selection = watch.session.opened.selection
    for kind, key, revision, digest in watch.state:
        truth = evidence.timeline.written(key, revision)
        where = f"{watch.session.name}: {key}@{revision} in the initial state"
        if kind != ADDED:
            yield f"{where} is of type {kind}"
        elif truth is None:
            yield f"{where} was never written"
        elif not matches(selection, truth):
            yield f"{where} is not selected"
        elif truth.hash != digest:
            yield f"{where} is not what was written"
        elif watch.start is not None and evidence.timeline.until(key, revision) <= watch.start:
            yield f"{where} was gone or replaced at {watch.start}"
        elif watch.start is not None and revision > watch.start:
            yield f"{where} is newer than the state, {watch.start}"


def _changes(evidence: Evidence, watch: Phases) -> Iterator[str]:
    events = watch.events
    if not events:
        return
    revisions = [event[2] for event in events]
    due = evidence.timeline.seen(watch.session.opened.selection, min(revisions) - 1, max(revisions))
    expected = {(key, revision): (kind, digest) for kind, key, revision, digest in due}
    for kind, key, revision, digest in events:
        found = expected.get((key, revision))
        where = f"{watch.session.name}: {key}@{revision}"
        if found is None:
            yield f"{where} is no change of the selection"
        elif found[0] != kind:
            yield f"{where} is shown as type {kind}, but is of type {found[0]}"
        elif found[1] != digest:
            yield f"{where} is not what was written"
