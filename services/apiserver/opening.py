"""Places of watches that are opening, which a reader that never reads must not keep for ever."""

from __future__ import annotations

import asyncio

from services.rpc.lanes import Place


class Openings:
    """The places that the watches of one stream hold: left when the watch has opened, or after ``patience_s``.

    One timer for all of them, and none once all have opened: a timer per watch, 25,000 of them, would come due seconds
    later, in the midst of other work.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._held: dict[Place, float] = {}  # by deadline, in order
        self._timer: asyncio.TimerHandle | None = None

    def hold(self, place: Place) -> None:
        loop = asyncio.get_running_loop()
        self._held[place] = loop.time() + self._patience_s
        if self._timer is None:
            self._timer = loop.call_later(self._patience_s, self._due)

    def leave(self, place: Place) -> None:
        self._held.pop(place, None)
        place.leave()

    def close(self) -> None:
        for place in self._held:
            place.leave()
        self._held.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._held:
            place, deadline_s = next(iter(self._held.items()))
            if deadline_s > loop.time():
                self._timer = loop.call_at(deadline_s, self._due)
                return
            self.leave(place)
