"""What the servicer holds for each kind it serves: the row of the table and the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.api.kinds import LEASES, Kind
from services.storage.interface import Lane, ResourceStore

_NODE_LEASES = "/kube-node-lease/"

LeaseMaker = Callable[[], Awaitable[int]]


@dataclass(frozen=True)
class Resource:
    """``lease``: gives the etcd lease that objects of this kind are written under (they expire); None: they stay.

    ``urgent``: writes go before everything else, as those of a kind with ``lane_system`` always do.
    """

    kind: Kind
    store: ResourceStore
    lease: LeaseMaker | None = None
    urgent: bool = False

    @property
    def lane(self) -> Lane:
        return Lane.SYSTEM if self.urgent or self.kind.lane_system else Lane.WORKLOAD

    def update_lane(self, key: str) -> Lane:
        """As ``lane``, but renewals of node leases may gather."""
        return Lane.HEARTBEAT if self.kind is LEASES and _NODE_LEASES in key else self.lane

    async def lease_id(self) -> int:
        """The lease for a write of now, 0 for none. Raises ``storage.Unavailable``."""
        return await self.lease() if self.lease is not None else 0
