"""Whether a watch that is made again goes on with the same history. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from services.storage.backing import FeedBatch, FeedEntry
from services.storage.errors import HistoryReplaced


class Resumption:
    """``position``: everything up to here was handed on. ``seen``: the changes handed on last, () if there are none.

    ``start``: the revision the watch must begin with, so that what it gives first can be compared.
    """

    def __init__(self, position: int, seen: Sequence[FeedEntry]) -> None:
        self.position = position
        self.start = seen[-1].revision if seen else position + 1
        # Changes of one revision have no order that etcd promises to keep.
        self._awaited = {_fact(entry) for entry in seen if entry.revision == self.start}

    def fresh(self, batch: FeedBatch) -> FeedBatch | None:
        """What of ``batch`` was not handed on before; None: nothing. Raises ``HistoryReplaced``."""
        entries = batch.entries
        if self.start <= self.position:
            known = 0
            while known < len(entries) and entries[known].revision <= self.position:
                known += 1
            if {_fact(entry) for entry in entries[:known]} != self._awaited:
                raise HistoryReplaced(self.position, batch.revision)
            entries = entries[known:]
            self.start = self.position + 1
        if not entries and batch.revision <= self.position:
            return None
        return FeedBatch(max(batch.revision, self.position), entries)


def _fact(entry: FeedEntry) -> tuple[str, bytes | None, int]:
    return entry.key, entry.value, entry.revision
