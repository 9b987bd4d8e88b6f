"""One line of transactions whose outcome can always be found out.

Every batch also writes the session's own key, on condition that the previous batch's write of it is still the last.
So after a timeout or a lost connection one look tells: the key carries the batch's tag → the batch was applied, at
that revision. It does not → a *fence* (a conditional write of the same key) makes sure that the batch can never be
applied late, and it may be sent again. Nothing has to be guessed from the objects themselves.

A database that is full refuses every transaction that puts something. etcd counts the puts on a transaction's own
level: what must work on a full database too (fences, batches of deletions) marks the key one level below.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterable
from typing import Any

import grpc
from aetcd import rpc

from services.base.clock import Clock
from services.base.rand import Rand
from services.storage.etcd import frames
from services.storage.etcd.calls import Calls
from services.storage.etcd.failures import Refusal, refusal_of

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
        self._lease_id = 0
        await self._grant()
        mark = frames.sparing(self._mark(b"open", self._lease_id))
        response = await self._send(frames.compare_revision(self._key, 0), (mark,))
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

    async def apply(self, operations: Iterable[bytes], *, sparing: bool = False) -> Any | None:
        """Send one batch of framed operations; their responses follow the session's own. ``sparing``: they put
        nothing. None: the session's key is lost, and nothing was applied. Raises ``AioRpcError``.
        """
        self._sequence += 1
        mark = self._mark(self._tag(), self._lease_id)
        own = frames.sparing(mark) if sparing else frames.success(mark)
        response = await self._send(frames.compare_revision(self._key, self._revision), (own, *operations))
        if not response.succeeded:
            return None
        self._revision = response.header.revision
        return response

    async def find_out(self) -> tuple[Fate, int]:
        """What became of the last batch sent, and the revision if it was applied. Raises ``AioRpcError``: ask again."""
        # Without the lease, which may have ended during a long outage; the next batch's mark takes it up again.
        fence = frames.sparing(self._mark(b"fence", 0))
        otherwise = frames.failure(frames.read(self._key))
        response = await self._send(frames.compare_revision(self._key, self._revision), (fence, otherwise))
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

    async def _send(self, compare: bytes, operations: Iterable[bytes]) -> Any:
        return await self._calls.send_transaction(frames.transaction(compare, operations))

    def _tag(self) -> bytes:
        return b"batch %d" % self._sequence

    def _mark(self, value: bytes, lease_id: int) -> bytes:
        return frames.put(self._key, value, lease_id)

    async def _grant(self) -> None:
        """A full database grants no leases: the session goes on with what it has, and asks again later."""
        with contextlib.suppress(_NoSpace):
            self._lease_id = await self._granted()
        self._lease_granted_s = self._clock.monotonic()

    async def _granted(self) -> int:
        try:
            return await self._calls.grant(LEASE_TTL_S)
        except grpc.aio.AioRpcError as failure:
            if refusal_of(failure) is Refusal.NO_SPACE:
                raise _NoSpace from failure
            raise


class _NoSpace(Exception):
    pass
