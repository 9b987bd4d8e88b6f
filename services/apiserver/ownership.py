"""What garbage collection sees and does of this partition: the server side of its port.

Of each object only the metadata is parsed: canonical bytes begin with it. Events own nothing and are owned by nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from services.api import keys, kinds, wire
from services.api.excerpts import excerpt
from services.api.kinds import EVENTS, PODS, Kind
from services.api.ownership import FOREGROUND, OwnerState, Policy, Reference, Seen, Thing
from services.api.pb.ursa.meta.v1.meta_pb2 import ObjectMeta
from services.api.selectors import EVERYTHING
from services.apiserver import limits, objects
from services.apiserver.content import statuses
from services.apiserver.deletion import DeleteOptions
from services.apiserver.servicer import ApiServer
from services.base.clock import Clock
from services.rpc.status import StatusError
from services.storage import errors as storage
from services.storage.interface import EventType, ListQuery, Record, Watcher, WatchQuery

_GATHER_S = 0.05


class PartitionOwnership:
    """The port over all kinds that ``api`` serves, but events, and what no client writes: that has no owners."""

    def __init__(self, api: ApiServer, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._looks = 0
        self._resources = {
            name: held for name, held in api.resources.items() if held.kind is not EVENTS and not held.kind.read_only
        }

    # What there is

    @asynccontextmanager
    async def sightings(self) -> AsyncIterator[Callable[[], Awaitable[Sequence[Seen]]]]:
        awake = asyncio.Event()
        watchers: list[tuple[Kind, Watcher]] = []
        with statuses(None):
            try:
                for held in self._resources.values():
                    query = WatchQuery(keys.prefix(held.kind), EVERYTHING)
                    watchers.append((held.kind, await held.store.watch(query)))
                for _, watcher in watchers:
                    watcher.set_wake(awake.set)

                # What was told of those keys of which something was: it may need to be taken back, and need not be
                # told again as long as it is the same.
                told: dict[str, int] = {}

                async def following() -> Sequence[Seen]:
                    while True:
                        awake.clear()
                        found: list[Seen] = []
                        for kind, watcher in watchers:
                            await _drain(kind, watcher, found, told)
                        if found:
                            return found
                        await awake.wait()
                        # Many changes are looked at together: nobody waits for garbage to be collected.
                        await self._clock.sleep(_GATHER_S)

                yield following
            finally:
                for _, watcher in watchers:
                    watcher.set_wake(None)
                    watcher.close()

    async def owner_state(self, dependent: Thing, owner: Reference) -> OwnerState:
        key = self._key_of(dependent, owner)
        if key is None:
            return OwnerState.SOLID
        kind = kinds.kind_of(owner.api_version, owner.kind)
        store = self._resources[kind.resource].store
        # That it is there may be seen at any age: of its end, and of a change of it, there will be a sighting, which
        # has its dependents looked at again. Only that it is not there takes a consistent read.
        record = store.peek(key)
        found = thing_of(kind, record) if record is not None else None
        self._looks += 1
        if self._looks % limits.ITEMS_PER_TURN == 0:
            await asyncio.sleep(0)
        if found is None or found.uid != owner.uid:
            with statuses(kind):
                try:
                    found = thing_of(kind, await store.get(key))
                except storage.KeyNotFound:
                    return OwnerState.ABSENT
        if found.uid != owner.uid:
            return OwnerState.ABSENT
        return OwnerState.WAITING if found.ending and FOREGROUND in found.finalizers else OwnerState.SOLID

    async def dependents(self, owner: Thing) -> list[Thing]:
        _, tenant, namespace, _ = keys.parse(owner.key)
        found: list[Thing] = []
        for held in self._resources.values():
            kind = held.kind
            if (namespace and not kind.namespaced) or (tenant and not kind.tenant_scoped):
                continue
            within = keys.prefix(kind, tenant, namespace) if kind.tenant_scoped else keys.prefix(kind)
            with statuses(kind):
                page = await held.store.list(ListQuery(within, EVERYTHING))
            for index, record in enumerate(page.records):
                if index % 1024 == 1023:
                    await asyncio.sleep(0)
                # The UID is in the bytes of whoever refers to it: a search is cheaper than parsing.
                if owner.uid.encode() in record.value:
                    thing = thing_of(kind, record)
                    if any(reference.uid == owner.uid for reference in thing.owners):
                        found.append(thing)
        return found

    def _key_of(self, dependent: Thing, owner: Reference) -> str | None:
        """Where the owner would be: in the dependent's tenant and namespace, or above. None: not of this partition."""
        try:
            kind = kinds.kind_of(owner.api_version, owner.kind)
            if kind.resource not in self._resources:
                return None
            _, tenant, namespace, _ = keys.parse(dependent.key)
            if (kind.tenant_scoped and not tenant) or (kind.namespaced and not namespace):
                return None
            return keys.key(
                kind, tenant if kind.tenant_scoped else "", namespace if kind.namespaced else "", owner.name
            )
        except (kinds.UnknownKind, keys.InvalidKey):
            return None

    # What can be done

    async def remove(self, thing: Thing, policy: Policy) -> None:
        kind = self._resources[thing.resource].kind
        with statuses(kind):
            try:
                await self._api.writes[thing.resource].delete_object(
                    thing.key, DeleteOptions(uid=thing.uid, policy=policy)
                )
            except storage.KeyNotFound:
                pass
            except StatusError as refusal:
                # Another object has the name now, or this one may not be deleted (a protected namespace): let it be.
                if refusal.reason not in ("Conflict", "Forbidden"):
                    raise

    async def drop_references(self, thing: Thing, uids: frozenset[str]) -> None:
        def drop(obj: Any) -> None:
            kept = [owner for owner in obj.metadata.owner_references if owner.uid not in uids]
            del obj.metadata.owner_references[:]
            obj.metadata.owner_references.extend(kept)

        await self._change(thing, drop)

    async def drop_finalizer(self, thing: Thing, finalizer: str) -> None:
        def drop(obj: Any) -> None:
            kept = [name for name in obj.metadata.finalizers if name != finalizer]
            del obj.metadata.finalizers[:]
            obj.metadata.finalizers.extend(kept)

        await self._change(thing, drop)

    async def _change(self, thing: Thing, drop: Callable[[Any], None]) -> None:
        kind = self._resources[thing.resource].kind

        def transition(record: Record) -> bytes | None:
            obj: Any = kind.message.FromString(record.value)
            if obj.metadata.uid != thing.uid:
                return record.value
            drop(obj)
            return None if objects.finished(obj) else wire.canonical(obj)

        with statuses(kind):
            try:
                await self._api.writes[thing.resource].remove_or_change(thing.key, transition)
            except storage.KeyNotFound:
                pass


