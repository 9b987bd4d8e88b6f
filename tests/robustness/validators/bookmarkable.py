"""Bookmarkable: positions are true. A bookmark overtakes no event and comes only when asked for; one of them marks the
end of the initial state.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.robustness.evidence import Evidence, Phases
from tests.robustness.history import Batch


def bookmarkable(evidence: Evidence) -> Iterator[str]:
    for watch in evidence.watches:
        yield from _form(watch)
        yield from _positions(evidence, watch)


def _form(watch: Phases) -> Iterator[str]:
    opened = watch.session.opened
    marks = 0
    for batch in watch.session.batches:
        marks += batch.initial_end
        if (batch.bookmark or batch.initial_end) and not opened.bookmarks:
            yield f"{opened.session}: a bookmark at {batch.revision} that nobody asked for"
        if batch.bookmark and batch.events:
            yield f"{opened.session}: the bookmark at {batch.revision} carries events"
        if batch.bookmark and not batch.revision:
            yield f"{opened.session}: a bookmark without a position"
    if marks > 1:
        yield f"{opened.session}: the initial state ends {marks} times"
    if marks and not watch.session.wants_state:
        yield f"{opened.session}: an end of the initial state where none was asked for"


def _positions(evidence: Evidence, watch: Phases) -> Iterator[str]:
    for batch in watch.session.batches:
        latest = evidence.knowledge.until(batch.at)
        if batch.revision > latest:
            yield f"{watch.session.name}: position {batch.revision} at a time when there was no revision after {latest}"
    if watch.start is None:
        return
    shown: set[tuple[str, int]] = set()
    after = watch.start
    for batch in watch.changes:
        shown |= {(key, revision) for _, key, revision, _ in batch.events}
        if batch.bookmark:
            yield from _overtaken(evidence, watch, batch, after, shown)
            after = max(after, batch.revision)


def _overtaken(
    evidence: Evidence, watch: Phases, batch: Batch, after: int, shown: set[tuple[str, int]]
) -> Iterator[str]:
    selection = watch.session.opened.selection
    for _, key, revision, _ in evidence.timeline.seen(selection, after, batch.revision):
        if (key, revision) not in shown:
            yield f"{watch.session.name}: the bookmark {batch.revision} overtakes {key}@{revision}"
