"""Writes the pulse: a lease renewed as those of the nodes are, so that its way to the store and back is theirs."""

from __future__ import annotations

import logging
import math

import grpc

from services.api.pb.ursa.coordination.v1.lease_pb2 import Lease
from services.api.pb.ursa.coordination.v1.lease_service_pb2 import LeaseRenewal
from services.base.clock import Clock
from services.client.election import NAMESPACE, LeaseApi
from services.client.renewals import LeaseRenewals
from services.controllers.nodes.config import NodesConfig
from services.controllers.nodes.facts import SYSTEM_TENANT
from services.controllers.nodes.proof import Proof
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

NAME = "node-lifecycle-pulse"

_TAKE = frozenset((grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ABORTED))


class Pulse:
    """``run`` writes a pulse every ``pulse_period_s``, each known by its renew time. ``identity``: of this process;
    another one that still believes to lead has pulses of its own."""

    def __init__(
        self,
        leases: LeaseApi,
        renewals: LeaseRenewals,
        proof: Proof,
        identity: str,
        config: NodesConfig,
        *,
        clock: Clock,
    ) -> None:
        self._leases = leases
        self._renewals = renewals
        self._proof = proof
        self._identity = identity
        self._config = config
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._once()
            await self._clock.sleep(self._config.pulse_period_s)

    async def _once(self) -> None:
        now_s = self._clock.time()
        lease = self._lease(now_s)
        renewed = lease.spec.renew_time
        self._proof.sent(renewed.seconds * 1_000_000_000 + renewed.nanos, self._clock.monotonic())
        try:
            await self._write(lease, now_s)
        except StatusError as failure:
            _log.info("no proof that heartbeats are seen", extra={"cause": failure.message})

    async def _write(self, lease: Lease, now_s: float) -> None:
        """Renew it; where there is none, or another's, make it ours."""
        renewal = LeaseRenewal(name=NAME, holder_identity=self._identity)
        refusals = await self._renewals.renew(
            [renewal],
            tenant=SYSTEM_TENANT,
            namespace=NAMESPACE,
            now_s=now_s,
            timeout_s=self._config.blind_after_s / 2,
        )
        if not refusals:
            return
        if refusals[0].code not in _TAKE:
            raise refusals[0]
        try:
            await self._leases.update(lease)
        except StatusError as failure:
            if failure.code is not grpc.StatusCode.NOT_FOUND:
                raise
            await self._leases.create(lease)

    def _lease(self, now_s: float) -> Lease:
        lease = Lease()
        metadata, spec = lease.metadata, lease.spec
        metadata.name, metadata.namespace, metadata.tenant = NAME, NAMESPACE, SYSTEM_TENANT
        spec.holder_identity = self._identity
        spec.lease_duration_seconds = math.ceil(self._config.blind_after_s)
        # As ``LeaseRenewals`` keeps it: to the microsecond.
        spec.renew_time.seconds = int(now_s)
        spec.renew_time.nanos = int((now_s - int(now_s)) * 1e6) * 1000
        return lease
