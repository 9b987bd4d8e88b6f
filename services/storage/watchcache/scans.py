"""Long reads of a collection, done in slices so that the event loop is free in between.

A selector without an index has every record looked at, some microseconds each. What is short is answered at once, as is
what needs no looking (no selector, the index).
"""

from __future__ import annotations

import asyncio
from functools import partial

from services.base.clock import Clock
from services.storage.interface import ListQuery, Page, WatchQuery
from services.storage.queries import wants_state
from services.storage.watchcache.scan import Scan
from services.storage.watchcache.view import View
from services.storage.watchcache.watcher import CacheWatcher, Start

# Fewer are looked at in one go.
LONG_RECORDS = 1_000
_SLICE_RECORDS = 1_024
_SLICE_S = 0.003


class Turns:
    """Between any two slices of those who share it, everybody else in the event loop has had a turn."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._turn = asyncio.Lock()

    async def run(self, scan: Scan) -> None:
        """To its end, in turns with the others."""
        while not scan.done:
            async with self._turn:
                scan.step(_SLICE_RECORDS, partial(self._is_past, self._clock.monotonic() + _SLICE_S))
                await asyncio.sleep(0)

    def _is_past(self, moment_s: float) -> bool:
        return self._clock.monotonic() >= moment_s


class Scans:
    """The reads of ``view``, long ones in ``turns``."""

    def __init__(self, view: View, turns: Turns) -> None:
        self._view = view
        self._turns = turns

    async def page(self, query: ListQuery) -> Page:
        """The page as of now."""
        return await self._page(query, None) if self._is_long(query) else self._view.page(query)

    async def page_at(self, query: ListQuery, revision: int) -> Page:
        """The page as of ``revision`` ≤ now. Raises ``Expired`` below the window."""
        if self._view.to_look_at(query.prefix, query.selection, query.start_key, revision) <= LONG_RECORDS:
            return self._view.page_at(query, revision)
        return await self._page(query, revision)

    def _is_long(self, query: ListQuery) -> bool:
        view = self._view
        if view.to_look_at(query.prefix, query.selection, query.start_key) <= LONG_RECORDS:
            return False
        # What is known already is given as it is.
        return bool(query.limit or query.start_key) or view.known(query.prefix, query.selection) is None

    async def _page(self, query: ListQuery, revision: int | None) -> Page:
        # A scan that others have begun may be of an older revision, with no change in between.
        as_of = self._view.revision if revision is None else revision
        scan = self._view.scan(query.prefix, query.selection, as_of, start_key=query.start_key, limit=query.limit)
        await self._run(scan)
        return Page(scan.found, as_of, scan.more, None)

    async def watch(self, query: WatchQuery) -> CacheWatcher:
        """A watch that starts from what is here now. Raises ``Expired`` below the window."""
        view = self._view
        while wants_state(query) and view.to_look_at(query.prefix, query.selection) > LONG_RECORDS:
            if view.known(query.prefix, query.selection) is not None:
                break
            as_of = view.revision
            scan = view.scan(query.prefix, query.selection, as_of)
            await self._run(scan)
            # Nobody knows what came between a collection and the one that has replaced it.
            if view.holds(scan):
                return view.watch_from(query, Start(as_of, scan.sequence, state=scan.found))
        return view.watch(query)

    async def _run(self, scan: Scan) -> None:
        try:
            await self._turns.run(scan)
        finally:
            self._view.end(scan)
