"""Followed: an informer of ``services.client`` tells each change once, in order, and ends with what etcd holds."""

from __future__ import annotations

from collections.abc import Iterator

from tests.robustness.evidence import Evidence
from tests.robustness.history import Followed


def followed(evidence: Evidence) -> Iterator[str]:
    known: dict[str, dict[str, int]] = {}
    for record in evidence.history.of(Followed):
        held = known.setdefault(record.informer, {})
        for key, old, new in record.changes:
            yield from _step(evidence, record, held.get(key, 0), key, old, new)
            if new:
                held[key] = new
            else:
                held.pop(key, None)
        if record.held is not None:
            yield from _end(evidence, record, held)


def _step(evidence: Evidence, record: Followed, known: int, key: str, old: int, new: int) -> Iterator[str]:
    where = f"{record.informer}: {key}"
    if old != known:
        yield f"{where} goes from {old} to {new}, but was at {known}"
    if new and new <= old:
        yield f"{where} falls from {old} to {new}"
    if new and evidence.timeline.written(key, new) is None:
        yield f"{where}@{new} was never written"


def _end(evidence: Evidence, record: Followed, told: dict[str, int]) -> Iterator[str]:
    truth = evidence.timeline.state(record.selection, evidence.rest)
    expected = {key: state.revision for key, state in truth.items()}
    if record.held != expected:
        different = sorted((record.held or {}).items() ^ expected.items())
        yield f"{record.informer}: holds other objects than etcd at the end: {different[:5]}"
    if record.held != told:
        different = sorted((record.held or {}).items() ^ told.items())
        yield f"{record.informer}: holds other objects than it told of: {different[:5]}"
