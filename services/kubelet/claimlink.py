"""Claims capacity of one resource partition for the pods that were bound to its nodes, before they are admitted.

A pod that a person or a controller binds by hand, or creates with a node name, passed no scheduler, and what a binding
says of a claim is somebody's word: only the ledger's answer lets a pod in, so that nothing takes room past it. All
nodes of a host share the batches; a pod that its scheduler claimed for costs the partition 0.05 ms. A claim is
idempotent by the pod's UID: it is sent again after a lost answer and after a restart. While the partition
cannot be reached pods wait; only what the ledger refuses is refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim, ClaimOutcome, ClaimRelease
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.pace import Pace
from services.base.rand import Rand
from services.client.partitions import Connection
from services.kubelet import metrics
from services.kubelet.claiming import REFUSALS
from services.placement.ledger import HELD_ELSEWHERE
from services.rpc.status import StatusError, from_status, internal

_log = logging.getLogger(__name__)

BATCH_MAX = 500
# So many pods do not wait for more to come.
BATCH_FULL = 64
RETRY_INITIAL_S, RETRY_MAX_S = 0.1, 5.0
# What cannot be decided yet (the node is not registered, a claim elsewhere has not ended) is asked again after this.
DEFER_S = 2.0


class Claimant(Protocol):
    """Whose pods these are."""

    def claim_of(self, uid: str) -> CapacityClaim | None:
        """The claim to make now; None: the pod needs none any more."""
        ...

    def claim_answered(self, uid: str, refusal: StatusError | None) -> None:
        """None: the capacity is held."""
        ...


class ClaimLink:
    """``run`` sends what ``claim`` was called for, a batch after the other.

    ``gather_s``: a batch begins so long after the one before, unless it is large: what comes alone goes at once.
    """

    def __init__(
        self, connection: Connection, owner: Claimant, clock: Clock, rand: Rand, *, gather_s: float = 0.0
    ) -> None:
        self.name = connection.name
        self._connection = connection
        self._owner = owner
        self._clock = clock
        self._rand = rand
        self._pace = Pace(clock, gather_s)
        self._wanted: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._deferred: dict[str, None] = {}
        self._deferred_wake = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Pods whose claim is not under way."""
        return len(self._wanted) + len(self._deferred)

    def claim(self, uid: str) -> None:
        """Claim for the pod soon."""
        self._wanted[uid] = None
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._claim_all(), name=f"claims-{self.name}")
            group.create_task(self._take_up_deferred(), name=f"claim-retries-{self.name}")

    async def _claim_all(self) -> None:
        backoff = Backoff(self._rand, initial_s=RETRY_INITIAL_S, maximum_s=RETRY_MAX_S)
        while True:
            await self._wake.wait()
            await self._pace.turn(full=len(self._wanted) >= BATCH_FULL)
            batch = self._next_batch()
            if not batch:
                self._wake.clear()
                continue
            try:
                outcomes = await self._send(batch)
            except StatusError as error:
                metrics.CLAIMS.labels(self.name, "unanswered").inc(len(batch))
                _log.warning("pods wait for their claims", extra={"partition": self.name, "cause": error.message})
                for claim in batch:
                    self.claim(claim.metadata.name)
                await self._clock.sleep(backoff.next())
                continue
            backoff.reset()
            await self._settle(batch, outcomes)

    def _next_batch(self) -> list[CapacityClaim]:
        batch: list[CapacityClaim] = []
        while self._wanted and len(batch) < BATCH_MAX:
            uid = next(iter(self._wanted))
            del self._wanted[uid]
            claim = self._owner.claim_of(uid)
            if claim is not None:
                batch.append(claim)
        return batch

    async def _send(self, batch: Sequence[CapacityClaim]) -> Sequence[ClaimOutcome]:
        outcomes = await self._connection.clientset.capacity_claims.batch_claim(batch)
        if len(outcomes) != len(batch):
            raise internal(f"{len(outcomes)} outcomes for {len(batch)} claims")
        return outcomes

    async def _settle(self, batch: Sequence[CapacityClaim], outcomes: Sequence[ClaimOutcome]) -> None:
        elsewhere: list[CapacityClaim] = []
        held = 0
        for claim, outcome in zip(batch, outcomes, strict=True):
            uid = claim.metadata.name
            if outcome.state == ClaimOutcome.HELD:
                held += 1
                self._owner.claim_answered(uid, None)
                continue
            refused = outcome.state == ClaimOutcome.REFUSED
            error = from_status(outcome.status)
            if refused and error.reason in REFUSALS:
                metrics.CLAIMS.labels(self.name, error.reason).inc()
                self._owner.claim_answered(uid, error)
                continue
            metrics.CLAIMS.labels(self.name, "deferred").inc()
            _log.info("a claim waits", extra={"partition": self.name, "uid": uid, "cause": error.message})
            if refused and error.reason == HELD_ELSEWHERE:
                elsewhere.append(claim)
            self._deferred[uid] = None
            self._deferred_wake.set()
        metrics.CLAIMS.labels(self.name, "held").inc(held)
        if elsewhere:
            await self._release_elsewhere(elsewhere)

    async def _release_elsewhere(self, claims: Sequence[CapacityClaim]) -> None:
        """A scheduler claimed another node for a pod that is bound to this one for good: that claim has ended."""
        releases = [
            ClaimRelease(pod_uid=claim.metadata.name, fact=ClaimRelease.BOUND_ELSEWHERE, node_name=claim.spec.node_name)
            for claim in claims
        ]
        try:
            await self._connection.clientset.capacity_claims.batch_release(releases)
        except StatusError as error:
            _log.info("claims on other nodes stay for now", extra={"partition": self.name, "cause": error.message})

    async def _take_up_deferred(self) -> None:
        while True:
            await self._deferred_wake.wait()
            self._deferred_wake.clear()
            await self._clock.sleep(self._rand.jitter(DEFER_S, 0.5))
            deferred, self._deferred = self._deferred, {}
            for uid in deferred:
                self.claim(uid)
