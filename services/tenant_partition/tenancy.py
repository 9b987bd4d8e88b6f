"""Tenants of this partition: which are served here, how they begin, and what they may not do while they end."""

from __future__ import annotations

from typing import Any

from services.api import keys
from services.api.kinds import NAMESPACES, PRIORITY_CLASSES, TENANTS, Kind
from services.api.pb.ursa.tenancy.v1.tenancy_pb2 import Tenant
from services.apiserver.admission import Admission
from services.apiserver.content import PartitionContent
from services.apiserver.lifecycle import SYSTEM_TENANT
from services.apiserver.objects import TENANT_FINALIZER
from services.rpc import status
from services.storage import errors as storage
from services.storage.interface import ResourceStore
from services.tenant_partition.placements import Placements


class TenantRegistry:
    """A ``TenantGate``: the partition's own Tenant store, and the placements for those that live elsewhere."""

    def __init__(self, tenants: ResourceStore, placements: Placements, partition: str) -> None:
        self._tenants = tenants
        self._placements = placements
        self._partition = partition

    async def require(self, tenant: str) -> None:
        if "/" in tenant:
            raise status.bad_field("tenant", "may not contain '/'")
        key = keys.key(TENANTS, "", "", tenant)
        if self._tenants.peek(key) is not None:
            return
        try:
            await self._tenants.get(key)
        except storage.KeyNotFound:
            await self._refuse(tenant)

    async def _refuse(self, tenant: str) -> None:
        owner = await self._placements.owner(tenant)
        if owner and owner != self._partition:
            raise status.wrong_partition(tenant, owner, self._placements.endpoint(owner))
        raise status.not_found("tenants", tenant)


class TenantAdmission(Admission):
    """A new tenant is placed before it is written, and gets its default namespace after."""

    resources = frozenset({TENANTS.resource})

    def __init__(self, placements: Placements, partition: str) -> None:
        self._placements = placements
        self._partition = partition
        # Set when the servicer exists, which itself needs the admission.
        self.content: PartitionContent | None = None

    async def admit(self, kind: Kind, obj: Any) -> None:
        if obj.metadata.name != SYSTEM_TENANT and TENANT_FINALIZER not in obj.metadata.finalizers:
            obj.metadata.finalizers.append(TENANT_FINALIZER)

    async def reserve(self, kind: Kind, obj: Any) -> None:
        tenant = obj.metadata.name
        if tenant == SYSTEM_TENANT:
            return  # Every partition has its own.
        owner = await self._placements.claim(tenant)
        if owner != self._partition:
            raise status.wrong_partition(tenant, owner, self._placements.endpoint(owner))

    async def created(self, kind: Kind, obj: Any) -> None:
        assert self.content is not None
        await self.content.ensure_default_namespace(obj.metadata.name)

    async def admit_delete(self, kind: Kind, key: str) -> None:
        if key == keys.key(TENANTS, "", "", SYSTEM_TENANT):
            raise status.forbidden(f'tenant "{SYSTEM_TENANT}" may not be deleted', metadata={"cause": "SystemTenant"})


class TenantLifecycle(Admission):
    """A tenant that is being deleted gets no new namespace and no new priority class."""

    resources = frozenset({NAMESPACES.resource, PRIORITY_CLASSES.resource})

    def __init__(self, tenants: ResourceStore) -> None:
        self._tenants = tenants

    async def admit(self, kind: Kind, obj: Any) -> None:
        tenant = obj.metadata.tenant
        key = keys.key(TENANTS, "", "", tenant)
        try:
            record = self._tenants.peek(key) or await self._tenants.get(key)
        except storage.KeyNotFound:
            raise status.not_found("tenants", tenant) from None
        if Tenant.FromString(record.value).metadata.HasField("deletion_timestamp"):
            raise status.forbidden(
                f'{kind.resource} "{obj.metadata.name}" cannot be created: tenant "{tenant}" is being terminated',
                metadata={"cause": "TenantTerminating"},
            )
