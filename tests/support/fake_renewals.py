"""``Leases/Renew`` of a ``FakePartition``: each request is answered at once, unless the partition is told not to."""

from __future__ import annotations

import asyncio
from typing import Any

from services.api import keys
from services.api.kinds import LEASES
from services.api.pb.ursa.coordination.v1.lease_service_pb2 import RenewLeasesRequest, RenewLeasesResponse
from services.rpc import status
from services.rpc.status import StatusError


class FakeRenewals:
    """The server's end of one stream; ``read`` gives its answers, None when it is lost."""

    def __init__(self, partition: Any) -> None:
        self._partition = partition
        self.watches: dict[int, Any] = {}
        self._queue: asyncio.Queue[RenewLeasesResponse | None] = asyncio.Queue()

    def take(self, request: RenewLeasesRequest) -> None:
        partition = self._partition
        partition.calls.append(("Renew", request))
        how = partition.muted("Renew")
        if how == "hang":
            partition.unanswered.append(("Renew", request.SerializeToString()))
            return
        response = RenewLeasesResponse(id=request.id)
        refusal = partition.take_refusal("Renew")
        if how == "unavailable":
            refusal = status.unavailable("no quorum")
        if refusal is not None:
            response.status.CopyFrom(refusal.to_status())
        else:
            self._renew(request, response)
        self._queue.put_nowait(response)

    def _renew(self, request: RenewLeasesRequest, response: RenewLeasesResponse) -> None:
        for index, renewal in enumerate(request.renewals):
            try:
                self._renew_one(request, renewal)
            except StatusError as error:
                response.failures.add(index=index, status=error.to_status())
        response.resource_version = self._partition.resource_version

    def _renew_one(self, request: RenewLeasesRequest, renewal: Any) -> None:
        held = self._partition.get(LEASES, renewal.name, request.tenant, request.namespace)
        if held is None:
            raise status.not_found(LEASES.resource, renewal.name)
        if held.spec.holder_identity != renewal.holder_identity:
            raise status.conflict(LEASES.resource, renewal.name, f'held by "{held.spec.holder_identity}"')
        held.spec.renew_time.CopyFrom(request.renew_time)
        assert keys.key_of(LEASES, self._partition.put(LEASES, held))

    def commit(self, *_: Any) -> None:
        """Nobody watches here."""

    async def read(self) -> RenewLeasesResponse | None:
        return await self._queue.get()

    def lose(self) -> None:
        self._partition.forget_stream(self)
        self._queue.put_nowait(None)
