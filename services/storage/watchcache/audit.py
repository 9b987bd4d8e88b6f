"""The audit: every few minutes the cache's digest is compared with its store's (KEP-4988)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from services.api.selectors import EVERYTHING
from services.base.clock import Clock
from services.base.rand import Rand
from services.storage.backing import Backing
from services.storage.digests import Digest
from services.storage.errors import StorageError
from services.storage.interface import ListQuery, Match
from services.storage.watchcache import metrics
from services.storage.watchcache.view import View

_log = logging.getLogger(__name__)

PERIOD_S = 300.0
_JITTER = 0.5
_PAGE_RECORDS = 1_000


class CacheDiffers(StorageError):
    """The cache does not hold what its store holds; it is to be rebuilt."""


class Audit:
    """Compares on a period of 5 to 7.5 minutes, at the cache's own revision, which ``catch_up`` makes a recent one:
    an older one may be compacted away in the store."""

    def __init__(
        self, view: View, backing: Backing, clock: Clock, rand: Rand, catch_up: Callable[[], Awaitable[bool]]
    ) -> None:
        self._view = view
        self._backing = backing
        self._clock = clock
        self._rand = rand
        self._catch_up = catch_up
        self._resource = view.prefix.strip("/").rpartition("/")[2]

    async def run(self) -> None:
        """Raises ``CacheDiffers``."""
        while True:
            await self._clock.sleep(self._rand.jitter(PERIOD_S, _JITTER))
            try:
                await self._catch_up()
                agrees = await self.agrees()
            except StorageError as failure:
                _log.warning("%s: not audited this time: %s", self._view.prefix, failure)
                continue
            if not agrees:
                metrics.DIGEST_MISMATCHES.labels(self._resource).inc()
                raise CacheDiffers(f"{self._view.prefix}: the cache differs from its store")

    async def agrees(self) -> bool:
        """Both digests at the cache's revision are equal. Raises what either read raises."""
        revision = self._view.revision
        mine = await self._digest(revision)
        theirs = await self._backing.digest(revision)
        return mine == theirs

    async def _digest(self, revision: int) -> str:
        digest = Digest()
        start_key = ""
        while True:
            query = ListQuery(self._view.prefix, EVERYTHING, revision, Match.EXACT, start_key, _PAGE_RECORDS)
            page = self._view.page_at(query, revision)
            digest.add((record.key, record.revision) for record in page.records)
            if not page.more:
                return digest.text()
            start_key = page.records[-1].key
            await self._clock.sleep(0)  # others have their turn between pages
