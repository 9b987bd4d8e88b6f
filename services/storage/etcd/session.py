"""One line of transactions whose outcome can always be found out.

Every batch also writes the session's own key, on condition that the previous batch's write of it is still the last.
So after a timeout or a lost connection one look tells: the key carries the batch's tag → the batch was applied, at
that revision. It does not → a *fence* (a conditional write of the same key) makes sure that the batch can never be
applied late, and it may be sent again. Nothing has to be guessed from the objects themselves.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from aetcd import rpc

from services.base.clock import Clock
from services.base.rand import Rand
from services.storage.etcd import requests
from services.storage.etcd.calls import Calls

PREFIX = "/ursa.commit/"
LEASE_TTL_S = 3600
_LEASE_FRESH_S = 600.0


class Fate(enum.Enum):
    """What became of an unanswered batch."""

    APPLIED = "applied"
    NOT_APPLIED = "not applied, and never will be"
    LOST = "the session's key is gone: cannot be told"


class Session:
    """Not shared: one transaction at a time. Call ``open`` first, and again after ``LOST``."""

    def __init__(self, calls: Calls, clock: Clock, rand: Rand) -> None:
        self._calls = calls
        self._clock = clock
        self._rand = rand
        self._key = b""
        self._revision = 0
        self._sequence = 0
        self._lease_id = 0
        self._lease_granted_s = 0.0

    @property
    def is_open(self) -> bool:
        return self._revision > 0

    async def open(self) -> None:
        """Begin under a new key; the old one is left to its lease. Raises ``grpc.aio.AioRpcError``."""
        self._revision = 0
        self._key = f"{PREFIX}{self._rand.hexadecimal(24)}".encode()
        await self._grant()
        transaction = rpc.TxnRequest(compare=[requests.compare_revision(self._key, 0)], success=[self._mark(b"open")])
        response = await self._calls.transaction(transaction)
        self._revision = response.header.revision if response.succeeded else 0

    def close(self) -> None:
        """Forget the key: ``open`` takes a new one."""
        self._revision = 0

    async def ping(self) -> None:
        """etcd answers, and has a leader. Raises ``AioRpcError``."""
        await self._calls.range(rpc.RangeRequest(key=self._key))

    async def renew(self) -> None:
        """Take a new lease when the present one has been in use for some minutes. Raises ``AioRpcError``."""
        if self._clock.monotonic() - self._lease_granted_s > _LEASE_FRESH_S:
            await self._grant()

    async def apply(self, operations: Sequence[Any]) -> Any | None:
        """Send one batch; the responses of ``operations`` follow the session's own. None: the session's key is lost,
        and nothing was applied. Raises ``AioRpcError``.
        """
        self._sequence += 1
        transaction = rpc.TxnRequest(
            compare=[requests.compare_revision(self._key, self._revision)],
            success=[self._mark(self._tag()), *operations],
        )
        response = await self._calls.transaction(transaction)
        if not response.succeeded:
            return None
        self._revision = response.header.revision
        return response

    async def find_out(self) -> tuple[Fate, int]:
        """What became of the last batch sent, and the revision if it was applied. Raises ``AioRpcError``: ask again."""
        transaction = rpc.TxnRequest(
            compare=[requests.compare_revision(self._key, self._revision)],
            success=[self._mark(b"fence")],
            failure=[requests.read(self._key)],
        )
        response = await self._calls.transaction(transaction)
        if response.succeeded:
            self._revision = response.header.revision
            return Fate.NOT_APPLIED, 0
        found = response.responses[0].response_range.kvs
        if not found or found[0].mod_revision <= self._revision:
            self._revision = 0
            return Fate.LOST, 0
        self._revision = found[0].mod_revision
        if found[0].value == self._tag():
            return Fate.APPLIED, self._revision
        return Fate.NOT_APPLIED, 0  # an earlier fence, whose answer did not arrive

    def _tag(self) -> bytes:
        return b"batch %d" % self._sequence

    def _mark(self, value: bytes) -> Any:
        return requests.put(self._key, value, self._lease_id)

    async def _grant(self) -> None:
        self._lease_id = await self._calls.grant(LEASE_TTL_S)
        self._lease_granted_s = self._clock.monotonic()
