"""Every validator accepts a history that keeps its guarantee, and finds what breaks it in one that does not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.robustness.evidence import Evidence
from tests.robustness.history import (
    OK,
    REFUSED,
    UNKNOWN,
    Batch,
    Begun,
    Cleared,
    Ended,
    Final,
    Followed,
    Got,
    History,
    Incident,
    Listed,
    Opened,
    Record,
    Selection,
    Stands,
    Truth,
    Wrote,
)
from tests.robustness.timeline import ADDED, DELETED, MODIFIED, matches
from tests.robustness.validators import VALIDATORS

A, B, C = (f"/ursa/pods/acme/default/{name}" for name in "abc")
FOREIGN = "/ursa/pods/beta/default/a"
ALL = Selection("pods", "acme", "default")
RED = Selection("pods", "acme", "default", labels="colour=red")

# The truth at hand. A revision r is asked for at r-0.5, and everybody may know of it from r on.
#   10 create a red | 11 create b blue | 12 a turns blue, b turns red (one batch) | 13 delete a | 14 create c red


def put(revision: int, key: str, colour: str, stamp: str, **more: Any) -> Truth:
    return Truth(
        at=float(revision),
        revision=revision,
        key=key,
        hash=f"{key[-1]}{revision}",
        uid=f"uid-{key[-1]}",
        labels={"colour": colour},
        stamp=stamp,
        **more,
    )


def gone(revision: int, key: str) -> Truth:
    return Truth(at=float(revision), revision=revision, key=key, deleted=True)


def wrote(id: str, verb: str, key: str, revision: int, at: float, **more: Any) -> Wrote:
    """At ``at``: answered then, asked for half a second before."""
    fields = {"outcome": OK, "revision": revision, **more}
    return Wrote(id=id, client="w", verb=verb, key=key, invoke=at - 0.5, done=at, **fields)


def cleared(outcome: str, at: float, colour: str = "red") -> Cleared:
    """A DeleteCollection of one colour."""
    selection = Selection("pods", "acme", "default", labels=f"colour={colour}")
    return Cleared("x-c", "w", selection, invoke=at - 0.5, done=at, outcome=outcome)


GENERATED = "/ursa/pods/acme/default/gen-"

TRUTH: tuple[Record, ...] = (
    put(10, A, "red", "w-1"),
    put(11, B, "blue", "w-2"),
    put(12, A, "blue", "w-3"),
    put(12, B, "red", "w-4"),
    gone(13, A),
    put(14, C, "red", "w-6"),
)
WRITES: tuple[Record, ...] = (
    wrote("w-1", "create", A, 10, 10.0),
    wrote("w-2", "create", B, 11, 11.0),
    wrote("w-3", "update", A, 12, 12.0, expected=10),
    wrote("w-4", "patch", B, 12, 12.0),
    wrote("w-5", "delete", A, 12, 13.0, expected=12),
    wrote("w-6", "create", C, 14, 14.0),
)
FINAL = Final(20.0, 14, {B: 12, C: 14})
BASE: tuple[Record, ...] = (Begun(1, 9), *TRUTH, *WRITES, FINAL)

Event = tuple[int, str, int, str]
A10: Event = (ADDED, A, 10, "a10")
B11: Event = (ADDED, B, 11, "b11")
A12: Event = (MODIFIED, A, 12, "a12")
B12: Event = (MODIFIED, B, 12, "b12")
A13: Event = (DELETED, A, 13, "a12")
C14: Event = (ADDED, C, 14, "c14")
# What RED sees of revision 12: a leaves (its last red state), b enters.
A12_LEAVES: Event = (DELETED, A, 12, "a10")
B12_ENTERS: Event = (ADDED, B, 12, "b12")


def watch(
    *batches: tuple[int, list[Event]] | Batch,
    name: str = "s",
    selection: Selection = ALL,
    by: str = "client",
    **opened: Any,
) -> list[Record]:
    """A watch from ``asked`` (default 9) on whose messages are ``batches``, received at 15 s."""
    fields = {"asked": 9, "at": 9.5, **opened}
    end = {key: fields.pop(key) for key in ("reason", "resume", "oldest") if key in fields}
    records: list[Record] = [
        Opened(session=name, watcher="v", selection=selection, **fields),
        Stands(name, 9.6),
    ]
    messages = [batch if isinstance(batch, Batch) else Batch(name, 15.0, batch[0], batch[1]) for batch in batches]
    return [*records, *messages, Ended(name, 16.0, by, **end)]


def bookmark(revision: int, *, at: float = 15.0, end: bool = False, events: list[Event] | None = None) -> Batch:
    return Batch("s", at, revision, events or [], bookmark=True, initial_end=end)


def got(revision: int, key: str = A, *, asked: int | None = None, at: float = 15.0, **more: Any) -> Got:
    fields = {"outcome": OK, "hash": f"{key[-1]}{revision}" if revision else "", **more}
    return Got(client="r", key=key, asked=asked, invoke=at, done=at + 0.1, revision=revision, **fields)


def missed(key: str, **more: Any) -> Got:
    return got(0, key, **{"outcome": REFUSED, "reason": "NotFound", **more})


def listed(revision: int, items: list[tuple[str, int, str]], **more: Any) -> Listed:
    fields = {"series": "r-1", "selection": ALL, "asked": None, "invoke": 15.0, "done": 15.1, "outcome": OK, **more}
    return Listed(client="r", revision=revision, items=items, **fields)


def followed(*changes: tuple[str, int, int], held: dict[str, int] | None = None) -> Followed:
    return Followed("i", ALL, 15.0, list(changes), held)


LB, LC = (B, 12, "b12"), (C, 14, "c14")
WHOLE = [(10, [A10]), (11, [B11]), (12, [A12, B12]), (13, [A13]), (14, [C14])]

GOOD: dict[str, list[Record]] = {
    "a watch of everything": watch(*WHOLE, by="rest"),
    "several revisions in a message": watch((12, [A10, B11, A12, B12]), (14, [A13, C14])),
    "a watch that breaks off early": watch((10, [A10])),
    "a selection that objects enter and leave": watch((12, [A10, A12_LEAVES, B12_ENTERS]), (14, [C14]), selection=RED),
    "the state, its end, then changes": watch(
        (0, [(ADDED, A, 12, "a12"), (ADDED, B, 12, "b12")]), bookmark(12, end=True), (14, [A13, C14]),
        asked=None, bookmarks=True,
    ),
    "the state in one message without bookmarks": watch(
        (13, [(ADDED, B, 12, "b12")]), (14, [C14]), asked=None, initial=True, by="rest"
    ),
    "an empty state that nothing marks": watch(*WHOLE, asked=None, initial=True, by="rest"),
    "a state that never came": watch(asked=None, initial=True, by="server", reason="ServiceUnavailable"),
    "changes from now on": watch(*WHOLE, asked=0, initial=False, by="rest"),
    "a resumed watch": [
        *watch((10, [A10]), name="s1"),
        *watch((14, [B11, A12, B12, A13, C14]), name="s2", asked=10, resumes="s1"),
    ],
    "too slow, and told where to resume": watch((10, [A10]), by="server", reason="SlowWatcher", resume=10),
    "too slow after an empty state, and told where to resume": watch(
        asked=None, initial=True, by="server", reason="SlowWatcher", resume=9),
    "expired below the oldest": watch((10, [A10]), by="server", reason="Expired", oldest=11),
    "bookmarks at true positions": watch((10, [A10]), bookmark(10), (14, [B11, A12, B12, A13, C14]), bookmarks=True),
    "reads of the present": [got(14, C), missed(A), listed(14, [LB, LC])],
    "reads of the past": [got(12, A, asked=0), got(12, B, asked=12), listed(13, [LB], asked=0)],
    "pages": [
        listed(13, [LB], limit=1, asked=13, more=False, remaining=None),
        listed(12, [(A, 12, "a12")], series="r-2", limit=1, asked=12, match="Exact", more=True, remaining=1),
        listed(12, [LB], series="r-2", limit=1, continues=True),
    ],
    "a read while its write is under way": [got(11, B, at=12.0), got(12, B, at=12.0)],
    "an informer": [
        followed((A, 0, 10)), followed((B, 0, 11), (A, 10, 12), (B, 11, 12)), followed((A, 12, 0), (C, 0, 14)),
        followed(held={B: 12, C: 14}),
    ],
    "refusals that are true": [
        wrote("x-1", "create", B, 0, 15.0, outcome=REFUSED, reason="AlreadyExists"),
        wrote("x-2", "update", A, 0, 15.0, outcome=REFUSED, reason="NotFound"),
        wrote("x-3", "update", B, 0, 15.0, outcome=REFUSED, reason="Conflict", expected=11),
    ],
    "unknown and not there": [wrote("x-1", "update", B, 0, 15.0, outcome=UNKNOWN)],
    "a collection is cleared": [cleared(OK, 15.5), gone(15, B), gone(16, C)],
    "a clearing that was refused has done a part": [cleared(REFUSED, 15.5), gone(15, B)],
    "a clearing marks what ends gracefully": [
        cleared(OK, 15.5), put(15, B, "red", "w-4", ending="99/30"), gone(16, C)],
    "a name is generated": [
        put(15, GENERATED + "abcde", "red", "x-1"),
        wrote("x-1", "create", GENERATED + "abcde", 15, 15.0, generated=GENERATED)],
    "a name may have been generated": [
        put(15, GENERATED + "abcde", "red", "x-1"),
        wrote("x-1", "create", GENERATED, 0, 15.0, outcome=UNKNOWN, generated=GENERATED)],
}  # fmt: skip

BAD: list[tuple[str, str, list[Record]]] = [
    ("Ordered", "revisions go back in a message", watch((12, [B11, A10, A12, B12]))),
    ("Ordered", "revisions go back between messages", watch((11, [B11]), (11, [A10]))),
    ("Ordered", "positions go back", watch((12, [A10, B11, A12, B12]), (11, []))),
    ("Ordered", "an event above its message's position", watch((10, [A10, B11]))),
    ("Ordered", "a state out of key order", watch(
        (0, [(ADDED, B, 12, "b12"), (ADDED, A, 12, "a12")]), bookmark(12, end=True), asked=None, bookmarks=True)),
    ("Unique", "twice in a watch", watch((10, [A10]), (11, [A10, B11]))),
    ("Unique", "twice across a resumption", [
        *watch((11, [A10, B11]), name="s1"), *watch((12, [B11, A12, B12]), name="s2", asked=10, resumes="s1")]),
    ("Unique", "twice in the state", watch(
        (0, [(ADDED, B, 12, "b12"), (ADDED, B, 12, "b12")]), bookmark(13, end=True), asked=None, bookmarks=True)),
    ("Atomic", "a revision in two messages", watch((11, [A10, B11]), (12, [A12]), (12, [B12]))),
    ("Reliable", "a change is missing", watch((10, [A10]), (12, [A12, B12]))),
    ("Reliable", "half a revision is missing", watch((11, [A10, B11]), (12, [A12]))),
    ("Reliable", "the tail is missing, at rest", watch((12, [A10, B11, A12, B12]), by="rest")),
    ("Reliable", "nothing came, at rest", watch(by="rest")),
    ("Reliable", "the position is ahead of what came", watch((10, [A10]), (13, []))),
    ("Reliable", "leaving the selection is missing", watch((12, [A10, B12_ENTERS]), selection=RED)),
    ("Reliable", "an object is missing in the state", watch(
        (0, [(ADDED, A, 12, "a12")]), bookmark(12, end=True), asked=None, bookmarks=True)),
    ("Reliable", "no state came, at rest", watch(asked=None, initial=True, by="rest")),
    ("Reliable", "a gap behind a watch that begins now", watch(
        (14, [A12, B12, A13, C14]), asked=0, initial=False)),
    ("Reliable", "a gap at a resumption", [
        *watch((10, [A10]), name="s1"), *watch((12, [A12, B12]), name="s2", asked=10, resumes="s1")]),
    ("Reliable", "a slow watch is told to resume after a state that it was not shown", watch(
        asked=None, initial=True, by="server", reason="SlowWatcher", resume=11)),
    ("Reliable", "resume point of a slow watch skips", watch(
        (10, [A10]), by="server", reason="SlowWatcher", resume=11)),
    ("Resumable", "what was before the resume point comes again", watch((12, [B11, A12, B12]), asked=11)),
    ("Resumable", "a slow watch is sent back", watch((11, [A10, B11]), by="server", reason="SlowWatcher", resume=10)),
    ("Resumable", "a slow watch is not told where", watch((11, [A10, B11]), by="server", reason="SlowWatcher")),
    ("Resumable", "expired though it is kept", watch((11, [A10, B11]), by="server", reason="Expired", oldest=11)),
    ("Resumable", "the client resumes elsewhere", [
        *watch((10, [A10]), name="s1"), *watch((14, [A13, C14]), name="s2", asked=12, resumes="s1")]),
    ("Bookmarkable", "a bookmark overtakes an event", watch(bookmark(10), (11, [B11]), bookmarks=True)),
    ("Bookmarkable", "a bookmark that was not asked for", watch((10, [A10]), bookmark(10))),
    ("Bookmarkable", "a bookmark from the future", watch((10, [A10]), bookmark(13, at=10.9), bookmarks=True)),
    ("Bookmarkable", "a bookmark with events", watch(bookmark(10, events=[A10]), bookmarks=True)),
    ("Bookmarkable", "a bookmark without a position", watch(bookmark(0), bookmarks=True)),
    ("Bookmarkable", "two ends of the state", watch(
        bookmark(9, end=True), bookmark(9, end=True), asked=None, bookmarks=True)),
    ("Bookmarkable", "an end of a state that was not asked for", watch(bookmark(9, end=True), bookmarks=True)),
    ("Filterable", "an object outside of the selection", watch((11, [A10, B11]), selection=RED)),
    ("Filterable", "entering is not ADDED", watch((12, [A10, A12_LEAVES, (MODIFIED, B, 12, "b12")]), selection=RED)),
    ("Filterable", "leaving shows the new object", watch(
        (12, [A10, (DELETED, A, 12, "a12"), B12_ENTERS]), selection=RED)),
    ("Filterable", "other bytes than etcd's", watch((10, [(ADDED, A, 10, "other")]))),
    ("Filterable", "a revision that never was", watch((10, [(ADDED, C, 10, "c10")]))),
    ("Filterable", "the state holds what was replaced", watch(
        (0, [A10]), bookmark(12, end=True), asked=None, bookmarks=True)),
    ("Filterable", "the state holds what came later", watch(
        (0, [(ADDED, B, 12, "b12")]), bookmark(11, end=True), asked=None, bookmarks=True)),
    ("Filterable", "the state holds what is not selected", watch(
        (0, [B11]), bookmark(11, end=True), asked=None, bookmarks=True, selection=RED)),
    ("Isolated", "another tenant's event", watch((10, [(ADDED, FOREIGN, 10, "a10")]))),
    ("Isolated", "another tenant's object in a list", [listed(10, [(FOREIGN, 10, "a10")])]),
    ("Isolated", "another tenant's object in an informer", [followed((FOREIGN, 0, 10))]),
    ("Linearizable", "a GET of what was overwritten", [got(11, B)]),
    ("Linearizable", "a GET of what was deleted", [got(12, A)]),
    ("Linearizable", "a GET that misses what is there", [missed(B)]),
    ("Linearizable", "a GET older than it asked for", [got(11, B, asked=12)]),
    ("Linearizable", "a GET from the future", [got(14, C, at=13.0)]),
    ("Linearizable", "a GET of other bytes", [got(14, C, hash="other")]),
    ("Linearizable", "a GET goes back behind another one", [got(12, B, at=11.7), got(11, B, at=12.0)]),
    ("Linearizable", "a LIST of the past", [listed(13, [LB])]),
    ("Linearizable", "a LIST from the future", [listed(14, [LB, LC], asked=0, invoke=12.0, done=12.1)]),
    ("Linearizable", "a LIST that goes on in the past", [listed(13, [LB], restarted=True, continues=True)]),
    ("Linearizable", "a write goes back", [wrote("x-1", "update", B, 12, 15.0)]),
    ("Linearizable", "not found, though it is there", [
        wrote("x-1", "update", B, 0, 15.0, outcome=REFUSED, reason="NotFound")]),
    ("Linearizable", "exists already, though it is gone", [
        wrote("x-1", "create", A, 0, 15.0, outcome=REFUSED, reason="AlreadyExists")]),
    ("Linearizable", "a conflict without a cause", [
        wrote("x-1", "update", B, 0, 15.0, outcome=REFUSED, reason="Conflict", expected=12)]),
    ("Linearizable", "a watch begins with a state of the past", watch(
        bookmark(9, end=True), asked=None, bookmarks=True, at=15.0)),
    ("Linearizable", "a watch begins with changes of the past", watch(*WHOLE, asked=None, initial=False, at=15.0)),
    ("Paged", "an Exact LIST at another revision", [listed(14, [LB, LC], asked=13, match="Exact")]),
    ("Paged", "a LIST older than it asked for", [listed(13, [LB], asked=14)]),
    ("Paged", "an object is missing", [listed(14, [LB])]),
    ("Paged", "an object is too much", [listed(13, [LB, LC], asked=13)]),
    ("Paged", "out of order", [listed(14, [LC, LB])]),
    ("Paged", "other bytes", [listed(14, [LB, (C, 14, "other")])]),
    ("Paged", "a token without a next object", [listed(13, [LB], limit=1, more=True)]),
    ("Paged", "no token, though more follows", [listed(14, [LB], limit=1)]),
    ("Paged", "a wrong count of what remains", [listed(14, [LB], limit=1, more=True, remaining=2)]),
    ("Paged", "a page at another revision than the first", [
        listed(12, [(A, 12, "a12")], limit=1, asked=12, more=True),
        listed(13, [LB], limit=1, continues=True)]),
    ("Durable", "an acknowledged write is lost", [wrote("x-1", "create", C, 13, 14.0)]),
    ("Durable", "acknowledged at another write's revision", [wrote("x-1", "update", B, 12, 12.0)]),
    ("Durable", "a refused write was made", [
        put(15, B, "red", "x-1"), wrote("x-1", "update", B, 0, 15.0, outcome=REFUSED)]),
    ("Durable", "a write of nobody", [put(15, B, "red", "y-1")]),
    ("Durable", "a write without a change", [put(15, B, "red", "w-4")]),
    ("Durable", "a write was applied twice", [
        wrote("x-1", "update", B, 0, 17.0, outcome=UNKNOWN),
        put(15, B, "red", "x-1"), put(16, B, "red", "z-1"), wrote("z-1", "update", B, 16, 17.0),
        put(17, B, "red", "x-1")]),
    ("Durable", "acknowledged at another revision than its own", [
        put(15, B, "red", "x-1"), wrote("x-1", "update", B, 12, 15.0)]),
    ("Durable", "a precondition on the revision was ignored", [
        put(15, B, "red", "x-1"), wrote("x-1", "update", B, 15, 15.0, expected=11)]),
    ("Durable", "a precondition on the UID was ignored", [
        put(15, B, "red", "x-1"), wrote("x-1", "update", B, 15, 15.0, uid="other")]),
    ("Durable", "created though it was there", [put(15, B, "red", "x-1"), wrote("x-1", "create", B, 15, 15.0)]),
    ("Durable", "an acknowledged deletion is lost", [wrote("x-1", "delete", B, 12, 15.0)]),
    ("Durable", "one deletion is acknowledged twice", [wrote("x-1", "delete", A, 12, 13.0)]),
    ("Durable", "a deletion of nobody", [gone(15, B)]),
    ("Durable", "deleted at another revision than demanded", [
        gone(15, B), wrote("x-1", "delete", B, 12, 15.0, expected=11)]),
    ("Durable", "bound to another node", [
        put(15, B, "red", "x-1", fields={"spec.nodeName": "node-1"}),
        wrote("x-1", "bind", B, 15, 15.0, node="node-2")]),
    ("Durable", "marked for deletion by nobody", [put(15, B, "red", "w-4", ending="99/30")]),
    ("Durable", "an acknowledged clearing leaves something", [cleared(OK, 15.0), gone(15, B)]),
    ("Durable", "a clearing deletes what it did not select", [cleared(UNKNOWN, 15.0, "green"), gone(15, B)]),
    ("Durable", "a clearing deletes what was there before it began", [gone(15, B), cleared(OK, 17.0)]),
    ("Durable", "a clearing deletes a key twice", [
        cleared(UNKNOWN, 15.0), wrote("x-1", "create", B, 16, 16.0),
        gone(15, B), put(16, B, "red", "x-1"), gone(17, B)]),
    ("Durable", "a generated name begins otherwise", [
        put(15, C + "-abcde", "red", "x-1"), wrote("x-1", "create", C + "-abcde", 15, 15.0, generated=GENERATED)]),
    ("Durable", "a generated name has four characters", [
        put(15, GENERATED + "abcd", "red", "x-1"),
        wrote("x-1", "create", GENERATED + "abcd", 15, 15.0, generated=GENERATED)]),
    ("Durable", "etcd holds something else at the end", [Final(21.0, 14, {B: 12})]),
    ("Followed", "a change is told twice", [followed((A, 0, 10)), followed((A, 0, 10))]),
    ("Followed", "a change goes back", [followed((A, 0, 12)), followed((A, 12, 10))]),
    ("Followed", "a revision that never was", [followed((A, 0, 11))]),
    ("Followed", "another end than etcd's", [followed((B, 0, 12)), followed(held={B: 12})]),
    ("Followed", "another end than it told of", [followed((B, 0, 12)), followed(held={B: 12, C: 14})]),
    ("Sound", "a process ended by itself", [Incident(15.0, "tp-1 ended by itself")]),
    ("Sound", "an internal error of a call", [got(0, C, outcome=REFUSED, code="INTERNAL")]),
    ("Sound", "an internal error of a watch", [Ended("s", 15.0, "server", code="INTERNAL")]),
]  # fmt: skip


def history(records: list[Record]) -> History:
    return History((*BASE, *records))


@pytest.mark.parametrize("name", GOOD)
def test_accepts(name: str) -> None:
    evidence = Evidence(history(GOOD[name]))

    found = {guarantee: list(validate(evidence)) for guarantee, validate in VALIDATORS.items()}

    assert not any(found.values()), found


@pytest.mark.parametrize(("guarantee", "why", "records"), BAD, ids=[f"{name}: {why}" for name, why, _ in BAD])
def test_finds(guarantee: str, why: str, records: list[Record]) -> None:
    assert list(VALIDATORS[guarantee](Evidence(history(records))))


def test_every_guarantee_is_seen_to_fail() -> None:
    assert {guarantee for guarantee, _, _ in BAD} == set(VALIDATORS)


def test_sound_wants_an_end() -> None:
    assert list(VALIDATORS["Sound"](Evidence(History((Begun(1, 9), *TRUTH, *WRITES)))))


@pytest.mark.parametrize(
    ("labels", "held"),
    [
        ("", True),
        ("colour=red", True),
        ("colour=blue", False),
        ("colour!=blue", True),
        ("size!=large", True),
        ("colour in (red, blue)", True),
        ("colour notin (red,blue)", False),
        ("size notin (large)", True),
        ("colour", True),
        ("size", False),
        ("!size", True),
        ("colour in (red,blue),!size", True),
        ("colour=red,size=large", False),
    ],
)
def test_selectors_are_matched_without_the_code_under_test(labels: str, held: bool) -> None:
    assert matches(Selection("pods", "acme", labels=labels), put(10, A, "red", "w-1")) is held


def test_selections_cover_whole_segments_only() -> None:
    truth = put(10, "/ursa/pods/acme/default/a", "red", "w-1")

    assert matches(Selection("pods", "*"), truth)
    assert not matches(Selection("pods", "ac"), truth)
    assert not matches(Selection("pods", "acme", "def"), truth)
    assert not matches(Selection("leases", "acme"), truth)
