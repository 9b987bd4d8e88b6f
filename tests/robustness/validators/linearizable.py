"""Linearizable: whatever promises the most recent state reflects everything that anybody was told of before it began.

etcd's revisions are one order of all writes, so each read must be explained by one revision of an interval: not before
what was known when it was invoked (and what it asked for), not after what existed when it returned. Writes take
their place in that order between their invocation and their answer; refusals that tell of a state ("exists", "not
found", "conflict") are reads of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.robustness.evidence import Evidence
from tests.robustness.history import OK, REFUSED, Got, Listed, Wrote


def linearizable(evidence: Evidence) -> Iterator[str]:
    for got in evidence.history.of(Got):
        yield from _get(evidence, got)
    for listed in evidence.history.of(Listed):
        yield from _list(evidence, listed)
    for wrote in evidence.history.of(Wrote):
        if wrote.outcome == OK:
            yield from _acknowledged(evidence, wrote)
        elif wrote.outcome == REFUSED:
            yield from _refused(evidence, wrote)
    yield from _watches(evidence)


def _get(evidence: Evidence, got: Got) -> Iterator[str]:
    absent = got.outcome == REFUSED and got.reason == "NotFound"
    if got.outcome != OK and not absent:
        return
    low = evidence.knowledge.before(got.invoke) if got.asked is None else got.asked
    high = evidence.knowledge.until(got.done)
    where = f"{got.client}: GET {got.key} at {_text(got.asked)}"
    if absent:
        if all(state is not None for state in evidence.timeline.states(got.key, low, high)):
            yield f"{where}: not found, but it was there throughout {low} to {high}"
        return
    truth = evidence.timeline.written(got.key, got.revision)
    if truth is None or truth.hash != got.hash:
        yield f"{where}: {got.revision} is not what was written"
    elif evidence.timeline.until(got.key, got.revision) <= low:
        yield f"{where}: {got.revision} was overwritten or deleted before {low}, which was known or asked for"
    elif got.revision > high:
        yield f"{where}: {got.revision} was not there yet, {high} was the latest"


def _list(evidence: Evidence, listed: Listed) -> Iterator[str]:
    if listed.outcome != OK:
        return
    where = f"{listed.client}: {listed.series}"
    high = evidence.knowledge.until(listed.done)
    if listed.revision > high:
        yield f"{where}: at {listed.revision}, but {high} was the latest"
    if listed.restarted or (listed.asked is None and not listed.continues):
        low = evidence.knowledge.before(listed.invoke)
        if listed.revision < low:
            yield f"{where}: at {listed.revision}, but {low} was known before"


def _acknowledged(evidence: Evidence, wrote: Wrote) -> Iterator[str]:
    if wrote.verb in ("delete", "bind"):
        return  # What they answer may be older than they are: the object as it was, or as it was bound before.
    low = evidence.knowledge.before(wrote.invoke)
    if wrote.revision <= low:
        yield f"{wrote.id}: {wrote.verb} {wrote.key} at {wrote.revision}, but {low} was known before it was asked for"


def _refused(evidence: Evidence, wrote: Wrote) -> Iterator[str]:
    if wrote.generated:
        return  # It tells nothing of any one key.
    low, high = evidence.knowledge.before(wrote.invoke), evidence.knowledge.until(wrote.done)
    states = list(evidence.timeline.states(wrote.key, low, high))
    where = f"{wrote.id}: {wrote.verb} {wrote.key}"
    if wrote.reason == "NotFound" and all(state is not None for state in states):
        yield f"{where}: not found, but it was there throughout {low} to {high}"
    if wrote.reason == "AlreadyExists" and all(state is None for state in states):
        yield f"{where}: exists already, but it was absent throughout {low} to {high}"
    on_revision = wrote.expected and not wrote.uid and wrote.verb != "bind"
    unchanged = all(state is not None and state.revision == wrote.expected for state in states)
    if wrote.reason == "Conflict" and on_revision and unchanged:
        yield f"{where}: conflict, but it was at {wrote.expected} throughout {low} to {high}"


def _watches(evidence: Evidence) -> Iterator[str]:
    for watch in evidence.watches:
        opened = watch.session.opened
        if opened.asked == 0 or not watch.complete:
            continue
        low = opened.asked or evidence.knowledge.before(opened.at)
        if watch.session.wants_state and watch.start is not None and watch.start < low:
            yield f"{opened.session}: the state is that of {watch.start}, but {low} was known or asked for"
        if watch.start is None and watch.events and watch.events[0][2] <= low:
            yield f"{opened.session}: begins with revision {watch.events[0][2]}, but {low} was known before"


def _text(asked: int | None) -> str:
    return "the most recent" if asked is None else str(asked)
