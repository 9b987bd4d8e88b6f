"""Paged: a list is the selection at its revision, in key order, and the pages of one list are all at one revision."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tests.robustness.evidence import Evidence
from tests.robustness.history import OK, Listed


def paged(evidence: Evidence) -> Iterator[str]:
    revisions: dict[str, int] = {}
    last_keys: dict[str, str] = {}
    for listed in evidence.history.of(Listed):
        if listed.outcome != OK:
            continue
        where = f"{listed.client}: {listed.series}"
        expected = listed.asked if _is_exact(listed) else None
        if listed.continues and not listed.restarted:
            expected = revisions.get(listed.series)
        if expected is not None and listed.revision != expected:
            yield f"{where}: at {listed.revision} instead of {expected}"
        if listed.asked and not listed.continues and listed.revision < listed.asked:
            yield f"{where}: at {listed.revision}, older than {listed.asked}"
        yield from _contents(evidence, listed, last_keys.get(listed.series, "") if listed.continues else "")
        revisions[listed.series] = listed.revision
        if listed.items:
            last_keys[listed.series] = listed.items[-1][0]


def _is_exact(listed: Listed) -> bool:
    if not listed.asked or listed.continues:
        return False
    return listed.match == "Exact" or (not listed.match and listed.limit > 0)


def _contents(evidence: Evidence, listed: Listed, after: str) -> Iterator[str]:
    where = f"{listed.client}: {listed.series} at {listed.revision}"
    state = evidence.timeline.state(listed.selection, listed.revision)
    due = [(key, truth.revision, truth.hash) for key, truth in state.items() if key > after]
    page = due[: listed.limit] if listed.limit else due
    for shown, wanted in itertools.zip_longest(listed.items, page):
        if shown != wanted:
            yield f"{where}: holds {shown} where {wanted} is due"
            return
    if listed.more != (len(due) > len(page)):
        yield f"{where}: says {'more' if listed.more else 'no more'} follows, {len(due) - len(page)} do"
    selects = listed.selection.labels or listed.selection.fields
    if listed.remaining is not None and (selects or listed.remaining != len(due) - len(page)):
        yield f"{where}: says {listed.remaining} remain, {len(due) - len(page)} do"
