"""Reliable: nothing is missing. Up to its position a watch has shown every change of its selection that etcd has."""

from __future__ import annotations

from collections.abc import Iterator

from tests.robustness.evidence import Evidence, Phases


def reliable(evidence: Evidence) -> Iterator[str]:
    for watch in evidence.watches:
        if watch.complete:
            yield from _state(evidence, watch)
            yield from _changes(evidence, watch)


def _state(evidence: Evidence, watch: Phases) -> Iterator[str]:
    session = watch.session
    if not session.wants_state or watch.start is None:
        return
    shown = {(key, revision) for _, key, revision, _ in watch.state}
    for key, truth in evidence.timeline.state(session.opened.selection, watch.start).items():
        if (key, truth.revision) not in shown:
            yield f"{session.name}: {key}@{truth.revision} is missing in the initial state at {watch.start}"


def _changes(evidence: Evidence, watch: Phases) -> Iterator[str]:
    selection = watch.session.opened.selection
    events = watch.events
    start = watch.start
    if start is None:
        # It began somewhere before its first event, but not after it was acknowledged.
        _, latest = evidence.start_bounds(watch)
        start = min(latest, events[0][2] - 1) if events else min(latest, watch.position)
        if watch.session.wants_state and evidence.timeline.state(selection, start):
            yield f"{watch.session.name}: no initial state, though there was one at {start}"
    shown = {(key, revision) for _, key, revision, _ in events}
    for _, key, revision, _ in evidence.timeline.seen(selection, start, watch.position):
        if (key, revision) not in shown:
            yield f"{watch.session.name}: {key}@{revision} was never delivered, position {watch.position}, from {start}"
