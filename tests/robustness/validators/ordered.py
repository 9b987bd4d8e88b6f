"""Ordered: within one watch revisions never go back, neither of events nor of positions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tests.robustness.evidence import Evidence, Phases


def ordered(evidence: Evidence) -> Iterator[str]:
    for watch in evidence.watches:
        yield from _state(watch)
        yield from _changes(watch)


def _state(watch: Phases) -> Iterator[str]:
    """The initial state comes in key order."""
    keys = [event[1] for event in watch.state]
    for before, after in itertools.pairwise(keys):
        if after < before:
            yield f"{watch.session.name}: in the initial state {after} comes after {before}"


def _changes(watch: Phases) -> Iterator[str]:
    name = watch.session.name
    position = watch.start or 0
    for batch in watch.changes:
        if batch.revision < position:
            yield f"{name}: the position falls from {position} to {batch.revision}"
        last = position
        for _, key, revision, _ in batch.events:
            if revision <= position:
                yield f"{name}: {key}@{revision} is delivered after position {position}"
            if revision < last:
                yield f"{name}: {key}@{revision} comes after revision {last}"
            if revision > batch.revision:
                yield f"{name}: {key}@{revision} is in a message of position {batch.revision}"
            last = max(last, revision)
        position = max(position, batch.revision)
