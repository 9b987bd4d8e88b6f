"""Unique: no change is delivered twice, within a watch or across those that a client resumed one from the other."""

from __future__ import annotations

from collections.abc import Iterator

from tests.robustness.evidence import Evidence


def unique(evidence: Evidence) -> Iterator[str]:
    # What a chain of resumed watches has delivered, handed on from each link to the next.
    delivered: dict[str, set[tuple[str, int]]] = {}
    for watch in evidence.watches:
        opened = watch.session.opened
        seen = set(delivered.get(opened.resumes, ()))
        for _, key, revision, _ in watch.events:
            if (key, revision) in seen:
                yield f"{opened.session}: {key}@{revision} is delivered twice"
            seen.add((key, revision))
        delivered[opened.session] = seen
        keys = [event[1] for event in watch.state]
        for key in {key for key in keys if keys.count(key) > 1}:
            yield f"{opened.session}: {key} is twice in the initial state"
