"""Writes the pulse: a lease beside those of the nodes, so that its way to the store and back is theirs."""

from __future__ import annotations

import logging

import grpc

from services.api.pb.ursa.coordination.v1.lease_pb2 import Lease
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.election import NAMESPACE, LeaseApi
from services.controllers.nodes.config import NodesConfig
from services.controllers.nodes.facts import SYSTEM_TENANT
from services.controllers.nodes.proof import Proof
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

NAME = "node-lifecycle-pulse"


class Pulse:
    """``run`` writes a pulse every ``pulse_period_s``, each known by its renew time."""

    def __init__(
        self, leases: LeaseApi, proof: Proof, identity: str, config: NodesConfig, *, clock: Clock, rand: Rand
    ) -> None:
        self._leases = leases
        self._proof = proof
        self._identity = identity
        self._config = config
        self._clock = clock
        self._rand = rand

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._once()
            await self._clock.sleep(self._config.pulse_period_s)

    async def _once(self) -> None:
        # The last three digits are chance: another process that still believes to lead has pulses of its own.
        mark = int(self._clock.time() * 1e6) * 1000 + self._rand.integer(0, 999)
        self._proof.sent(mark, self._clock.monotonic())
        try:
            await self._write(self._lease(mark))
        except StatusError as failure:
            _log.info("no proof that heartbeats are seen", extra={"cause": failure.message})

    async def _write(self, lease: Lease) -> None:
        try:
            await self._leases.update(lease)
        except StatusError as failure:
            if failure.code is not grpc.StatusCode.NOT_FOUND:
                raise
            await self._leases.create(lease)

    def _lease(self, mark: int) -> Lease:
        lease = Lease()
        metadata, spec = lease.metadata, lease.spec
        metadata.name, metadata.namespace, metadata.tenant = NAME, NAMESPACE, SYSTEM_TENANT
        spec.holder_identity = self._identity
        spec.lease_duration_seconds = max(1, int(self._config.blind_after_s))
        spec.renew_time.seconds, spec.renew_time.nanos = divmod(mark, 1_000_000_000)
        return lease
