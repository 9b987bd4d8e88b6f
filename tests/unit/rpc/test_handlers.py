"""The wrapper around streaming calls: who leaves is nobody to tell, what fails is told."""

from __future__ import annotations

import logging
from typing import Any, cast

import grpc
import pytest

from services.base.clock import FakeClock
from services.rpc import handlers
from services.rpc.handlers import Context
from services.rpc.lanes import Budget, Lane


class FakeContext:
    """A call whose messages cannot be sent, and that gRPC does not yet know to be over."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure
        self.aborted_with: grpc.StatusCode | None = None

    def done(self) -> bool:
        return False

    async def read(self) -> bytes:
        return b"request"

    async def write(self, message: bytes) -> None:
        raise self.failure

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        self.aborted_with = code


async def call(context: FakeContext) -> list[str]:
    """One call that writes a message; the outcomes that were observed."""
    observed: list[str] = []
    lane = Lane("lists", at_once_max=1, waiting_max=0, wait_s_max=1, retry_after_s=1, budget=Budget(100))

    async def behaviour(request: bytes, served: Context) -> None:
        await served.write(b"event")

    handler = handlers.server_stream(
        behaviour,
        translate=lambda failure: None,
        observe=lambda code, _: observed.append(code),
        clock=FakeClock(),
        lane=lane,
    )
    await handler.stream_stream(None, cast(Context, context))
    assert (lane.running, lane.budget.used) == (0, 0)
    return observed


@pytest.mark.parametrize(
    "failure",
    [
        grpc.aio.InternalError("Failed execute_batch"),
        ExceptionGroup("tasks", [grpc.aio.InternalError("Failed execute_batch")]),
    ],
)
async def test_a_message_that_cannot_be_sent_means_that_the_peer_left(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    context = FakeContext(failure)

    assert await call(context) == ["CANCELLED"]

    assert context.aborted_with is None
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_any_other_failure_is_a_bug_that_is_told(caplog: pytest.LogCaptureFixture) -> None:
    context = FakeContext(ExceptionGroup("tasks", [grpc.aio.InternalError("x"), RuntimeError("a bug")]))

    assert await call(context) == ["INTERNAL"]

    assert context.aborted_with is grpc.StatusCode.INTERNAL
    assert [record for record in caplog.records if record.levelno == logging.ERROR]
