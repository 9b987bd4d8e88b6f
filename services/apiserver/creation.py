"""Create and BatchCreate of one kind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from services.api import defaults, keys, wire
from services.api.kinds import PODS, Kind
from services.api.pb.ursa.meta.v1.meta_pb2 import BatchResponse
from services.apiserver import limits, metrics, objects, scope, tracing
from services.apiserver.admission import Admission, hearing, in_steps
from services.apiserver.errors import translate
from services.apiserver.resource import Resource
from services.apiserver.templates import Draft, Memo, Templates
from services.base.clock import Clock
from services.base.ids import IdMaker
from services.base.rand import Rand
from services.rpc.handlers import Context
from services.rpc.status import StatusError
from services.storage import errors as storage
from services.storage.interface import Record, Write


@dataclass(frozen=True)
class Makers:
    """Where time, chance and identity of new objects come from."""

    clock: Clock
    rand: Rand
    new_uid: IdMaker

    def now_s(self) -> int:
        return int(self.clock.time())

    def begin(self, metadata: Any) -> None:
        """Give a new object that the server itself makes what every object has: UID, generation, time."""
        metadata.uid = self.new_uid()
        metadata.generation = 1
        metadata.creation_timestamp.seconds = self.now_s()


class Creates:
    """``traced``: this process exports traces, so that pod creates may begin one."""

    def __init__(
        self,
        resource: Resource,
        gate: scope.TenantGate,
        admission: tuple[Admission, ...],
        makers: Makers,
        *,
        traced: bool,
    ) -> None:
        self._resource = resource
        self._kind = resource.kind
        self._gate = gate
        self._makers = makers
        self._traced = traced and resource.kind is PODS
        self._admit = hearing(admission, self._kind, "admit")
        self._reserve = hearing(admission, self._kind, "reserve")
        self._created = hearing(admission, self._kind, "created")
        self.templates = self._templates_of(admission)

    def _templates_of(self, admission: tuple[Admission, ...]) -> Templates | None:
        # Of other kinds there are few alike, or they come one by one.
        plugins = in_steps(admission, self._kind) if self._kind is PODS else None
        if plugins is None or self._reserve or self._created:
            return None
        return Templates(self._kind, self._gate, plugins)

    async def create(self, request: bytes, context: Context) -> bytes:
        draft = self.templates.single(request) if self.templates is not None else None
        dry_run = False
        if draft is None:
            wanted: Any = objects.parse_request(self._kind.create_request, request)
            draft, dry_run = Draft(wanted.object), wanted.dry_run
        parent = tracing.parent_of(context) if self._kind is PODS else ""
        if parent or self._traced:
            with tracing.create_span(parent, draft.obj):
                return served(await self._create(draft, dry_run=dry_run, traced=True))
        return served(await self._create(draft, dry_run=dry_run))

    async def create_object(self, obj: Any) -> Record:
        """Create ``obj``, which is completed in place. Raises ``StatusError`` and storage's errors."""
        return await self._create(Draft(obj))

    async def _create(self, draft: Draft, *, dry_run: bool = False, traced: bool = False) -> Record:
        generated = await self._prepare(draft, dry_run, {})
        attempts_left = limits.GENERATE_NAME_ATTEMPTS if generated else 1
        while True:
            write = self._write_of(draft)
            if dry_run:
                return await self._tried(write)
            await self._resource.put_under_leases((write,))
            attempts_left -= 1
            try:
                record = await self._commit(draft.obj, write) if traced else await self._resource.store.write(write)
            except storage.KeyExists:
                if not attempts_left:
                    raise
                self._generate_name(draft.obj.metadata)
                continue
            for created in self._created:
                await created(self._kind, draft.obj)
            return written(record)

    async def batch_create(self, request: bytes, context: Context) -> bytes:
        """Outcomes per item; all first attempts share one storage write."""
        drafts = self.templates.batch(request) if self.templates is not None else None
        if drafts is None:
            wanted: Any = objects.parse_request(self._kind.batch_request, request)
            drafts = [Draft(obj) for obj in wanted.objects]
        metrics.BATCH_ITEMS.labels(self._kind.resource).inc(len(drafts))
        outcomes: list[Record | Exception | None] = [None] * len(drafts)
        attempts: dict[int, int] = {}
        memo: Memo = {}
        for index, draft in enumerate(drafts):
            if index % limits.ITEMS_PER_TURN == limits.ITEMS_PER_TURN - 1:
                await asyncio.sleep(0)
            try:
                generated = await self._prepare_in_batch(draft, memo)
                attempts[index] = limits.GENERATE_NAME_ATTEMPTS if generated else 1
            except (StatusError, storage.StorageError, keys.InvalidKey) as failure:
                outcomes[index] = failure
        while any(outcome is None for outcome in outcomes):
            await self._create_round(drafts, outcomes, attempts)
        if self._created:
            for draft, outcome in zip(drafts, outcomes, strict=True):
                if isinstance(outcome, Record):
                    for created in self._created:
                        await created(self._kind, draft.obj)
        response = BatchResponse()
        for draft, outcome in zip(drafts, outcomes, strict=True):
            metadata = draft.obj.metadata
            if isinstance(outcome, Record):
                response.outcomes.add(name=metadata.name, uid=metadata.uid, resource_version=outcome.revision)
            else:
                add_failure(self._kind, response, metadata.name, outcome)
        return response.SerializeToString()

    async def _prepare_in_batch(self, draft: Draft, memo: Memo) -> bool:
        if not self._traced:
            return await self._prepare(draft, False, memo)
        with tracing.create_span("", draft.obj):
            return await self._prepare(draft, False, memo)

    async def _create_round(
        self, drafts: list[Draft], outcomes: list[Record | Exception | None], attempts: dict[int, int]
    ) -> None:
        chosen: dict[str, int] = {}
        writes: list[Write] = []
        for index, draft in enumerate(drafts):
            if outcomes[index] is not None:
                continue
            try:
                write = self._write_of(draft)
            except (StatusError, keys.InvalidKey) as failure:
                outcomes[index] = failure
                continue
            # A key that occurs twice waits for the next round, and finds it taken.
            if write.key not in chosen:
                chosen[write.key] = index
                writes.append(write)
        if not writes:
            return
        try:
            await self._resource.put_under_leases(writes)
        except storage.StorageError as failure:
            outcomes[:] = [failure if outcome is None else outcome for outcome in outcomes]
            return
        with tracing.commit_spans([drafts[index].obj for index in chosen.values()] if self._traced else ()):
            try:
                results = await self._resource.store.write_batch(writes)
            except storage.StorageError as failure:
                # Whoever is refused as a whole tries all of it again: not once a part of it exists.
                if not any(isinstance(outcome, Record) for outcome in outcomes):
                    raise
                results = [failure] * len(writes)
        for write, result in zip(writes, results, strict=True):
            index = chosen[write.key]
            attempts[index] -= 1
            if isinstance(result, storage.KeyExists) and attempts[index]:
                self._generate_name(drafts[index].obj.metadata)
            else:
                outcomes[index] = result if isinstance(result, Exception) else written(result)

    async def _prepare(self, draft: Draft, dry_run: bool, memo: Memo) -> bool:
        """Everything before the write: server-owned fields, admission, defaults, validation. Was the name generated?"""
        kind = self._kind
        if self.templates is not None and await self.templates.prepare(draft, memo):
            metadata = draft.obj.metadata
            objects.begin_metadata(kind, metadata, uid=self._makers.new_uid(), now_s=self._makers.now_s())
            return self._name(metadata)
        draft.make_whole()
        obj = draft.obj
        objects.check_type(kind, obj)
        metadata = obj.metadata
        scope.place(kind, metadata)
        if kind.tenant_scoped:
            await self._gate.require(metadata.tenant)
        objects.begin(kind, obj, uid=self._makers.new_uid(), now_s=self._makers.now_s())
        generated = self._name(metadata)
        for admit in self._admit:
            await admit(kind, obj)
        defaults.apply(kind, obj)
        objects.check_new(kind, obj)
        if not dry_run:
            for reserve in self._reserve:
                await reserve(kind, obj)
        return generated

    def _name(self, metadata: Any) -> bool:
        """Give a name to what has none, if it is to have a generated one."""
        generated = not metadata.name and bool(metadata.generate_name)
        if generated:
            self._generate_name(metadata)
        return generated

    def _generate_name(self, metadata: Any) -> None:
        suffix = self._makers.rand.name_suffix(limits.GENERATED_SUFFIX_CHARACTERS)
        metadata.name = objects.generated_name(metadata.generate_name, suffix)

    def _write_of(self, draft: Draft) -> Write:
        value = objects.encode(draft.obj, draft.tail)
        return Write(keys.key_of(self._kind, draft.obj), value, 0, self._resource.lane)

    async def _commit(self, obj: Any, write: Write) -> Record | None:
        with tracing.commit_spans((obj,)):
            return await self._resource.store.write(write)

    async def _tried(self, write: Write) -> Record:
        try:
            await self._resource.store.get(write.key)
        except storage.KeyNotFound:
            return Record(write.key, write.value or b"", 0)
        raise storage.KeyExists(write.key)


def served(record: Record) -> bytes:
    """The object's bytes as a client gets them."""
    return wire.with_resource_version(record.value, record.revision) if record.revision else record.value


def written(record: Record | None) -> Record:
    assert record is not None, "a put returns what it wrote"
    return record


def add_failure(kind: Kind, response: Any, name: str, failure: Exception | None) -> None:
    """An item's outcome in a ``BatchResponse``. Raises ``failure`` if it is none of those that clients are told."""
    error = translate(kind, failure) if failure is not None else None
    if error is None:
        raise failure or AssertionError("an item without an outcome")
    response.outcomes.add(status=error.to_status(), name=name)
