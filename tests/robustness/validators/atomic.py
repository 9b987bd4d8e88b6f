"""Atomic: a revision is never split across two messages of one watch."""

from __future__ import annotations

from collections.abc import Iterator

from tests.robustness.evidence import Evidence


def atomic(evidence: Evidence) -> Iterator[str]:
    for watch in evidence.watches:
        message_of: dict[int, int] = {}
        for index, batch in enumerate(watch.changes):
            for revision in {event[2] for event in batch.events}:
                if message_of.setdefault(revision, index) != index:
                    yield f"{watch.session.name}: revision {revision} is split across messages"
