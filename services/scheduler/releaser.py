"""Gives claims back, each on an irreversible fact.

A release that a resource partition did not acknowledge stays a debt, and is sent again until it is, as long as this
process lives and the partition exists. After that the partition's reconciler finds the claim: it asks the tenant
partition about every claim whose pod is bound elsewhere, gone, or unbound for long (``services/controllers``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim, ClaimOutcome, ClaimRelease
from services.base.clock import Clock
from services.base.tasks import Supervisor
from services.client.clientset import Outcome
from services.rpc.status import StatusError
from services.scheduler.inheritance import ListApi
from services.scheduler.metrics import RELEASES

_log = logging.getLogger(__name__)

BATCH = 512
RETRY_PAUSE_S = 1.0


class ClaimApi(ListApi, Protocol):
    """As much of ``services.client.clientset.Clientset.capacity_claims`` as a scheduler needs."""

    async def batch_claim(
        self, claims: Sequence[CapacityClaim], *, timeout_s: float | None = None
    ) -> Sequence[ClaimOutcome]: ...

    async def batch_release(
        self, releases: Sequence[ClaimRelease], *, timeout_s: float | None = None
    ) -> Sequence[Outcome]: ...


ClaimsOf = Callable[[str], ClaimApi | None]
"""The claims of a resource partition; None: it is not part of the cluster (any more)."""


class Releaser:
    """``owe`` and forget, or ``release`` and know that it was tried once."""

    def __init__(self, claims_of: ClaimsOf, *, clock: Clock, timeout_s: float) -> None:
        self._claims_of = claims_of
        self._clock = clock
        self._timeout_s = timeout_s
        # By resource partition and pod UID: a later fact about a pod replaces an earlier one.
        self._owed: dict[str, dict[str, ClaimRelease]] = {}
        # Who pays, per resource partition, while there is something to pay.
        self._payers: set[str] = set()
        self._tasks: Supervisor | None = None

    @property
    def owed(self) -> Mapping[str, int]:
        """Releases that are not acknowledged yet, per resource partition."""
        return {partition: len(owed) for partition, owed in self._owed.items()}

    def owe(self, partition: str, release: ClaimRelease) -> None:
        """Release soon."""
        self._owed.setdefault(partition, {})[release.pod_uid] = release
        self._pay(partition)

    async def release(self, partition: str, releases: Sequence[ClaimRelease]) -> None:
        """Release now; what is not acknowledged is owed."""
        for release in releases:
            self._owed.setdefault(partition, {})[release.pod_uid] = release
        if releases:
            await self._send(partition, releases)
            self._pay(partition)

    async def run(self) -> None:
        """Send what is owed until cancelled; each partition has a task of its own, and waits for no other."""
        try:
            async with Supervisor() as tasks:
                self._tasks = tasks
                for partition in list(self._owed):
                    self._pay(partition)
                await asyncio.Event().wait()
        finally:
            self._tasks = None
            self._payers.clear()

    def _pay(self, partition: str) -> None:
        if self._tasks is not None and partition in self._owed and partition not in self._payers:
            self._payers.add(partition)
            self._tasks.start(self._pay_all(partition), name=f"releases-{partition}")

    async def _pay_all(self, partition: str) -> None:
        try:
            while left := list(self._owed.get(partition, {}).values()):
                for start in range(0, len(left), BATCH):
                    if not await self._send(partition, left[start : start + BATCH]):
                        await self._clock.sleep(RETRY_PAUSE_S)
                        break
        finally:
            self._payers.discard(partition)

    async def _send(self, partition: str, releases: Sequence[ClaimRelease]) -> bool:
        """False: not worth sending more now."""
        claims = self._claims_of(partition)
        if claims is None:
            self._owed.pop(partition, None)
            return False
        try:
            outcomes = await claims.batch_release(releases, timeout_s=self._timeout_s)
        except StatusError as failure:
            _log.debug("claims not released", extra={"resource_partition": partition, "cause": failure.message})
            RELEASES.labels("unknown").inc(len(releases))
            return False
        done = [release for release, outcome in zip(releases, outcomes, strict=True) if outcome.status is None]
        RELEASES.labels("released").inc(len(done))
        RELEASES.labels("unknown").inc(len(releases) - len(done))
        self._paid(partition, done)
        return len(done) == len(releases)

    def _paid(self, partition: str, releases: Sequence[ClaimRelease]) -> None:
        owed = self._owed.get(partition, {})
        for release in releases:
            if owed.get(release.pod_uid) is release:
                del owed[release.pod_uid]
        if not owed:
            self._owed.pop(partition, None)
