"""Asks silent resource partitions whether they grant claims again, by a claim that asks for next to nothing.

A read, a release or a claim that is refused would prove nothing: an etcd that is full answers the one and takes the
other. So this claims for a pod that never was: no resources, and one pod's place on some node. It is sent again as it
is until it is answered, and released on the fact that there is no pod of that UID. What a killed process leaves behind
the reconciler of the partition releases on the same fact.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim, ClaimRelease
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.rpc.status import StatusError
from services.scheduler.claims import Verdict, verdict_of
from services.scheduler.core import NodeId
from services.scheduler.releaser import ClaimsOf, Releaser
from services.scheduler.silence import Silence

_log = logging.getLogger(__name__)

PAUSE_S = 1.0
TIMEOUT_S = 5.0
# After so many refusals in a row (every node is full) the partition is given pods again: it may be silent once more.
REFUSALS_MAX = 8


class Prober:
    """``run`` probes every silent partition on its own."""

    def __init__(
        self,
        silence: Silence,
        claims_of: ClaimsOf,
        releaser: Releaser,
        nodes_of: Callable[[str], Sequence[NodeId]],
        *,
        tenant_partition: str,
        clock: Clock,
        rand: Rand,
    ) -> None:
        self._silence = silence
        self._claims_of = claims_of
        self._releaser = releaser
        self._nodes_of = nodes_of
        self._tenant_partition = tenant_partition
        self._clock = clock
        self._rand = rand
        self._probed: set[str] = set()

    async def run(self) -> None:
        """Probe until cancelled."""
        try:
            async with Supervisor() as tasks:
                while True:
                    for partition in self._silence.silent():
                        if partition not in self._probed:
                            self._probed.add(partition)
                            tasks.start(self._probe(partition), name=f"probe-{partition}")
                    await self._clock.sleep(PAUSE_S)
        finally:
            self._probed.clear()

    async def _probe(self, partition: str) -> None:
        """Ask one partition until it is not silent any more."""
        claim, sent, refusals = CapacityClaim(), False, 0
        claim.metadata.name = f"capacity-probe-{self._rand.hexadecimal(24)}"
        spec = claim.spec
        spec.tenant_partition, spec.tenant, spec.namespace = self._tenant_partition, "system", "kube-system"
        spec.pod_name = claim.metadata.name
        try:
            while self._silence.is_silent(partition):
                if not spec.node_name:
                    spec.node_name = self._choose(partition)
                claims = self._claims_of(partition)
                if claims is None or not spec.node_name or refusals >= REFUSALS_MAX:
                    self._silence.forget(partition)
                    return
                sent = True
                try:
                    (outcome,) = await claims.batch_claim([claim], timeout_s=TIMEOUT_S)
                except StatusError as failure:
                    _log.debug("probe unanswered", extra={"resource_partition": partition, "cause": failure.message})
                    verdict = Verdict.UNKNOWN
                else:
                    verdict, _ = verdict_of(outcome)
                if verdict is Verdict.HELD:
                    self._silence.granted(partition)
                    return
                if verdict is not Verdict.UNKNOWN:
                    # No room, or no such node: nothing is held, and another node may have room.
                    refusals, spec.node_name = refusals + 1, ""
                await self._clock.sleep(PAUSE_S)
        finally:
            self._probed.discard(partition)
            if sent:
                self._releaser.owe(partition, ClaimRelease(pod_uid=claim.metadata.name, fact=ClaimRelease.ABSENT))

    def _choose(self, partition: str) -> str:
        nodes = self._nodes_of(partition)
        return self._rand.choice(nodes).name if nodes else ""
