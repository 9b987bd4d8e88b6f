"""``Leases/Renew``: heartbeats in batches on an open stream, each acknowledged only once it is stored.

A request names many leases of one namespace; each one's ``spec.renew_time`` is spliced into its stored bytes
(``leasebytes``) and nothing else of it changes: no object is decoded, completed or validated. The writes go through
the heartbeat lane, where they gather for a moment with those of other requests, so that thousands of nodes share few
transactions (KEP-0009; SEMANTICS.md, Node heartbeats).

A stream has so many requests under way, each until its answer is sent, and is not read on before: a client that does
not read its answers costs what those requests cost, and no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from services.api import keys
from services.api.kinds import LEASES
from services.api.pb.ursa.coordination.v1.lease_service_pb2 import (
    LeaseRenewalFailure,
    RenewLeasesRequest,
    RenewLeasesResponse,
)
from services.apiserver import leasebytes, limits, metrics, objects
from services.apiserver.commit import Change, change_batch
from services.apiserver.errors import too_large, translate
from services.apiserver.resource import Resource
from services.apiserver.scope import TenantGate
from services.apiserver.watching import Draining, as_status
from services.base.clock import Clock
from services.rpc import status
from services.rpc.handlers import Context
from services.rpc.lanes import Lane
from services.rpc.status import StatusError, Violation
from services.storage.interface import Record

_NANOS_MAX = 999_999_999


class Renewing:
    """The transition of one renewal; ``field``: the renew time, framed."""

    __slots__ = ("_field", "_holder", "_name", "_uid")

    def __init__(self, name: str, holder: str, uid: str, field: bytes) -> None:
        self._name = name
        self._holder = holder.encode()
        self._uid = uid
        self._field = field

    def __call__(self, record: Record) -> bytes:
        value = record.value
        try:
            found = leasebytes.seams(value)
        except leasebytes.NotCanonical:
            self._check(leasebytes.holder_of(value), value)
            return leasebytes.renewed(value, self._field)
        self._check(found.holder, value)
        return leasebytes.spliced(value, found, self._field)

    def _check(self, holder: bytes, value: bytes) -> None:
        if holder != self._holder:
            message = f'the lease is held by "{holder.decode()}", not by "{self._holder.decode()}"'
            raise status.conflict(LEASES.resource, self._name, message)
        if self._uid and self._uid != leasebytes.uid_of(value):
            message = (
                f"Precondition failed: UID in precondition: {self._uid}, UID in object: {leasebytes.uid_of(value)}"
            )
            raise status.conflict(LEASES.resource, self._name, message)


class LeaseRenewals:
    """The method, for all its streams. ``lane``: whose budget of bytes the requests under way are counted in."""

    def __init__(self, resource: Resource, gate: TenantGate, draining: Draining, lane: Lane, clock: Clock) -> None:
        self.resource = resource
        self.gate = gate
        self.draining = draining
        self.lane = lane
        self.clock = clock
        self.observe = metrics.observer("RENEW", LEASES.resource)
        self.items = metrics.BATCH_ITEMS.labels(LEASES.resource)

    async def renew(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """One stream, until the client ends it or the server stops (UNAVAILABLE, once what is under way is answered).
        Raises ``StatusError`` for what cannot be answered by id: no RenewLeasesRequest, or an id that is in use."""
        # Headers tell the client that the stream stands, long before its first answer.
        await context.send_initial_metadata(())
        await RenewalStream(self, context).serve(requests)


class RenewalStream:
    """One client's stream."""

    def __init__(self, service: LeaseRenewals, context: Context) -> None:
        self._service = service
        self._context = context
        self._under_way: set[int] = set()
        self._places = asyncio.Semaphore(limits.RENEWALS_PER_STREAM_MAX)
        self._sending = asyncio.Lock()
        self._changed = asyncio.Event()

    async def serve(self, requests: AsyncIterator[bytes]) -> None:
        draining = self._service.draining
        draining.add(self._changed.set)
        try:
            async with asyncio.TaskGroup() as tasks:
                drained = tasks.create_task(self._drain())
                await self._read(requests, tasks)
                while self._under_way:
                    await self._change()
                drained.cancel()
        finally:
            draining.discard(self._changed.set)
        draining.check()

    async def _read(self, requests: AsyncIterator[bytes], tasks: asyncio.TaskGroup) -> None:
        async for raw in requests:
            await self._places.acquire()
            if self._service.draining.begun:
                return  # Never answered: the client sends it again, elsewhere.
            request = objects.parse_request(RenewLeasesRequest, raw)
            if request.id in self._under_way:
                raise status.bad_field("id", f"{request.id} is the id of a request that is not answered yet")
            self._under_way.add(request.id)
            tasks.create_task(self._answer(request, len(raw)))

    async def _drain(self) -> None:
        """End the stream when the server stops and everything that was taken is answered. Raises ``StatusError``."""
        while not self._service.draining.begun or self._under_way:
            await self._change()
        self._service.draining.check()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _answer(self, request: Any, size_bytes: int) -> None:
        service = self._service
        started = service.clock.monotonic()
        response = RenewLeasesResponse(id=request.id)
        taken = service.lane.budget.take(size_bytes)
        code = "OK"
        try:
            if not taken:
                service.lane.refused += 1
                raise service.lane.refusal()
            await self._renew(request, size_bytes, response)
        except Exception as failure:
            error = as_status(translate(LEASES, failure), failure)
            if error.reason == "InternalError":
                raise
            response.Clear()
            response.id = request.id
            response.status.CopyFrom(error.to_status())
            code = error.code.name
        finally:
            if taken:
                service.lane.budget.give(size_bytes)
        service.observe(code, service.clock.monotonic() - started)
        async with self._sending:
            await self._context.write(response.SerializeToString())
        # Only now: answers that are not read take the places of further requests.
        self._under_way.discard(request.id)
        self._places.release()
        self._changed.set()

    async def _renew(self, request: Any, size_bytes: int, response: Any) -> None:
        """Fill in what became of each renewal. Raises ``StatusError``, and storage's errors for all of them."""
        _check(request, size_bytes)
        await self._service.gate.require(request.tenant)
        field = leasebytes.renew_time_field(self._time(request))
        named: dict[str, int] = {}
        items: list[tuple[str, Renewing] | Exception] = []
        wanted: list[int] = []  # the place of each renewal's outcome
        for index, renewal in enumerate(request.renewals):
            item = _item(request, index, renewal, field)
            if not isinstance(item, Exception):
                # One that is named again is the same renewal: it has the outcome of the first.
                first = named.setdefault(f"{renewal.name}\0{renewal.holder_identity}\0{renewal.uid}", len(items))
                if first < len(items):
                    wanted.append(first)
                    continue
            wanted.append(len(items))
            items.append(item)
        self._service.items.inc(len(items))
        outcomes = await change_batch(self._service.resource, items)
        _report(outcomes, wanted, response)

    def _time(self, request: Any) -> Timestamp:
        if request.HasField("renew_time"):
            given: Timestamp = request.renew_time
            return given
        now_s = self._service.clock.time()
        seconds = int(now_s)
        return Timestamp(seconds=seconds, nanos=int((now_s - seconds) * 1e6) * 1000)


