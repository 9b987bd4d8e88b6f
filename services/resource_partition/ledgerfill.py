"""Every Node has its ledger: those that were stored before there were ledgers are given theirs at the start."""

from __future__ import annotations

import logging

from services.api import keys
from services.api.kinds import NODES
from services.api.selectors import EVERYTHING
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.resource_partition.ledgerednodes import LedgeredNodes
from services.resource_partition.ledgers import LEDGERS_PREFIX
from services.storage.errors import StorageError
from services.storage.interface import ListQuery, ResourceStore, Write

_LOG = logging.getLogger(__name__)

_CHUNK = 500


class LedgerFill:
    """``done``: every Node that there was at the start has a ledger."""

    def __init__(self, nodes: LedgeredNodes, ledgers: ResourceStore, clock: Clock, rand: Rand) -> None:
        self._nodes = nodes
        self._ledgers = ledgers
        self._clock = clock
        self._backoff = Backoff(rand, initial_s=0.1, maximum_s=2.0)
        self.done = False

    async def run(self) -> None:
        """Return when all is written. Retries for as long as the store cannot be reached."""
        while not self.done:
            try:
                self.done = await self._fill()
            except StorageError as failure:
                _LOG.warning("ledgers wait", extra={"why": str(failure)})
            if not self.done:
                await self._clock.sleep(self._backoff.next())

    async def _fill(self) -> bool:
        prefix = keys.prefix(NODES)
        nodes = (await self._nodes.list(ListQuery(prefix, EVERYTHING))).records
        ledgers = (await self._ledgers.list(ListQuery(LEDGERS_PREFIX, EVERYTHING))).records
        have = {record.key[len(LEDGERS_PREFIX) :] for record in ledgers}
        bare = [record for record in nodes if record.key[len(prefix) :] not in have]
        complete = True
        for start in range(0, len(bare), _CHUNK):
            # Each Node is stored again as it is, in the transaction that makes its ledger.
            writes = [Write(record.key, record.value, record.revision) for record in bare[start : start + _CHUNK]]
            outcomes = await self._nodes.write_batch(writes)
            complete = complete and not any(isinstance(outcome, Exception) for outcome in outcomes)
        if bare:
            _LOG.info("ledgers were made for nodes without one", extra={"nodes": len(bare)})
        return complete
