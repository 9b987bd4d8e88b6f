"""What the namespace and tenant lifecycle sees and does of this partition: the server side of its port.

It goes past admission, which protects from clients what the lifecycle has to take down.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from services.api import keys, wire
from services.api.kinds import NAMESPACES, TENANTS, Kind
from services.api.selectors import EVERYTHING
from services.apiserver.deletion import DeleteOptions
from services.apiserver.errors import translate
from services.apiserver.lifecycle import DEFAULT_NAMESPACE
from services.apiserver.objects import TENANT_FINALIZER
from services.apiserver.resource import Resource
from services.apiserver.servicer import ApiServer
from services.storage import errors as storage
from services.storage.interface import ListQuery, Record, Watcher, WatchQuery

NAMESPACE_FINALIZER = "kubernetes"

Release = Callable[[str], Awaitable[None]]


class PartitionContent:
    """``release``: gives a tenant's placement back; raises ``StatusError`` when its keeper cannot be reached."""

    def __init__(self, api: ApiServer, release: Release | None = None) -> None:
        self._api = api
        self._release = release
        self.namespaced = tuple(name for name, resource in api.resources.items() if resource.kind.namespaced)

    # What there is

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """A function that returns when a namespace or tenant (or a pod, which may be the last) may have changed."""
        awake = asyncio.Event()
        watchers: list[Watcher] = []
        with statuses(None):
            try:
                for kind in (NAMESPACES, TENANTS):
                    resource = self._api.resources.get(kind.resource)
                    if resource is not None:
                        query = WatchQuery(keys.prefix(kind), EVERYTHING, 0, initial_events=False)
                        watchers.append(await resource.store.watch(query))
                for watcher in watchers:
                    watcher.set_wake(awake.set)

                async def changed() -> None:
                    # A watcher wakes again only after it was read to the end: read them all.
                    if not sum(_drained(watcher) for watcher in watchers):
                        awake.clear()
                        await awake.wait()

                yield changed
            finally:
                for watcher in watchers:
                    watcher.close()

    async def namespaces(self) -> list[Any]:
        """Every Namespace, as messages; a consistent read."""
        return await self._all(NAMESPACES)

    async def tenants(self) -> list[Any]:
        """Every Tenant; none where tenants are not kept."""
        return await self._all(TENANTS) if TENANTS.resource in self._api.resources else []

    async def remaining(self, resource: str, tenant: str, namespace: str) -> list[str]:
        """Keys of what is left; a consistent read."""
        held = self._api.resources[resource]
        with statuses(held.kind):
            page = await held.store.list(ListQuery(keys.prefix(held.kind, tenant, namespace), EVERYTHING))
        return [record.key for record in page.records]

    async def _all(self, kind: Kind) -> list[Any]:
        resource = self._api.resources[kind.resource]
        with statuses(kind):
            page = await resource.store.list(ListQuery(keys.prefix(kind), EVERYTHING))
        return [kind.message.FromString(record.value) for record in page.records]

    # What can be done

    async def delete(self, resource: str, found: list[str]) -> None:
        """Delete the objects at ``found``, pods gracefully; what is known to be ending already is left alone."""
        held = self._api.resources[resource]
        with statuses(held.kind):
            await self._api.writes[resource].delete_keys(
                [key for key in found if not _is_ending(held, key)], DeleteOptions()
            )

    async def finalize_namespace(self, tenant: str, name: str, uid: str) -> None:
        """Take the content finalizer off, which removes the namespace."""

        def lift(namespace: Any) -> None:
            kept = [finalizer for finalizer in namespace.spec.finalizers if finalizer != NAMESPACE_FINALIZER]
            del namespace.spec.finalizers[:]
            namespace.spec.finalizers.extend(kept)

        await self._lift(NAMESPACES, keys.key(NAMESPACES, tenant, "", name), uid, lift)

    async def finalize_tenant(self, name: str, uid: str) -> None:
        """Give the tenant's placement back, then take the content finalizer off, which removes the tenant."""
        if self._release is not None:
            await self._release(name)

        def lift(tenant: Any) -> None:
            kept = [finalizer for finalizer in tenant.metadata.finalizers if finalizer != TENANT_FINALIZER]
            del tenant.metadata.finalizers[:]
            tenant.metadata.finalizers.extend(kept)

        await self._lift(TENANTS, keys.key(TENANTS, "", "", name), uid, lift)

    async def ensure_default_namespace(self, tenant: str) -> None:
        """Create the namespace that every tenant has, unless it is there."""
        store = self._api.resources[NAMESPACES.resource].store
        key = keys.key(NAMESPACES, tenant, "", DEFAULT_NAMESPACE)
        if store.peek(key) is not None:
            return
        namespace: Any = NAMESPACES.message()
        namespace.metadata.tenant = tenant
        namespace.metadata.name = DEFAULT_NAMESPACE
        with statuses(NAMESPACES):
            try:
                await store.get(key)
            except storage.KeyNotFound:
                with suppress(storage.KeyExists):
                    await self._api.writes[NAMESPACES.resource].create_object(namespace)

    async def _lift(self, kind: Kind, key: str, uid: str, lift: Callable[[Any], None]) -> None:
        def transition(record: Record) -> bytes | None:
            obj: Any = kind.message.FromString(record.value)
            if obj.metadata.uid != uid or not obj.metadata.HasField("deletion_timestamp"):
                return record.value
            lift(obj)
            spec_finalizers = obj.spec.finalizers if kind is NAMESPACES else ()
            return None if not obj.metadata.finalizers and not spec_finalizers else wire.canonical(obj)

        with statuses(kind):
            try:
                await self._api.writes[kind.resource].change_object(key, transition)
            except storage.KeyNotFound:
                pass  # Someone else was faster.


def _drained(watcher: Watcher) -> bool:
    """Take all that is there; was it anything?"""
    found = False
    while watcher.take() is not None:
        found = True
    return found


@contextmanager
def statuses(kind: Kind | None) -> Iterator[None]:
    """Storage's errors as ``StatusError``: what controllers understand."""
    try:
        yield
    except storage.StorageError as failure:
        error = translate(kind, failure)
        assert error is not None
        raise error from failure


def _is_ending(resource: Resource, key: str) -> bool:
    record = resource.store.peek(key)
    if record is None:
        return False
    obj: Any = resource.kind.message.FromString(record.value)
    return bool(obj.metadata.HasField("deletion_timestamp"))
