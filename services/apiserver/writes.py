"""Create, Update, UpdateStatus, Patch, Delete, DeleteCollection, and the batch methods of one kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from services.api import defaults, keys, wire
from services.api.kinds import NODES, PODS, Kind
from services.api.pb.ursa.meta.v1.meta_pb2 import (
    BatchResponse,
    DeleteCollectionRequest,
    DeleteCollectionResponse,
    DeleteRequest,
    PatchRequest,
)
from services.apiserver import deletion, limits, metrics, objects, patching, scope, tracing
from services.apiserver.admission import Admission, hearing
from services.apiserver.commit import Change, Transition, change, change_batch
from services.apiserver.errors import translate
from services.apiserver.resource import Resource
from services.base.clock import Clock
from services.base.ids import IdMaker
from services.base.rand import Rand
from services.rpc import status
from services.rpc.handlers import Context
from services.rpc.status import StatusError
from services.storage import errors as storage
from services.storage.interface import ListQuery, Record, Write

_DELETE_CHUNK = 500


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


class Updating:
    """The transition of an update: remembers the object that it made, for the answer."""

    def __init__(self, kind: Kind, prepare: Callable[[Any, int], Any]) -> None:
        self._kind = kind
        self._prepare = prepare
        self.result: Any = None

    def __call__(self, record: Record) -> bytes | None:
        old = self._kind.message.FromString(record.value)
        self.result = self._prepare(old, record.revision)
        return None if objects.finished(self.result) else objects.encode(self.result)


class Deleting:
    """The transition of a delete: remembers the object as it was."""

    def __init__(self, kind: Kind, options: deletion.DeleteOptions, now_s: Callable[[], int]) -> None:
        self._kind = kind
        self._options = options
        self._now_s = now_s
        self.result: Any = None

    def __call__(self, record: Record) -> bytes | None:
        self.result = old = self._kind.message.FromString(record.value)
        new = deletion.deleted(self._kind, old, record.revision, self._options, now_s=self._now_s())
        if new is None:
            return None
        return record.value if new is old else objects.encode(new)


class Writes:
    """All writes of one kind. ``traced``: this process exports traces, so that pod creates may begin one."""

    def __init__(
        self,
        resource: Resource,
        gate: scope.TenantGate,
        admission: tuple[Admission, ...],
        makers: Makers,
        *,
        traced: bool = False,
    ) -> None:
        self._resource = resource
        # What nodes report of themselves goes before everything else: they are taken for dead without it.
        self._status_resource = replace(resource, urgent=True) if resource.kind is NODES else resource
        self._kind = resource.kind
        self._gate = gate
        self._makers = makers
        self._traced = traced and resource.kind is PODS
        self._admit = hearing(admission, self._kind, "admit")
        self._reserve = hearing(admission, self._kind, "reserve")
        self._created = hearing(admission, self._kind, "created")
        self._admit_delete = hearing(admission, self._kind, "admit_delete")
        self._deleted = hearing(admission, self._kind, "deleted")

    # Create

    async def create(self, request: bytes, context: Context) -> bytes:
        wanted: Any = objects.parse_request(self._kind.create_request, request)
        parent = tracing.parent_of(context) if self._kind is PODS else ""
        if parent or self._traced:
            with tracing.create_span(parent, wanted.object):
                return _served(await self.create_object(wanted.object, dry_run=wanted.dry_run, traced=True))
        return _served(await self.create_object(wanted.object, dry_run=wanted.dry_run))

    async def create_object(self, obj: Any, *, dry_run: bool = False, traced: bool = False) -> Record:
        """Create ``obj``, which is completed in place. Raises ``StatusError`` and storage's errors."""
        generated = await self._prepare(obj, dry_run)
        attempts_left = limits.GENERATE_NAME_ATTEMPTS if generated else 1
        while True:
            write = await self._write_of(obj)
            if dry_run:
                return await self._tried(write)
            attempts_left -= 1
            try:
                record = await self._commit(obj, write) if traced else await self._resource.store.write(write)
            except storage.KeyExists:
                if not attempts_left:
                    raise
                self._generate_name(obj)
                continue
            for created in self._created:
                await created(self._kind, obj)
            return _written(record)

    async def batch_create(self, request: bytes, context: Context) -> bytes:
        """Outcomes per item; all first attempts share one storage write."""
        wanted: Any = objects.parse_request(self._kind.batch_request, request)
        objs = list(wanted.objects)
        metrics.BATCH_ITEMS.labels(self._kind.resource).inc(len(objs))
        outcomes: list[Record | Exception | None] = [None] * len(objs)
        attempts: dict[int, int] = {}
        for index, obj in enumerate(objs):
            if index % limits.ITEMS_PER_TURN == limits.ITEMS_PER_TURN - 1:
                await asyncio.sleep(0)
            try:
                generated = await self._prepare_in_batch(obj)
                attempts[index] = limits.GENERATE_NAME_ATTEMPTS if generated else 1
            except (StatusError, storage.StorageError, keys.InvalidKey) as failure:
                outcomes[index] = failure
        while any(outcome is None for outcome in outcomes):
            await self._create_round(objs, outcomes, attempts)
        for obj, outcome in zip(objs, outcomes, strict=True):
            if isinstance(outcome, Record):
                for created in self._created:
                    await created(self._kind, obj)
        response = BatchResponse()
        for obj, outcome in zip(objs, outcomes, strict=True):
            if isinstance(outcome, Record):
                response.outcomes.add(name=obj.metadata.name, uid=obj.metadata.uid, resource_version=outcome.revision)
            else:
                self._add_failure(response, obj.metadata.name, outcome)
        return response.SerializeToString()

    async def _prepare_in_batch(self, obj: Any) -> bool:
        if not self._traced:
            return await self._prepare(obj, dry_run=False)
        with tracing.create_span("", obj):
            return await self._prepare(obj, dry_run=False)

    async def _create_round(
        self, objs: list[Any], outcomes: list[Record | Exception | None], attempts: dict[int, int]
    ) -> None:
        chosen: dict[str, int] = {}
        writes: list[Write] = []
        for index, obj in enumerate(objs):
            if outcomes[index] is not None:
                continue
            try:
                write = await self._write_of(obj)
            except (StatusError, storage.StorageError, keys.InvalidKey) as failure:
                outcomes[index] = failure
                continue
            # A key that occurs twice waits for the next round, and finds it taken.
            if write.key not in chosen:
                chosen[write.key] = index
                writes.append(write)
        if not writes:
            return
        with tracing.commit_spans([objs[index] for index in chosen.values()] if self._traced else ()):
            results = await self._resource.store.write_batch(writes)
        for write, result in zip(writes, results, strict=True):
            index = chosen[write.key]
            attempts[index] -= 1
            if isinstance(result, storage.KeyExists) and attempts[index]:
                self._generate_name(objs[index])
            else:
                outcomes[index] = result if isinstance(result, Exception) else _written(result)

    async def _prepare(self, obj: Any, dry_run: bool) -> bool:
        """Everything before the write: server-owned fields, admission, defaults, validation. Was the name generated?"""
        kind = self._kind
        objects.check_type(kind, obj)
        metadata = obj.metadata
        scope.place(kind, metadata)
        if kind.tenant_scoped:
            await self._gate.require(metadata.tenant)
        objects.begin(kind, obj, uid=self._makers.new_uid(), now_s=self._makers.now_s())
        generated = not metadata.name and bool(metadata.generate_name)
        if generated:
            self._generate_name(obj)
        for admit in self._admit:
            await admit(kind, obj)
        defaults.apply(kind, obj)
        objects.check_new(kind, obj)
        if not dry_run:
            for reserve in self._reserve:
                await reserve(kind, obj)
        return generated

    def _generate_name(self, obj: Any) -> None:
        suffix = self._makers.rand.name_suffix(limits.GENERATED_SUFFIX_CHARACTERS)
        obj.metadata.name = objects.generated_name(obj.metadata.generate_name, suffix)

    async def _write_of(self, obj: Any) -> Write:
        value = objects.encode(obj)
        lease_id = await self._resource.lease_id() if self._resource.lease is not None else 0
        return Write(keys.key_of(self._kind, obj), value, 0, self._resource.lane, lease_id)

    async def _commit(self, obj: Any, write: Write) -> Record | None:
        with tracing.commit_spans((obj,)):
            return await self._resource.store.write(write)

    async def _tried(self, write: Write) -> Record:
        try:
            await self._resource.store.get(write.key)
        except storage.KeyNotFound:
            return Record(write.key, write.value or b"", 0)
        raise storage.KeyExists(write.key)

    # Update

    async def update(self, request: bytes, context: Context) -> bytes:
        wanted: Any = objects.parse_request(self._kind.update_request, request)
        key, transition = await self._update_of(wanted.object)
        return await self._changed(key, transition, wanted.dry_run)

    async def update_status(self, request: bytes, context: Context) -> bytes:
        wanted: Any = objects.parse_request(self._kind.update_request, request)
        key, transition = await self._status_update_of(wanted.object)
        return await self._changed(key, transition, wanted.dry_run, self._status_resource)

    async def batch_update(self, request: bytes, context: Context) -> bytes:
        return await self._batch(request, self._update_of)

    async def batch_update_status(self, request: bytes, context: Context) -> bytes:
        return await self._batch(request, self._status_update_of, self._status_resource)

    async def _update_of(self, obj: Any) -> tuple[str, Updating]:
        key = await self._existing(obj)
        defaults.apply(self._kind, obj)
        return key, Updating(self._kind, lambda old, revision: objects.updated(self._kind, obj, old, revision))

    async def _status_update_of(self, obj: Any) -> tuple[str, Updating]:
        key = await self._existing(obj)
        if self._kind is NODES:
            defaults.apply(self._kind, obj)  # allocatable = capacity
        return key, Updating(self._kind, lambda old, revision: objects.status_updated(self._kind, obj, old, revision))

    async def _existing(self, obj: Any) -> str:
        objects.check_type(self._kind, obj)
        key = scope.target_of_object(self._kind, obj.metadata)
        if obj.metadata.resource_version < 0:
            raise status.bad_field("metadata.resourceVersion", "must not be negative")
        if self._kind.tenant_scoped:
            await self._gate.require(obj.metadata.tenant)
        return key

    async def _changed(self, key: str, transition: Updating, dry_run: bool, resource: Resource | None = None) -> bytes:
        outcome = await change(resource or self._resource, key, transition, dry_run=dry_run)
        if outcome.removed and outcome.written:
            await self._after_removal(transition.result)
        return _served(outcome.record)

    async def _after_removal(self, obj: Any) -> None:
        for deleted in self._deleted:
            await deleted(self._kind, obj)

    async def _batch(self, request: bytes, prepare: Callable[[Any], Any], resource: Resource | None = None) -> bytes:
        wanted: Any = objects.parse_request(self._kind.batch_request, request)
        items: list[tuple[str, Updating] | Exception] = []
        for obj in wanted.objects:
            try:
                items.append(await prepare(obj))
            except (StatusError, storage.StorageError) as failure:
                items.append(failure)
        return await self.answer_batch([obj.metadata.name for obj in wanted.objects], items, resource=resource)

    async def answer_batch(
        self,
        names: Sequence[str],
        items: Sequence[tuple[str, Updating] | Exception],
        *,
        resource: Resource | None = None,
    ) -> bytes:
        """Commit ``items`` as one batch; the encoded ``BatchResponse``. ``resource``: commit through this one."""
        metrics.BATCH_ITEMS.labels(self._kind.resource).inc(len(items))
        outcomes = await change_batch(resource or self._resource, items)
        response = BatchResponse()
        for name, item, outcome in zip(names, items, outcomes, strict=True):
            if isinstance(outcome, Exception) or isinstance(item, Exception):
                self._add_failure(response, name, outcome if isinstance(outcome, Exception) else None)
                continue
            result = item[1].result
            response.outcomes.add(name=name, uid=result.metadata.uid, resource_version=outcome.record.revision)
            if outcome.removed and outcome.written:
                await self._after_removal(result)
        return response.SerializeToString()

    def _add_failure(self, response: Any, name: str, failure: Exception | None) -> None:
        error = translate(self._kind, failure) if failure is not None else None
        if error is None:
            raise failure or AssertionError("an item without an outcome")
        response.outcomes.add(status=error.to_status(), name=name)

    # Patch

    async def patch(self, request: bytes, context: Context) -> bytes:
        wanted = objects.parse_request(PatchRequest, request)
        key = scope.target(self._kind, wanted)
        if self._kind.tenant_scoped:
            await self._gate.require(wanted.tenant)
        if wanted.subresource not in ("", "status") or (wanted.subresource and not self._kind.has_status):
            raise status.bad_field("subresource", f'{self._kind.resource} have no subresource "{wanted.subresource}"')
        apply = patching.parse(wanted.patch_type, wanted.patch)
        preconditions = wanted.preconditions

        def prepare(old: Any, revision: int) -> Any:
            objects.check_preconditions(
                self._kind, old, revision, uid=preconditions.uid, resource_version=preconditions.resource_version
            )
            new = patching.patched(self._kind, old, revision, apply)
            if wanted.subresource:
                return objects.status_updated(self._kind, new, old, revision)
            defaults.apply(self._kind, new)
            return objects.updated(self._kind, new, old, revision)

        return await self._changed(key, Updating(self._kind, prepare), wanted.dry_run)

    # Delete

    async def delete(self, request: bytes, context: Context) -> bytes:
        wanted = objects.parse_request(DeleteRequest, request)
        key = scope.target(self._kind, wanted)
        if self._kind.tenant_scoped:
            await self._gate.require(wanted.tenant)
        options = deletion.check_request(wanted)
        return _served(await self.delete_object(key, options, dry_run=wanted.dry_run))

    async def delete_object(self, key: str, options: deletion.DeleteOptions, *, dry_run: bool = False) -> Record:
        """Delete one object. Raises ``StatusError`` and storage's errors."""
        await self.admit_delete(key)
        transition = Deleting(self._kind, options, self._makers.now_s)
        outcome = await change(self._resource, key, transition, dry_run=dry_run)
        if outcome.removed and outcome.written:
            await self._after_removal(transition.result)
        return outcome.record

    async def admit_delete(self, key: str) -> None:
        """Raises ``StatusError`` where a client may not delete what is at ``key``."""
        for admit in self._admit_delete:
            await admit(self._kind, key)

    async def delete_collection(self, request: bytes, context: Context) -> bytes:
        wanted = objects.parse_request(DeleteCollectionRequest, request)
        if wanted.tenant == keys.EVERY_TENANT:
            raise status.bad_field("tenant", '"*" is for List and Watch only')
        prefix, selection = scope.collection(self._kind, wanted)
        if self._kind.tenant_scoped:
            await self._gate.require(wanted.tenant)
        options = deletion.check_collection(wanted)
        page = await self._resource.store.list(ListQuery(prefix, selection))
        found = [record.key for record in page.records]
        for key in found:
            await self.admit_delete(key)
        if not wanted.dry_run:
            await self.delete_keys(found, options)
        return DeleteCollectionResponse(deleted=len(found)).SerializeToString()

    async def delete_keys(self, found: Sequence[str], options: deletion.DeleteOptions) -> None:
        """Delete each of ``found``; one that is gone counts as deleted. Raises the first failure, at the end."""
        failures: list[Exception] = []
        for start in range(0, len(found), _DELETE_CHUNK):
            outcomes = await self.delete_batch([(key, options) for key in found[start : start + _DELETE_CHUNK]])
            failures += [
                outcome
                for outcome in outcomes
                if isinstance(outcome, Exception) and not isinstance(outcome, storage.KeyNotFound)
            ]
        if failures:
            raise failures[0]

    async def delete_batch(
        self, items: Sequence[tuple[str, deletion.DeleteOptions] | Exception]
    ) -> list[Change | Exception]:
        """Delete each key, past admission; all first attempts share one storage write; an outcome per item, in order.

        An item that is an exception already is passed through. ``Change.record``: the object as it was or now is.
        """
        transitions: list[tuple[str, Deleting] | Exception] = [
            item if isinstance(item, Exception) else (item[0], Deleting(self._kind, item[1], self._makers.now_s))
            for item in items
        ]
        outcomes = await change_batch(self._resource, transitions)
        for transition, outcome in zip(transitions, outcomes, strict=True):
            if isinstance(outcome, Change) and outcome.removed and not isinstance(transition, Exception):
                await self._after_removal(transition[1].result)
        return outcomes

    async def remove_or_change(self, key: str, transition: Transition) -> None:
        """As ``change_object``, and tells admission if the object is gone after it."""
        outcome = await change(self._resource, key, transition)
        if outcome.removed and outcome.written:
            await self._after_removal(self._kind.message.FromString(outcome.record.value))

    async def change_object(self, key: str, transition: Transition) -> Change:
        """A change by the server itself, past the rules for clients. Raises ``StatusError`` and storage's errors."""
        return await change(self._resource, key, transition)


def _served(record: Record) -> bytes:
    return wire.with_resource_version(record.value, record.revision) if record.revision else record.value


def _written(record: Record | None) -> Record:
    assert record is not None, "a put returns what it wrote"
    return record
