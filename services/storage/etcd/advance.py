"""Bringing every watch forward although nothing changes in what it watches.

A quiet watch that is not told of revisions elsewhere keeps the position of its last change. Its bookmarks then repeat
that; and when etcd's history has been compacted beyond it (5 to 10 minutes), the next break of the connection ends it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from services.base.clock import Clock
from services.base.rand import Rand
from services.storage.errors import StorageError
from services.storage.etcd.calls import Calls
from services.storage.etcd.markers import write_markers

if TYPE_CHECKING:
    from services.storage.etcd.store import EtcdStore

_log = logging.getLogger(__name__)


class Advance:
    """``run`` it in every server: at least once in ``period_s`` every feed is brought to that moment's revision.

    It costs one read, and then nothing where nothing was written. Else etcd is asked for progress on the streams that
    are behind; or, where that cannot be believed, one transaction marks every watched resource: all at one revision,
    or the marker of one would put the others behind, and so on for ever.
    """

    def __init__(
        self,
        stores: Mapping[str, EtcdStore],
        calls: Calls,
        period_s: float,
        clock: Clock,
        rand: Rand,
        progress_trusted: Callable[[], bool],
    ) -> None:
        self._stores = stores
        self._calls = calls
        self._period_s = period_s
        self._clock = clock
        self._rand = rand
        self._progress_trusted = progress_trusted

    async def run(self) -> None:
        while True:
            await self._clock.sleep(self._period_s * self._rand.uniform(0.75, 1.0))
            try:
                await self.step()
            except StorageError as failure:
                _log.info("quiet watches were not brought forward this time: %s", failure)

    async def step(self) -> None:
        """Raises ``Unavailable``."""
        watched = [store for store in self._stores.values() if store.feeds]
        if not watched:
            return
        current = await watched[0].current_revision()
        if self._progress_trusted():
            for store in watched:
                await store.request_progress(current)
        else:
            await self._mark(watched, current)

    async def _mark(self, watched: list[EtcdStore], current: int) -> None:
        if any(store.wants_marker(current) for store in watched):
            revisions = await write_markers(self._calls, [store.marker_key for store in watched])
            for store, revision in zip(watched, revisions, strict=True):
                store.marked(revision)