def _check(request: Any, size_bytes: int) -> None:
    """Raises ``StatusError``."""
    if size_bytes > limits.RENEWAL_BYTES_MAX:
        raise too_large("request", size_bytes, limits.RENEWAL_BYTES_MAX)
    violations: list[Violation] = []
    for name in ("tenant", "namespace"):
        given = getattr(request, name)
        if not given:
            violations.append(Violation(name, f"Required value: the leases' {name}"))
        elif "/" in given:
            violations.append(Violation(name, "may not contain '/'"))
    if request.tenant == keys.EVERY_TENANT:
        violations.append(Violation("tenant", '"*" is for List and Watch only'))
    if len(request.renewals) > limits.RENEWALS_PER_REQUEST_MAX:
        message = f"are {len(request.renewals)}, the limit is {limits.RENEWALS_PER_REQUEST_MAX} in one request"
        violations.append(Violation("renewals", message))
    time = request.renew_time
    if time.seconds < 0 or not 0 <= time.nanos <= _NANOS_MAX:
        violations.append(Violation("renew_time", "seconds must not be negative, nanos must be in 0..999999999"))
    if violations:
        raise status.invalid(violations, subject="the request")


def _item(request: Any, index: int, renewal: Any, field: bytes) -> tuple[str, Renewing] | StatusError:
    name, holder = renewal.name, renewal.holder_identity
    if name and holder and "/" not in name:
        key = f"/ursa/leases/{request.tenant}/{request.namespace}/{name}"
        return key, Renewing(name, holder, renewal.uid, field)
    where = f"renewals[{index}]"
    violations: list[Violation] = []
    if not name:
        violations.append(Violation(f"{where}.name", "Required value: the lease's name"))
    elif "/" in name:
        violations.append(Violation(f"{where}.name", "may not contain '/'"))
    if not holder:
        violations.append(Violation(f"{where}.holder_identity", "Required value: who renews the lease"))
    return status.invalid(violations, subject="the renewal")


def _report(outcomes: Sequence[Change | Exception], wanted: Sequence[int], response: Any) -> None:
    failures: list[Any] = []
    for index, place in enumerate(wanted):
        outcome = outcomes[place]
        if isinstance(outcome, Change):
            response.resource_version = max(response.resource_version, outcome.record.revision)
            continue
        error = translate(LEASES, outcome)
        if error is None:
            raise outcome
        failures.append(LeaseRenewalFailure(index=index, status=error.to_status()))
    response.failures.extend(failures)
