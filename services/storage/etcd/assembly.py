"""From etcd's watch responses to whole revisions. Pure.

A response that is cut into fragments may split a revision, so the newest revision is held back until the next one
begins or the last fragment is in.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.storage.backing import FeedBatch, FeedEntry


class Assembler:
    """``position``: everything up to this revision has been handed on."""

    def __init__(self, position: int) -> None:
        self.position = position
        self._held: list[FeedEntry] = []

    def add(self, entries: Sequence[FeedEntry], *, more_follows: bool) -> FeedBatch | None:
        """One response; ``more_follows``: it is not the last fragment. None: nothing is complete yet."""
        held = [*self._held, *entries]
        if not held:
            return None
        newest = held[-1].revision
        if more_follows:
            complete = [entry for entry in held if entry.revision < newest]
            self._held = held[len(complete) :]
        else:
            complete, self._held = held, []
        if not complete:
            return None
        self.position = complete[-1].revision
        return FeedBatch(self.position, complete)

    def progress(self, revision: int) -> FeedBatch | None:
        """etcd says that nothing up to ``revision`` is still to come (and can be believed, see ``versions``)."""
        if self._held or revision <= self.position:
            return None
        self.position = revision
        return FeedBatch(revision, ())
