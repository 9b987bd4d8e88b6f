"""Resumable: a watch from N shows nothing up to N; where a server says to resume, nothing is left out before.

That nothing is missing after N is Reliable's matter: a resumed watch begins at N there.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.robustness.evidence import Evidence, Phases


def resumable(evidence: Evidence) -> Iterator[str]:
    watches = {watch.session.name: watch for watch in evidence.watches}
    for watch in evidence.watches:
        yield from _opening(watch, watches)
        yield from _ending(watch)


def _opening(watch: Phases, watches: dict[str, Phases]) -> Iterator[str]:
    opened = watch.session.opened
    if watch.session.wants_state or not opened.asked:
        return
    for _, key, revision, _ in watch.events:
        if revision <= opened.asked:
            yield f"{opened.session}: {key}@{revision} is shown by a watch from {opened.asked}"
    before = watches.get(opened.resumes)
    if before is not None and before.position < opened.asked:
        yield f"{opened.session}: resumes at {opened.asked}, but {opened.resumes} came to {before.position} only"


def _ending(watch: Phases) -> Iterator[str]:
    ended = watch.session.ended
    if ended is None:
        return
    asked = watch.session.opened.asked or 0
    told = max((batch.revision for batch in watch.session.batches), default=asked)
    if ended.resume and ended.resume < told:
        yield f"{watch.session.name}: told to resume at {ended.resume}, though {told} was reached"
    if ended.reason == "SlowWatcher" and not ended.resume:
        yield f"{watch.session.name}: too slow, but not told where to resume"
    if ended.reason == "Expired" and ended.oldest and ended.oldest <= told:
        yield f"{watch.session.name}: Expired at {told}, though the oldest kept is {ended.oldest}"
