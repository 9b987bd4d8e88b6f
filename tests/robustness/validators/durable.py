"""Durable: an acknowledged write is in etcd's history, once; a refused one is not; and nothing is there that nobody
wrote.

Writes of unknown outcome may be there, once, or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.robustness.evidence import Evidence
from tests.robustness.history import OK, REFUSED, UNKNOWN, Final, Wrote
from tests.robustness.timeline import Change

_STAMPED = ("create", "update", "patch", "bind")


def durable(evidence: Evidence) -> Iterator[str]:
    writes = {write.id: write for write in evidence.history.of(Wrote)}
    for write in writes.values():
        if write.outcome == OK:
            yield from _present(evidence, write)
    yield from _authors(evidence, writes)
    yield from _deletions(evidence, list(writes.values()))
    yield from evidence.clearings.owed()
    yield from _end(evidence)


def _present(evidence: Evidence, write: Wrote) -> Iterator[str]:
    where = f"{write.id}: {write.verb} {write.key} acknowledged at {write.revision}"
    if write.verb == "delete":
        yield from _deleted(evidence, where, write)
        return
    truth = evidence.timeline.written(write.key, write.revision)
    if truth is None:
        yield f"{where} was lost"
        return
    if write.generated and (not write.key.startswith(write.generated) or len(write.key) != len(write.generated) + 5):
        yield f"{where}: the name is not {write.generated} and five characters"
    if write.verb == "bind":
        # Bound to that node already: that is success, and changes nothing.
        if truth.fields.get("spec.nodeName") != write.node:
            yield f"{where}: bound to {truth.fields.get('spec.nodeName')!r} instead of {write.node!r}"
        return
    if (truth.status_stamp if write.verb == "status" else truth.stamp) != write.id:
        yield f"{where} is another write's"
        return
    before = evidence.timeline.at(write.key, write.revision - 1)
    if (before is None) != (write.verb == "create"):
        yield f"{where}: the object was {'absent' if before is None else 'present'} before"
    elif before is not None:
        yield from _preconditions(where, write, before.revision, before.uid)


def _deleted(evidence: Evidence, where: str, write: Wrote) -> Iterator[str]:
    """The answer is the object as it was; if it ends gracefully, as it is now, marked by this delete or before."""
    truth = evidence.timeline.written(write.key, write.revision)
    if truth is None:
        yield f"{where}: there was no such state"
        return
    before = evidence.timeline.at(write.key, write.revision - 1) if truth.ending else None
    if write.expected not in (0, truth.revision, before.revision if before is not None else 0):
        yield f"{where}, though it was to be at {write.expected}"
    if write.uid and truth.uid != write.uid:
        yield f"{where}: its UID was {truth.uid}, not {write.uid}"


def _preconditions(where: str, write: Wrote, revision: int, uid: str) -> Iterator[str]:
    if write.expected and write.expected != revision:
        yield f"{where}: it was at {revision}, not at {write.expected}, before"
    if write.uid and write.uid != uid:
        yield f"{where}: it had the UID {uid}, not {write.uid}, before"


def _authors(evidence: Evidence, writes: dict[str, Wrote]) -> Iterator[str]:
    """Each change of an object was made by exactly one write, that made no other."""
    used: Counter[str] = Counter()
    endings = [write for write in writes.values() if write.verb == "delete" and write.outcome != REFUSED]
    ended = {write.key for write in endings}
    for change in evidence.timeline.changes:
        if change.new is None or change.revision <= evidence.history.begun:
            continue
        where = f"{change.key}@{change.revision}"
        stamps = _stamps(change)
        used.update(stamps)
        ends = bool(change.new.ending) and (change.old is None or change.old.ending != change.new.ending)
        if len(stamps) + ends != 1:
            yield f"{where} was made by {len(stamps) + ends} writes: {stamps}"
        if ends and change.key not in ended and not evidence.clearings.explains(change):
            yield f"{where} is marked for deletion, which nobody asked for"
        for stamp in stamps:
            yield from _authored(where, change, stamp, writes.get(stamp))
    for stamp, times in used.items():
        if times > 1:
            yield f"{stamp} was applied {times} times"


def _stamps(change: Change) -> list[str]:
    new, old = change.new, change.old
    assert new is not None
    found = [new.stamp] if old is None or new.stamp != old.stamp else []
    if new.status_stamp and (old is None or new.status_stamp != old.status_stamp):
        found.append(new.status_stamp)
    return found


def _authored(where: str, change: Change, stamp: str, write: Wrote | None) -> Iterator[str]:
    if write is None:
        yield f"{where} carries the stamp {stamp!r} of nobody"
        return
    named = change.key.startswith(write.generated) if write.generated else write.key == change.key
    if not named or (write.verb == "create") != (change.old is None):
        yield f"{where} carries the stamp of {write.verb} {write.key}"
    if write.outcome == REFUSED:
        yield f"{where} was made by {stamp}, which was refused: {write.code} {write.message}"
    if write.outcome == OK and write.verb != "bind" and write.revision != change.revision:
        yield f"{where} was made by {stamp}, which was acknowledged at {write.revision}"


def _deletions(evidence: Evidence, writes: list[Wrote]) -> Iterator[str]:
    """An acknowledged delete tells the last state; of those that tell the same one, etcd has one deletion."""
    deletes = [write for write in writes if write.verb == "delete"]
    unknown = Counter(write.key for write in deletes if write.outcome == UNKNOWN)
    claims = {(write.key, write.revision): write for write in deletes if write.outcome == OK}
    claimed: Counter[tuple[str, int]] = Counter()
    for write in deletes:
        truth = evidence.timeline.written(write.key, write.revision) if write.outcome == OK else None
        # A graceful deletion answers with the object as it now is, and may find that marked already.
        if write.outcome == OK and not (truth is not None and truth.ending):
            claimed[write.key, write.revision] += 1
    for change in evidence.timeline.changes:
        if change.new is not None or change.old is None or change.revision <= evidence.history.begun:
            continue
        identity = (change.key, change.old.revision)
        if identity in claims:
            claimed[identity] -= 1
        elif unknown[change.key]:
            unknown[change.key] -= 1
        elif not evidence.clearings.explains(change):
            yield f"{change.key}@{change.revision} was deleted, which nobody asked for"
    for (key, revision), left in claimed.items():
        if left > 0:
            yield f"{claims[key, revision].id}: the acknowledged deletion of {key}@{revision} was lost or told twice"


def _end(evidence: Evidence) -> Iterator[str]:
    for final in evidence.history.of(Final):
        replayed = {
            key: truth.revision
            for key in evidence.timeline.keys
            if (truth := evidence.timeline.at(key, final.revision))
        }
        if replayed != final.held:
            different = sorted(replayed.items() ^ final.held.items())
            yield f"at the end etcd holds other revisions than its history tells: {different[:5]}"
