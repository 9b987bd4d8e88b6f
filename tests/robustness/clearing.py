"""DeleteCollection as the validators see it: which deletions it explains, and which it owes. Pure.

It is a list followed by deletions that are not atomic together, so that also a refusal may have deleted a part.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.robustness.history import OK, Cleared, History
from tests.robustness.timeline import NEVER, Change, Knowledge, Timeline, covers, matches


class Clearings:
    """All DeleteCollections of a history."""

    def __init__(self, history: History, timeline: Timeline, knowledge: Knowledge) -> None:
        self._timeline = timeline
        self._knowledge = knowledge
        self._all = history.of(Cleared)
        self._used: set[tuple[str, str]] = set()

    def explains(self, change: Change) -> bool:
        """May one of them have made ``change``, a deletion or the mark of one? Each deletes a key at most once."""
        for cleared in self._all:
            use = (cleared.id, change.key)
            if use not in self._used and self._reaches(cleared, change):
                if change.new is None:
                    self._used.add(use)
                return True
        return False

    def _reaches(self, cleared: Cleared, change: Change) -> bool:
        if not covers(cleared.selection, change.key):
            return False
        low, high = self._between(cleared)
        if cleared.outcome != OK:
            high = NEVER  # a part of it may come yet
        if not low < change.revision <= high:
            return False
        listed = self._timeline.states(change.key, low, change.revision - 1)
        return any(state is not None and matches(cleared.selection, state) for state in listed)

    def owed(self) -> Iterator[str]:
        """What an acknowledged one should have deleted and has not."""
        for cleared in self._all:
            if cleared.outcome != OK:
                continue
            low, high = self._between(cleared)
            for key in self._timeline.state(cleared.selection, low):
                states = list(self._timeline.states(key, low, high))
                if all(state and matches(cleared.selection, state) and not state.ending for state in states):
                    yield f"{cleared.id}: {key} was selected and is untouched from {low} to {high}"

    def _between(self, cleared: Cleared) -> tuple[int, int]:
        return self._knowledge.before(cleared.invoke), self._knowledge.until(cleared.done)
