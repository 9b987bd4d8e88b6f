"""Clients of a running cluster: per partition a lean connection for the load, an ordinary clientset for the rest."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from services.api.pb.ursa.tenancy.v1 import tenancy_pb2
from services.bench import http2
from services.client.clientset import Clientset
from services.rpc.channel import make_channel


@dataclass(frozen=True)
class TenantAccess:
    """A tenant partition and the tenant that the workload's pods belong to there. ``watching`` carries no creates."""

    partition: str
    tenant: str
    load: http2.Connection
    watching: http2.Connection
    clients: Clientset


@dataclass(frozen=True)
class ResourceAccess:
    """A resource partition."""

    partition: str
    load: http2.Connection
    clients: Clientset


@dataclass(frozen=True)
class Access:
    """All partitions of each kind, in order."""

    tenants: tuple[TenantAccess, ...]
    resources: tuple[ResourceAccess, ...]


@contextlib.asynccontextmanager
async def opened(tenants: Mapping[str, str], resources: Mapping[str, str]) -> AsyncIterator[Access]:
    """Connections to the endpoints by partition name, for the time of the block. One tenant per tenant partition,
    ``bench-<partition>``, is placed there. Raises ``OSError``, ``StatusError``."""
    async with contextlib.AsyncExitStack() as stack:

        async def lean(endpoint: str) -> http2.Connection:
            connection = await http2.connect_soon(endpoint)
            stack.callback(connection.close)
            return connection

        async def clients(endpoint: str) -> Clientset:
            channel = await stack.enter_async_context(make_channel([endpoint]))
            bulk = await stack.enter_async_context(make_channel([endpoint]))
            return Clientset(channel, bulk=bulk)

        yield Access(
            tuple(
                [
                    TenantAccess(
                        name, f"bench-{name}", await lean(endpoint), await lean(endpoint), await clients(endpoint)
                    )
                    for name, endpoint in tenants.items()
                ]
            ),
            tuple(
                [
                    ResourceAccess(name, await lean(endpoint), await clients(endpoint))
                    for name, endpoint in resources.items()
                ]
            ),
        )


async def place_tenants(access: Access) -> None:
    """Create the workload's tenants. Raises ``StatusError``."""
    for target in access.tenants:
        tenant = tenancy_pb2.Tenant()
        tenant.metadata.name = target.tenant
        await target.clients.tenants.create(tenant)
