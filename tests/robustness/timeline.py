"""The truth: etcd's full history of the objects, and what every selection must see of it. Pure.

Selectors are matched by code of this module, not by that of the servers, which is under test.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tests.robustness.history import Batch, Got, History, Listed, Selection, Truth, Wrote

ADDED, MODIFIED, DELETED = 1, 2, 3
NEVER = 1 << 62

N = TypeVar("N", int, float)

Seen = tuple[int, str, int, str]
"""(type, key, revision, hash) of one event as a watch must show it."""

_REQUIREMENT = re.compile(r"(!?)([\w./-]+)\s*(?:(=|!=)\s*([\w./-]*)|(in|notin)\s*\(([^)]*)\))?$")


def matches(selection: Selection, truth: Truth) -> bool:
    """Is the object in ``selection``? Selectors are ``a=b``, ``a!=b``, ``a in (b,c)``, ``a notin (b,c)``, ``a``, ``!a``
    and commas between them.
    """
    return (
        covers(selection, truth.key)
        and _meets(selection.labels, truth.labels)
        and _meets(selection.fields, truth.fields)
    )


def covers(selection: Selection, key: str) -> bool:
    """Is the key in the kind, tenant and namespace of ``selection``?"""
    _, _, kind, tenant, namespace, _ = key.split("/")
    return (
        kind == selection.kind
        and selection.tenant in ("*", tenant)
        and (not selection.namespace or selection.namespace == namespace)
    )


def _meets(selector: str, values: Mapping[str, str]) -> bool:
    parts = re.split(r",(?![^(]*\))", selector) if selector else []
    return all(_holds(part.strip(), values) for part in parts)


def _holds(requirement: str, values: Mapping[str, str]) -> bool:
    found = _REQUIREMENT.match(requirement)
    if found is None:
        raise ValueError(f"not a requirement: {requirement!r}")
    negated, key, comparison, value, operator, members = found.groups()
    held = values.get(key)
    if comparison == "=":
        return held == value
    if comparison == "!=":
        return held != value
    if operator:
        among = held is not None and held in {member.strip() for member in members.split(",")}
        return among if operator == "in" else not among
    return (held is None) if negated else held is not None


@dataclass(frozen=True, slots=True)
class Change:
    """``old`` None: the key was absent before; ``new`` None: it is absent after."""

    revision: int
    key: str
    old: Truth | None
    new: Truth | None

    def seen_by(self, selection: Selection) -> Seen | None:
        """The event that ``selection`` must show for it: entering is ADDED, leaving is DELETED with the last state."""
        was = self.old is not None and matches(selection, self.old)
        now = self.new is not None and matches(selection, self.new)
        if now and self.new is not None:
            return (MODIFIED if was else ADDED, self.key, self.revision, self.new.hash)
        if was and self.old is not None:
            return (DELETED, self.key, self.revision, self.old.hash)
        return None


class Timeline:
    """All changes in order, and the state at any revision."""

    def __init__(self, history: History) -> None:
        self.changes: list[Change] = []
        self._versions: dict[str, list[Change]] = {}
        for truth in history.of(Truth):
            versions = self._versions.setdefault(truth.key, [])
            old = versions[-1].new if versions else None
            change = Change(truth.revision, truth.key, old, None if truth.deleted else truth)
            versions.append(change)
            self.changes.append(change)
        self._revisions = [change.revision for change in self.changes]
        self._expected: dict[Selection, tuple[list[int], list[Seen]]] = {}

    @property
    def keys(self) -> list[str]:
        return sorted(self._versions)

    def versions(self, key: str) -> list[Change]:
        """All changes of one key."""
        return self._versions.get(key, [])

    def at(self, key: str, revision: int) -> Truth | None:
        """What ``key`` held at ``revision``."""
        versions = self.versions(key)
        index = bisect.bisect_right(versions, revision, key=_revision_of)
        return versions[index - 1].new if index else None

    def written(self, key: str, revision: int) -> Truth | None:
        """What the write of exactly ``revision`` put at ``key``; None if there was none."""
        found = self.at(key, revision)
        return found if found is not None and found.revision == revision else None

    def until(self, key: str, revision: int) -> int:
        """The revision of the key's next change after ``revision``, ``NEVER`` if there is none."""
        versions = self.versions(key)
        index = bisect.bisect_right(versions, revision, key=_revision_of)
        return versions[index].revision if index < len(versions) else NEVER

    def states(self, key: str, low: int, high: int) -> Iterator[Truth | None]:
        """Everything that ``key`` held at any revision of [low, high]."""
        yield self.at(key, low)
        for change in self.versions(key):
            if low < change.revision <= high:
                yield change.new

    def state(self, selection: Selection, revision: int) -> dict[str, Truth]:
        """What ``selection`` held at ``revision``, in key order."""
        found = ((key, self.at(key, revision)) for key in self.keys if covers(selection, key))
        return {key: truth for key, truth in found if truth is not None and matches(selection, truth)}

    def seen(self, selection: Selection, after: int, to: int) -> list[Seen]:
        """The events of (after, to] that ``selection`` must show, in order."""
        if selection not in self._expected:
            events = [event for event in (change.seen_by(selection) for change in self.changes) if event is not None]
            self._expected[selection] = ([event[2] for event in events], events)
        revisions, events = self._expected[selection]
        return events[bisect.bisect_right(revisions, after) : bisect.bisect_right(revisions, to)]


class Knowledge:
    """What could be known when: bounds on the revision that a read may reflect.

    ``before(t)``: a revision that somebody had been told of before ``t``; whatever begins then and promises the most
    recent state must reflect it. ``until(t)``: no revision beyond it had come into being by ``t``, because its write,
    or that of an earlier one, was not yet asked for.
    """

    def __init__(self, history: History, timeline: Timeline) -> None:
        told: list[tuple[float, int]] = []
        for record in history.records:
            match record:
                case Wrote() | Got() | Listed() if record.outcome == "ok":
                    told.append((record.done, record.revision))
                case Truth() | Batch():
                    told.append((record.at, record.revision))
        told.sort()
        self._times = [at for at, _ in told]
        self._told = list(_running_maximum(revision for _, revision in told))
        asked = {write.id: write.invoke for write in history.of(Wrote)}
        born = [(change.revision, asked.get(change.new.stamp, 0.0)) for change in timeline.changes if change.new]
        self._revisions = [revision for revision, _ in born]
        self._born = list(_running_maximum(at for _, at in born))

    def before(self, at: float) -> int:
        index = bisect.bisect_left(self._times, at)
        return self._told[index - 1] if index else 0

    def until(self, at: float) -> int:
        index = bisect.bisect_right(self._born, at)
        return self._revisions[index] - 1 if index < len(self._revisions) else NEVER


def _running_maximum(values: Iterable[N]) -> Iterator[N]:
    highest: N | None = None
    for value in values:
        highest = value if highest is None else max(highest, value)
        yield highest


def _revision_of(change: Change) -> int:
    return change.revision
