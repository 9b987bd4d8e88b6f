"""A lean connection to one server that is made anew when it breaks, and calls that are repeated until they are settled.

What an answer says decides: a definite refusal is an error, everything else (no connection, overload, an unknown
outcome) is tried again until the deadline, with growing pauses, as client-go's clients do.
"""

from __future__ import annotations

import asyncio
import re

from services.base.backoff import Backoff
from services.base.clock import Clock
from services.bench import http2

# A server that hangs gives no answer at all.
ANSWER_S = 10.0
UNAVAILABLE, ALREADY_EXISTS, NOT_FOUND = 14, 6, 5
# Cancelled, unknown, deadline exceeded, resource exhausted, aborted, unavailable. Not internal: that is somebody's bug.
RETRYABLE = frozenset((1, 2, 4, 8, 10, UNAVAILABLE))

_STATUS = re.compile(r"grpc-status\s*(\d{1,2})")
_MESSAGE = re.compile(r"grpc-message\s*(.*?)(?:\s+grpc-status|$)")


class Refused(Exception):
    """The server said no. ``code``: gRPC's number. ``tries``: how many were made before."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"refused (code {code}): {message}")
        self.code = code
        self.tries = 0


class GaveUp(Exception):
    """No definite answer came in time; the message quotes the last one."""


class Link:
    """A connection to ``host:port``."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._connection: http2.Connection | None = None
        self._connecting = asyncio.Lock()

    async def call(self, path: str, message: bytes) -> bytes:
        """Once. Raises ``Refused``, with ``UNAVAILABLE`` also where no server answered."""
        try:
            async with asyncio.timeout(ANSWER_S):
                connection = self._connection
                if connection is None or connection.failure:
                    connection = await self._connect()
                return await connection.call(path, message)
        except http2.CallFailed as failure:
            raise refusal(str(failure)) from failure
        except TimeoutError as late:
            raise Refused(UNAVAILABLE, f"no answer within {ANSWER_S:g} s") from late
        except OSError as failure:
            raise Refused(UNAVAILABLE, str(failure)) from failure

    async def _connect(self) -> http2.Connection:
        async with self._connecting:
            if self._connection is None or self._connection.failure:
                self._connection = await http2.connect(self.endpoint)
            return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def refusal(trailers: str) -> Refused:
    """What the readable text of trailers says; without a status: the connection broke."""
    status = _STATUS.search(trailers)
    if status is None:
        return Refused(UNAVAILABLE, trailers)
    message = _MESSAGE.search(trailers)
    return Refused(int(status[1]), message[1].strip() if message and message[1] else trailers)


async def insist(
    link: Link, path: str, message: bytes, deadline: float, clock: Clock, pauses: Backoff
) -> tuple[bytes, int]:
    """The answer, and how many tries came before. Raises ``Refused`` when it is definite, ``GaveUp`` at ``deadline``
    (of ``clock.monotonic``)."""
    tries = 0
    while True:
        try:
            return await link.call(path, message), tries
        except Refused as refused:
            if refused.code not in RETRYABLE:
                refused.tries = tries
                raise
            pause_s = pauses.next()
            if clock.monotonic() + pause_s > deadline:
                raise GaveUp(f"{path}: {refused} after {tries + 1} tries") from refused
        tries += 1
        await clock.sleep(pause_s)
