"""Tenant placements, kept by one resource partition: who owns a tenant's name, and where that partition is.

What is known stays known while the home cannot be reached: tenants that exist here go on working, only new ones wait.
"""

from __future__ import annotations

from typing import Any, Protocol

import grpc

from services.api import keys
from services.api.kinds import TENANT_PARTITIONS, TENANT_PLACEMENTS
from services.api.pb.ursa.tenancy.v1.tenancy_pb2 import TenantPlacement
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.clientset import Timeouts
from services.client.informer import Informer
from services.client.partitions import Connection
from services.rpc import status
from services.rpc.credentials import TlsConfig
from services.rpc.status import StatusError

_CALL_TIMEOUT_S = 2.0


class Placements(Protocol):
    """What a tenant partition asks the placement home."""

    async def owner(self, tenant: str) -> str:
        """The partition that ``tenant`` is placed on, "" if it is placed nowhere. Raises ``StatusError``."""
        ...

    def endpoint(self, partition: str) -> str:
        """host:port of a tenant partition's server, "" if unknown."""
        ...

    async def claim(self, tenant: str) -> str:
        """Place ``tenant`` here unless it is placed; the partition that owns it now. Raises ``StatusError``."""
        ...

    async def release(self, tenant: str) -> None:
        """Give ``tenant``'s placement back if it is this partition's. Raises ``StatusError``."""
        ...


class NoHome:
    """No placement home is configured: no tenant can be created."""

    async def owner(self, tenant: str) -> str:
        return ""

    def endpoint(self, partition: str) -> str:
        return ""

    async def claim(self, tenant: str) -> str:
        raise status.unavailable("no resource partition is configured as placement home: tenants cannot be created")

    async def release(self, tenant: str) -> None:
        return None


class PlacementHome:
    """``Placements`` over a connection to the home, with informers for what is asked often. ``run`` drives them."""

    def __init__(
        self,
        partition: str,
        home: str,
        endpoints: tuple[str, ...],
        clock: Clock,
        rand: Rand,
        *,
        tls: TlsConfig | None = None,
    ) -> None:
        self._partition = partition
        self._home = home
        self._connection = Connection(home, endpoints, clock, rand, tls=tls, timeouts=Timeouts(unary_s=_CALL_TIMEOUT_S))
        self._client = self._connection.clientset.tenant_placements
        self._placements: Informer[Any] = Informer(self._connection.mux, TENANT_PLACEMENTS)
        self._partitions: Informer[Any] = Informer(self._connection.mux, TENANT_PARTITIONS)

    async def run(self) -> None:
        """Follow the home until cancelled."""
        self._placements.start()
        self._partitions.start()
        try:
            await self._connection.run()
        finally:
            self._placements.close()
            self._partitions.close()

    async def owner(self, tenant: str) -> str:
        known = self._placements.store.get(keys.key(TENANT_PLACEMENTS, "", "", tenant))
        if known is not None:
            return str(known.spec.tenant_partition)
        # It may have been placed a moment ago; unknown tenants are rare, so ask.
        try:
            return (await self._client.get(tenant)).spec.tenant_partition
        except StatusError as failure:
            if failure.code is grpc.StatusCode.NOT_FOUND or self._placements.has_synced:
                return ""
            raise self._unreachable(failure, f'where tenant "{tenant}" lives cannot be found out') from failure

    def endpoint(self, partition: str) -> str:
        known = self._partitions.store.get(keys.key(TENANT_PARTITIONS, "", "", partition))
        return str(known.spec.endpoints[0]) if known is not None and known.spec.endpoints else ""

    async def claim(self, tenant: str) -> str:
        placement = TenantPlacement()
        placement.metadata.name = tenant
        placement.spec.tenant_partition = self._partition
        try:
            await self._client.create(placement)
        except StatusError as failure:
            if failure.code is not grpc.StatusCode.ALREADY_EXISTS:
                raise self._unreachable(failure, "tenants cannot be created now") from failure
            return await self._read(tenant)
        return self._partition

    async def release(self, tenant: str) -> None:
        try:
            placement = await self._client.get(tenant)
            if placement.spec.tenant_partition == self._partition:
                await self._client.delete(tenant, uid=placement.metadata.uid)
        except StatusError as failure:
            if failure.code is not grpc.StatusCode.NOT_FOUND:
                raise

    async def _read(self, tenant: str) -> str:
        try:
            return (await self._client.get(tenant)).spec.tenant_partition
        except StatusError as failure:
            raise self._unreachable(failure, "tenants cannot be created now") from failure

    def _unreachable(self, failure: StatusError, consequence: str) -> StatusError:
        if failure.code is grpc.StatusCode.INVALID_ARGUMENT:
            return failure
        return status.unavailable(
            f'the placement home "{self._home}" does not answer ({failure.message}): {consequence}',
            retry_after_s=failure.retry_after_s or 1.0,
        )
