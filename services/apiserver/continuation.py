"""Continue tokens: where the next page of a list begins, opaque to clients and authenticated.

A token is bound to its partition, kind and query, so that nobody can read keys of another tenant or jump to a revision
of his own choosing. The key is shared by all servers of a partition and survives their restarts.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.rpc import status
from services.storage.errors import StorageError

_LOG = logging.getLogger(__name__)

INCONSISTENT = -1
"""The revision of a token that goes on at the most recent state: the one it began at is gone."""

_MAC_BYTES = 16


@dataclass(frozen=True, slots=True)
class Position:
    """``revision``: the list's own, or ``INCONSISTENT``. ``start_key``: the next page begins strictly after it."""

    revision: int
    start_key: str


class ContinueTokens:
    """Makes and reads the tokens of one partition. ``load_key`` fetches the secret (≥ 32 bytes), at the server's start
    (``load``) or when it is first used; it may raise ``storage.Unavailable``."""

    def __init__(self, partition: str, load_key: Callable[[], Awaitable[bytes]]) -> None:
        self._partition = partition
        self._load_key = load_key
        self._key = b""

    @property
    def loaded(self) -> bool:
        return bool(self._key)

    async def load(self, clock: Clock, rand: Rand) -> None:
        """Return when the key is there: pages are served from caches then while the store cannot be reached."""
        backoff = Backoff(rand, initial_s=0.1, maximum_s=2.0)
        while not self._key:
            try:
                self._key = await self._load_key()
            except StorageError as failure:
                _LOG.warning("the key of continue tokens waits", extra={"why": str(failure)})
                await clock.sleep(backoff.next())

    async def make(self, position: Position, query: str) -> str:
        """``query``: the kind and everything that selects, as text; a token is good for the same query only."""
        payload = msgspec.msgpack.encode((position.revision, position.start_key))
        return _text(await self._mac(payload, query) + payload)

    async def read(self, token: str, query: str) -> Position:
        """Raises ``StatusError`` (INVALID_ARGUMENT, field ``continue``)."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as failure:
            raise _refused() from failure
        if _text(raw) != token:
            raise _refused()  # the last character has bits that no byte needs: a token has one spelling
        mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, await self._mac(payload, query)):
            raise _refused()
        revision, start_key = msgspec.msgpack.decode(payload, type=tuple[int, str])
        return Position(revision, start_key)

    async def _mac(self, payload: bytes, query: str) -> bytes:
        if not self._key:
            self._key = await self._load_key()
        bound = msgspec.msgpack.encode((self._partition, query)) + payload
        return hmac.new(self._key, bound, hashlib.sha256).digest()[:_MAC_BYTES]


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _refused() -> status.StatusError:
    return status.bad_field("continue", "not a continue token that this partition made for this query")
