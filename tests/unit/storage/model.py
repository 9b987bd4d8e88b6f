"""The simplest store that can be right: every state the collection has ever had, by revision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.api.selectors import Selection
from services.storage.backing import FeedEntry
from services.storage.interface import Record
from services.storage.testing.world import attributes_of

State = dict[str, Record]


@dataclass
class Model:
    """``states[revision]``; a revision without an entry is the one before."""

    states: dict[int, State] = field(default_factory=lambda: {1: {}})
    revision: int = 1

    def apply(self, revision: int, entries: Sequence[FeedEntry]) -> None:
        state = dict(self.at(self.revision))
        for entry in entries:
            if entry.value is None:
                state.pop(entry.key, None)
            else:
                state[entry.key] = Record(entry.key, entry.value, revision)
        self.states[revision] = state
        self.revision = revision

    def at(self, revision: int) -> State:
        return self.states[max(known for known in self.states if known <= revision)]

    def list(self, revision: int, prefix: str, selection: Selection) -> Sequence[Record]:
        state = self.at(revision)
        return [state[key] for key in sorted(state) if _selects(prefix, selection)(state[key])]

    def events(self, after: int, prefix: str, selection: Selection) -> Sequence[tuple[str, str, int]]:
        """(type, key, revision) that a watch from ``after`` must give, as a set per revision in key order."""
        found = []
        selects = _selects(prefix, selection)
        for revision in sorted(known for known in self.states if known > after):
            old, new = self.at(revision - 1), self.at(revision)
            for key in sorted(old.keys() | new.keys()):
                if old.get(key) != new.get(key):
                    was = key in old and selects(old[key])
                    now = key in new and selects(new[key])
                    if was or now:
                        kind = "MODIFIED" if was and now else "ADDED" if now else "DELETED"
                        found.append((kind, key, revision))
        return found


def _selects(prefix: str, selection: Selection) -> Callable[[Record], bool]:
    return lambda record: record.key.startswith(prefix) and selection.matches(attributes_of(record.value))
