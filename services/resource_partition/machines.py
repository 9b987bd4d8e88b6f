"""What only a resource partition has: its one tenant, the leases of its nodes, the home of the placements."""

from __future__ import annotations

from typing import Any

import grpc

from services.api import keys
from services.api.kinds import LEASES, NODES, TENANT_PLACEMENTS, Kind
from services.api.pb.ursa.coordination.v1.lease_pb2 import Lease
from services.apiserver.admission import Admission
from services.apiserver.commit import change
from services.apiserver.lifecycle import SYSTEM_TENANT
from services.apiserver.resource import Resource
from services.rpc.status import StatusError
from services.storage import errors as storage
from services.storage.interface import Record

NODE_LEASE_NAMESPACE = "kube-node-lease"


class OneTenant:
    """A ``TenantGate``: tenants live on tenant partitions; here is only the cluster's own."""

    async def require(self, tenant: str) -> None:
        if tenant != SYSTEM_TENANT:
            raise StatusError(
                grpc.StatusCode.NOT_FOUND,
                "NotFound",
                f'tenants "{tenant}" not found: a resource partition holds tenant "{SYSTEM_TENANT}" only, '
                "ask a tenant partition",
                metadata={"kind": "tenants", "name": tenant},
            )


class NodeLeases(Admission):
    """A Node's lease goes with it."""

    resources = frozenset({NODES.resource})

    def __init__(self, leases: Resource) -> None:
        self._leases = leases

    async def deleted(self, kind: Kind, obj: Any) -> None:
        name, uid = obj.metadata.name, obj.metadata.uid

        def transition(record: Record) -> bytes | None:
            owners = [owner.uid for owner in Lease.FromString(record.value).metadata.owner_references]
            # The lease of another Node that has taken the name meanwhile stays.
            return record.value if owners and uid not in owners else None

        try:
            await change(self._leases, keys.key(LEASES, SYSTEM_TENANT, NODE_LEASE_NAMESPACE, name), transition)
        except storage.KeyNotFound:
            pass


class PlacementsElsewhere(Admission):
    """Placements are kept by one partition alone, or one tenant could be placed twice."""

    resources = frozenset({TENANT_PLACEMENTS.resource})

    async def admit(self, kind: Kind, obj: Any) -> None:
        raise StatusError(
            grpc.StatusCode.FAILED_PRECONDITION,
            "NotPlacementHome",
            "this resource partition is not the placement home: tenants are placed there",
        )
