"""What became of a call, as seen from the client."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import grpc

from services.client.clientset import Timeouts
from services.rpc.status import DETAILS_KEY, StatusError
from tests.robustness.history import OK, REFUSED, UNKNOWN

TIMEOUTS = Timeouts(unary_s=8.0, batch_s=10.0, list_s=10.0)


@dataclass(frozen=True)
class Answer:
    """``value`` is None unless ``outcome`` is "ok"."""

    invoke: float
    done: float
    outcome: str
    value: Any
    error: StatusError | None

    @property
    def code(self) -> str:
        return self.error.code.name if self.error is not None else ""

    @property
    def reason(self) -> str:
        return self.error.reason if self.error is not None else ""

    @property
    def message(self) -> str:
        return self.error.message[:200] if self.error is not None else ""


async def ask(call: Awaitable[Any]) -> Answer:
    """Await ``call``, whose request is not sent before; how it ended and when."""
    invoke = time.monotonic()
    try:
        value = await call
    except StatusError as error:
        return Answer(invoke, time.monotonic(), outcome_of(error), None, error)
    return Answer(invoke, time.monotonic(), OK, value, None)


def outcome_of(error: StatusError) -> str:
    """A server that says no has done nothing; one that says ``UNKNOWN``, or says nothing, may have done it."""
    return REFUSED if stated(error) and error.code is not grpc.StatusCode.UNKNOWN else UNKNOWN


def stated(error: StatusError) -> bool:
    """Did a server of ours say this? Everything that gRPC raises by itself lacks the details."""
    cause = error.__cause__
    if not isinstance(cause, grpc.aio.AioRpcError):
        return False
    return any(key == DETAILS_KEY for key, _ in cause.trailing_metadata() or ())
