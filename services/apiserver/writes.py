"""Update, UpdateStatus, Patch, Delete, DeleteCollection, and the batch methods of one kind; its creates are a part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from services.api import defaults, keys
from services.api.kinds import NODES, Kind
from services.api.pb.ursa.meta.v1.meta_pb2 import (
    BatchResponse,
    DeleteCollectionRequest,
    DeleteCollectionResponse,
    DeleteRequest,
    PatchRequest,
)
from services.apiserver import deletion, limits, metrics, objects, patching, scope
from services.apiserver.admission import Admission, hearing
from services.apiserver.commit import Change, Transition, change, change_batch
from services.apiserver.creation import Creates, Makers, add_failure, served
from services.apiserver.resource import Resource
from services.rpc import status
from services.rpc.handlers import Context
from services.rpc.status import StatusError
from services.storage import errors as storage
from services.storage.interface import ListQuery, Record

__all__ = ["Deleting", "Makers", "Updating", "Writes"]

_DELETE_CHUNK = 500


class Updating:
    """The transition of an update: remembers the object that it made, for the answer."""

    bytes_max = limits.OBJECT_BYTES_MAX

    def __init__(self, kind: Kind, prepare: Callable[[Any, int], Any]) -> None:
        self._kind = kind
        self._prepare = prepare
        self.result: Any = None

    def __call__(self, record: Record) -> bytes | None:
        old = self._kind.message.FromString(record.value)
        self.result = self._prepare(old, record.revision)
        if objects.finished(self.result):
            return None
        # What the server itself has made larger stays so: a client that takes a finalizer off must not be refused.
        return objects.encode(self.result, bytes_max=max(self.bytes_max, len(record.value)))

    @property
    def uid(self) -> str:
        """Of the object."""
        uid: str = self.result.metadata.uid
        return uid


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
        return record.value if new is old else objects.encode(new, bytes_max=limits.STORED_BYTES_MAX)


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
        self._creates = Creates(resource, gate, admission, makers, traced=traced)
        self._admit_delete = hearing(admission, self._kind, "admit_delete")
        self._deleted = hearing(admission, self._kind, "deleted")

    async def create(self, request: bytes, context: Context) -> bytes:
        return await self._creates.create(request, context)

    async def create_object(self, obj: Any) -> Record:
        """Create ``obj``, which is completed in place. Raises ``StatusError`` and storage's errors."""
        return await self._creates.create_object(obj)

    async def batch_create(self, request: bytes, context: Context) -> bytes:
        return await self._creates.batch_create(request, context)

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
        return served(outcome.record)

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
                add_failure(self._kind, response, name, outcome if isinstance(outcome, Exception) else None)
                continue
            response.outcomes.add(name=name, uid=item[1].uid, resource_version=outcome.record.revision)
            if outcome.removed and outcome.written:
                await self._after_removal(item[1].result)
        return response.SerializeToString()

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
        return served(await self.delete_object(key, options, dry_run=wanted.dry_run))

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
