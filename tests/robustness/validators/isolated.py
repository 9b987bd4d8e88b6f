"""Isolated: nothing of another kind, tenant or namespace is ever shown, in watches, lists or informers."""

from __future__ import annotations

from collections.abc import Iterator

from tests.robustness.evidence import Evidence
from tests.robustness.history import Followed, Listed
from tests.robustness.timeline import covers


def isolated(evidence: Evidence) -> Iterator[str]:
    for session in evidence.history.sessions:
        for batch in session.batches:
            for _, key, revision, _ in batch.events:
                if not covers(session.opened.selection, key):
                    yield f"{session.name}: {key}@{revision} is outside of {session.opened.selection}"
    for listed in evidence.history.of(Listed):
        for key, revision, _ in listed.items:
            if not covers(listed.selection, key):
                yield f"{listed.series}: {key}@{revision} is outside of {listed.selection}"
    for change in evidence.history.of(Followed):
        for key, _, _ in change.changes:
            if not covers(change.selection, key):
                yield f"{change.informer}: {key} is outside of {change.selection}"
