"""Get and List: objects are served as they are stored, with their resource version spliced in."""

from __future__ import annotations

from typing import Any

from services.api import wire
from services.api.kinds import Kind
from services.api.pb.ursa.meta.v1.meta_pb2 import GetRequest, ListRequest
from services.apiserver import limits, scope
from services.apiserver.continuation import INCONSISTENT, ContinueTokens, Position
from services.apiserver.lists import Sending
from services.apiserver.objects import parse_request
from services.apiserver.overload import Overload
from services.apiserver.resource import Resource
from services.rpc import status
from services.rpc.handlers import Context
from services.rpc.lanes import Place
from services.rpc.status import Violation
from services.storage import errors as storage
from services.storage.interface import ListQuery, Match, Page

_MATCHES = {match.value: match for match in Match}


class Reads:
    """Get and List of one kind."""

    def __init__(self, resource: Resource, gate: scope.TenantGate, tokens: ContinueTokens, overload: Overload) -> None:
        self._resource = resource
        self._kind = resource.kind
        self._gate = gate
        self._tokens = tokens
        self._bulk = overload.bulk
        self._aside = overload.lists_aside
        self._unread = overload.lists_unread

    async def get(self, request: bytes, context: Context) -> bytes:
        wanted = parse_request(GetRequest, request)
        key = scope.target(self._kind, wanted)
        if self._kind.tenant_scoped:
            await self._gate.require(wanted.tenant)
        revision = resource_version(wanted)
        record = await self._resource.store.get(key, revision)
        return wire.with_resource_version(record.value, record.revision)

    async def list(self, request: bytes, context: Context, place: Place) -> None:
        wanted = parse_request(ListRequest, request)
        prefix, selection = scope.collection(self._kind, wanted)
        if self._kind.tenant_scoped and wanted.tenant != "*":
            await self._gate.require(wanted.tenant)
        _check_list(wanted)
        bound = query_text(self._kind, wanted)
        query = await self._query(wanted, prefix, selection, bound)
        try:
            page = await self._aside.page(place, lambda: self._resource.store.list(query))
        except storage.Expired as failure:
            raise await self._expired(failure, query, bound) from failure
        token = ""
        if page.more:
            token = await self._tokens.make(Position(page.revision, page.records[-1].key), bound)
        sending, meta = Sending(place, page.records), wire.list_meta(*_meta(page, token))
        del page  # whoever gives up the list gives up its page with it
        await self._send(sending, meta, context)

    async def _send(self, sending: Sending, meta: bytes, context: Context) -> None:
        """Parts of about 1 MB, smaller ones while there is other work; the metadata goes with the last one."""
        start, end = 0, len(sending.records)
        while True:
            async with self._bulk:
                part, start = wire.list_items(sending.records, start, self._bulk.part_bytes)
                if start >= end:
                    part.append(meta)
                joined = b"".join(part)
                part.clear()
            await self._unread.write(sending, joined, context.write)
            if start >= end:
                return

    async def _query(self, wanted: Any, prefix: str, selection: Any, bound: str) -> ListQuery:
        limit = min(wanted.limit, limits.PAGE_ITEMS_MAX)
        if wanted.continue_token:
            position = await self._tokens.read(wanted.continue_token, bound)
            if position.revision == INCONSISTENT:
                return ListQuery(prefix, selection, None, Match.UNSET, position.start_key, limit)
            return ListQuery(prefix, selection, position.revision, Match.EXACT, position.start_key, limit)
        return ListQuery(
            prefix, selection, resource_version(wanted), _MATCHES[wanted.resource_version_match], "", limit
        )

    async def _expired(self, failure: storage.Expired, query: ListQuery, bound: str) -> status.StatusError:
        metadata = {"oldestResourceVersion": str(failure.oldest)}
        start_key = failure.continue_key or query.start_key
        if start_key:
            metadata["continue"] = await self._tokens.make(Position(INCONSISTENT, start_key), bound)
        return status.expired(
            f"the resource version {failure.revision} is too old; the oldest kept is {failure.oldest}: begin the list "
            "anew, or go on with the inconsistent token in the details",
            metadata=metadata,
        )


def _meta(page: Page, token: str) -> tuple[int, str, int | None]:
    return page.revision, token, page.remaining if token else None


def resource_version(request: Any) -> int | None:
    """The request's resource version, None if unset. Raises ``StatusError`` for a negative one."""
    if not request.HasField("resource_version"):
        return None
    version: int = request.resource_version
    if version < 0:
        raise status.bad_field("resource_version", f"must not be negative, is {version}")
    return version


def query_text(kind: Kind, request: Any) -> str:
    """What a continue token is bound to: the kind and everything that selects."""
    return "\x00".join(
        (kind.resource, request.tenant, request.namespace, request.label_selector, request.field_selector)
    )


def _check_list(wanted: Any) -> None:
    violations: list[Violation] = []
    match, version = wanted.resource_version_match, resource_version(wanted)
    if match not in _MATCHES:
        violations.append(Violation("resource_version_match", f'"{match}" is none of NotOlderThan, Exact'))
    elif match:
        if version is None:
            violations.append(Violation("resource_version_match", "needs a resource_version"))
        if wanted.continue_token:
            violations.append(Violation("resource_version_match", "cannot be combined with continue"))
        if match == Match.EXACT.value and version == 0:
            violations.append(Violation("resource_version_match", "Exact needs a resource_version above 0"))
    if wanted.continue_token and version:
        violations.append(Violation("resource_version", "cannot be combined with continue"))
    if wanted.limit < 0:
        violations.append(Violation("limit", f"must not be negative, is {wanted.limit}"))
    elif wanted.limit > limits.PAGE_ITEMS_MAX:
        violations.append(Violation("limit", f"is {wanted.limit}, the limit is {limits.PAGE_ITEMS_MAX} items a page"))
    if violations:
        raise status.invalid(violations, subject="the request")