async def _drain(kind: Kind, watcher: Watcher, found: list[Seen], told: dict[str, int]) -> None:
    while (batch := watcher.take(limits.BULK_BYTES_TARGET)) is not None:
        for event in batch.events:
            record = event.record
            gone = event.type is EventType.DELETED
            # A heartbeat changes a lease's spec and no metadata: nothing that a garbage collector would look at.
            before = None if gone else told.get(record.key)
            if before is not None and before == hash(_metadata_bytes(record.value)):
                continue
            # Most things own nothing, are owned by nothing and wait for nothing: that much the bytes tell at a glance.
            if not gone and record.key not in told and _is_plain(record.value):
                continue
            thing = thing_of(kind, record)
            if thing.owners and not gone:
                told[record.key] = hash(_metadata_bytes(record.value))
            else:
                told.pop(record.key, None)
            found.append(Seen(thing, gone))
        await asyncio.sleep(0)


_Glance = excerpt(
    PODS.message, ("metadata.owner_references", "metadata.finalizers", "metadata.deletion_timestamp")
)  # metadata is the same in every kind


def _is_plain(value: bytes) -> bool:
    metadata = _Glance.FromString(value).metadata
    return not (metadata.owner_references or metadata.finalizers or metadata.HasField("deletion_timestamp"))


def thing_of(kind: Kind, record: Record) -> Thing:
    """Of the metadata alone."""
    metadata = _metadata(kind, record.value)
    return Thing(
        kind.resource,
        record.key,
        metadata.uid,
        tuple(
            Reference(owner.api_version, owner.kind, owner.name, owner.uid, owner.block_owner_deletion)
            for owner in metadata.owner_references
        ),
        tuple(metadata.finalizers),
        metadata.HasField("deletion_timestamp"),
    )


def _metadata(kind: Kind, value: bytes) -> Any:
    found = _metadata_bytes(value)
    if found is None:
        return kind.message.FromString(value).metadata  # type: ignore[attr-defined]
    return ObjectMeta.FromString(found)


def _metadata_bytes(value: bytes) -> bytes | None:
    """None: it is not the first field."""
    if not value.startswith(b"\x0a"):
        return None
    size, at = wire.read_varint(value, 1)
    return value[at : at + size]
