"""A history prepared for judgement: the truth, what could be known when, and the phases of every watch. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tests.robustness.clearing import Clearings
from tests.robustness.history import Batch, Final, History, Session
from tests.robustness.timeline import ADDED, NEVER, Knowledge, Seen, Timeline


@dataclass(frozen=True)
class Phases:
    """One watch. ``state``: the initial state as far as it came; ``start``: the revision that changes follow on.

    ``start`` None: not known: the state is incomplete, or the watch began "now" (or with an empty state that nothing
    marked). ``complete``: all of the state came. ``position``: everything up to here was delivered, 0: nothing said.
    """

    session: Session
    state: tuple[Seen, ...]
    complete: bool
    start: int | None
    changes: tuple[Batch, ...]
    position: int

    @property
    def events(self) -> list[Seen]:
        """All changes, in the order in which they came."""
        return [event for batch in self.changes for event in batch.events]


class Evidence:
    """``Evidence(history)`` costs one pass; what validators share is made once."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.timeline = Timeline(history)
        self.knowledge = Knowledge(history, self.timeline)
        self.clearings = Clearings(history, self.timeline, self.knowledge)

    @cached_property
    def watches(self) -> list[Phases]:
        return [self._phases(session) for session in self.history.sessions]

    @cached_property
    def rest(self) -> int:
        """The revision of the end, when everything had come to rest; 0 if the run broke off before."""
        found = self.history.of(Final)
        return found[-1].revision if found else 0

    def _phases(self, session: Session) -> Phases:
        opened = session.opened
        batches = session.batches
        position = max((batch.revision for batch in batches), default=0)
        if session.ended is not None:
            position = max(position, session.ended.resume)
            if session.ended.by == "rest":
                position = max(position, self.rest)
        if not session.wants_state:
            return Phases(session, (), True, opened.asked or None, batches, position)
        ends = self._end_of_state(session)
        if ends is None:
            state = tuple(event for batch in batches for event in batch.events)
            return Phases(session, state, False, None, (), 0)
        state = tuple(event for batch in batches[:ends] for event in batch.events)
        start = batches[ends - 1].revision if ends else None
        return Phases(session, state, True, start, batches[ends:], position)

    def _end_of_state(self, session: Session) -> int | None:
        """How many batches belong to the initial state; None: it broke off. 0: it was empty, and nothing said so."""
        batches = session.batches
        if session.opened.bookmarks:
            return next((index + 1 for index, batch in enumerate(batches) if batch.initial_end), None)
        for index, batch in enumerate(batches):
            if not batch.revision:
                continue
            if index or self._is_state(session, batch):
                return index + 1
            return 0
        if batches:
            return None
        # Nothing came: an empty state, if there was time for one to come, or the server says that it was handed out (a
        # watch that falls behind is told where to resume).
        ended = session.ended
        return 0 if ended is not None and (ended.by == "rest" or ended.resume) else None

    def _is_state(self, session: Session, batch: Batch) -> bool:
        """Is a first batch with a revision the whole state, or the first changes after an empty one?"""
        if any(event[0] != ADDED for event in batch.events):
            return False
        held = self.timeline.state(session.opened.selection, batch.revision)
        return [event[1] for event in batch.events] == list(held)

    def start_bounds(self, watch: Phases) -> tuple[int, int]:
        """The lowest and highest revision at which the changes of ``watch`` may have begun, if ``start`` is None."""
        stands = watch.session.stands
        low = self.knowledge.before(watch.session.opened.at) if watch.session.opened.asked is None else 0
        return low, self.knowledge.until(stands.at) if stands is not None else NEVER
