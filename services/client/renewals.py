"""The client's end of ``Leases/Renew``: one stream per client and partition, any number of renewals under way on it.

A request is answered once each of its renewals is stored or refused. When the stream is lost, what is not answered is
sent again on the next one: a renewal that was stored after all is stored once more, which does no harm. A stream on
which nothing is answered for longer than a request may take is given up, as its server may be gone without a word.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

import grpc
from prometheus_client import Counter

from services.api.kinds import LEASES
from services.api.pb.ursa.coordination.v1.lease_service_pb2 import (
    LeaseRenewal,
    RenewLeasesRequest,
    RenewLeasesResponse,
)
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import first_of
from services.rpc import methods
from services.rpc.status import StatusError, from_rpc_error, from_status, unavailable

_log = logging.getLogger(__name__)

STREAMS = Counter("ursa_client_renewal_streams_total", "Streams for lease renewals begun", ["partition"])
RESENT = Counter("ursa_client_renewals_resent_total", "Renewal requests sent again on another stream", ["partition"])

RECONNECT_INITIAL_S = 0.05
RECONNECT_MAX_S = 2.0

# Refusals of the whole stream that no retry will change soon: whoever waits is told.
_FINAL_CODES = frozenset(
    {
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.INVALID_ARGUMENT,
    }
)

Refusals = dict[int, StatusError]
"""Renewals that were not stored, by their index in the request."""


class _Request:
    """A request that is not answered. ``sent``: on the present stream."""

    __slots__ = ("answer", "message", "sent", "sent_before")

    def __init__(self, message: RenewLeasesRequest, answer: asyncio.Future[Refusals]) -> None:
        self.message = message
        self.answer = answer
        self.sent = False
        self.sent_before = False


class LeaseRenewals:
    """``run`` keeps the stream while there is something to renew; ``renew`` waits for it as long as it may."""

    def __init__(self, channel: grpc.aio.Channel, clock: Clock, rand: Rand, *, partition: str = "") -> None:
        self.partition = partition
        self._clock = clock
        self._rand = rand
        self._method: Any = channel.stream_stream(
            methods.path(LEASES, "Renew"),
            request_serializer=RenewLeasesRequest.SerializeToString,
            response_deserializer=RenewLeasesResponse.FromString,
        )
        self._unanswered: dict[int, _Request] = {}
        self._outgoing: deque[int] = deque()
        self._wake = asyncio.Event()
        self._next_id = 1
        self._stale = asyncio.Event()
        self._answered_s = 0.0
        self.connected = False

    async def renew(
        self, renewals: Sequence[LeaseRenewal], *, tenant: str, namespace: str, now_s: float, timeout_s: float
    ) -> Refusals:
        """Move the leases' renew time to ``now_s`` (seconds since the Unix epoch, kept to the microsecond).

        What is not in the answer is stored. Raises ``StatusError``: the request as a whole was refused, or not
        answered within ``timeout_s`` (DEADLINE_EXCEEDED: some of it may be stored).
        """
        message = RenewLeasesRequest(id=self._next_id, tenant=tenant, namespace=namespace, renewals=renewals)
        message.renew_time.seconds = int(now_s)
        message.renew_time.nanos = int((now_s - int(now_s)) * 1e6) * 1000
        self._next_id += 1
        request = _Request(message, asyncio.get_running_loop().create_future())
        self._unanswered[message.id] = request
        self._outgoing.append(message.id)
        self._wake.set()
        began_s = self._clock.monotonic()
        try:
            await first_of(asyncio.shield(request.answer), self._clock.sleep(timeout_s))
            if not request.answer.done():
                if request.sent and self._answered_s < began_s:
                    self._stale.set()
                raise StatusError(
                    grpc.StatusCode.DEADLINE_EXCEEDED, "Timeout", f"no answer to a renewal within {timeout_s:g} s"
                )
            return request.answer.result()
        finally:
            request.answer.cancel()
            self._unanswered.pop(message.id, None)

    async def run(self) -> None:
        """Until cancelled."""
        backoff = Backoff(self._rand, initial_s=RECONNECT_INITIAL_S, maximum_s=RECONNECT_MAX_S)
        told = False
        while True:
            while not self._unanswered:
                self._wake.clear()
                await self._wake.wait()
            error = await self._one_stream()
            if self.connected:
                backoff.reset()
                told = False
            self.connected = False
            if not told:  # once per outage
                told = True
                _log.warning("renewal stream lost", extra={"partition": self.partition, "cause": error.message})
            if error.code in _FINAL_CODES:
                self._refuse_all(error)
            await self._clock.sleep(backoff.next())

    def _refuse_all(self, error: StatusError) -> None:
        for request in self._unanswered.values():
            if not request.answer.done():
                request.answer.set_exception(error)
        self._unanswered.clear()
        self._outgoing.clear()

    async def _one_stream(self) -> StatusError:
        """Run one stream until it is lost, and tell why."""
        STREAMS.labels(self.partition).inc()
        for request in self._unanswered.values():
            request.sent_before |= request.sent
            request.sent = False
        self._outgoing.clear()
        self._outgoing.extend(self._unanswered)
        self._wake.set()
        self._stale.clear()
        call = self._method()
        lost: list[StatusError] = []
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._write(call), name=f"renewal-writer-{self.partition}")
                reader = group.create_task(self._read(call, lost), name=f"renewal-reader-{self.partition}")
                await first_of(_done(reader), self._stale.wait())
                writer.cancel()
                reader.cancel()
        finally:
            call.cancel()
        return lost[0] if lost else unavailable("the server answers no renewals")

    async def _read(self, call: Any, lost: list[StatusError]) -> None:
        try:
            while (answer := await call.read()) is not grpc.aio.EOF:
                self.connected = True
                self._answered_s = self._clock.monotonic()
                self._take(answer)
            code = await call.code()
            lost.append(unavailable(f"the server ended the renewal stream ({code.name})"))
        except grpc.aio.AioRpcError as failure:
            lost.append(from_rpc_error(failure))
        except grpc.aio.UsageError:
            lost.append(unavailable("the connection was closed"))
        except asyncio.CancelledError:
            # A closed channel cancels its calls and whoever reads them; only a task asked to stop may end here.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            lost.append(unavailable("the connection was closed"))

    def _take(self, answer: Any) -> None:
        request = self._unanswered.pop(answer.id, None)
        if request is None or request.answer.done():
            return  # Nobody waits for it any more.
        if answer.HasField("status"):
            request.answer.set_exception(from_status(answer.status))
        else:
            request.answer.set_result({failure.index: from_status(failure.status) for failure in answer.failures})

    async def _write(self, call: Any) -> None:
        try:
            while True:
                while self._outgoing:
                    request = self._unanswered.get(self._outgoing.popleft())
                    if request is None:
                        continue  # It was given up before it was sent.
                    if request.sent_before:
                        RESENT.labels(self.partition).inc()
                    request.sent = True
                    await call.write(request.message)
                self._wake.clear()
                await self._wake.wait()
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            return  # The stream is lost; its reader learns why.
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise


async def _done(task: asyncio.Task[None]) -> None:
    await asyncio.wait((task,))
