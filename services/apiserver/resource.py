"""What the servicer holds for each kind it serves: the row of the table and the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from services.api.kinds import LEASES, Kind
from services.storage.interface import Lane, ResourceStore, Write

_NODE_LEASES = "/kube-node-lease/"

LeaseMaker = Callable[[int], Awaitable[int]]
"""From the size of a value in bytes to the etcd lease that it is to be written under."""


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

    async def put_under_leases(self, writes: Iterable[Write]) -> None:
        """Give each put its lease, if objects of this kind expire; to be called before any of ``writes`` is sent.

        An update needs one as well: without, the key would leave its lease, and the object would never expire.
        Raises ``storage.Unavailable``.
        """
        if self.lease is None:
            return
        for write in writes:
            if write.value is not None:
                write.lease_id = await self.lease(len(write.value))
