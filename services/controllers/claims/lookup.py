"""After a take-over: what became of the pods of claims that nobody has bound yet, while nobody looked?

To ask about such a claim would revoke the bind that may be under way. So its pod is read first, consistently, and only
one that is gone, has ended or is elsewhere is asked about at once; the others are reviewed in their time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import grpc

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.calls import is_retryable
from services.controllers.claims.book import ClaimBook
from services.controllers.claims.facts import Claim
from services.placement.pods import is_terminal
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

READS_AT_ONCE = 16


class PodReads(Protocol):
    """As much of the tenant partition's pod client as this needs."""

    async def get(
        self, name: str, *, tenant: str = "", namespace: str = "", resource_version: int | None = None
    ) -> Pod: ...


class Lookup:
    """``run`` reads the pods of what its book is not sure of, whenever it was woken. ``found`` is called when
    there are new questions. ``pods`` may be replaced while it runs (other endpoints)."""

    def __init__(
        self,
        pods: PodReads,
        resource_partition: str,
        book: ClaimBook,
        *,
        found: Callable[[], None],
        backoff_max_s: float,
        clock: Clock,
        rand: Rand,
    ) -> None:
        self.pods = pods
        self._resource_partition = resource_partition
        self._book = book
        self._backoff_max_s = backoff_max_s
        self._clock = clock
        self._rand = rand
        self._wake = asyncio.Event()
        self._found = found

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        backoff = Backoff(self._rand, initial_s=0.1, maximum_s=self._backoff_max_s)
        while True:
            claims = self._book.take_unsure(READS_AT_ONCE)
            if not claims:
                self._wake.clear()
                await self._wake.wait()
            elif await self._read(claims):
                backoff.reset()
            else:
                await self._clock.sleep(backoff.next())

    async def _read(self, claims: Sequence[Claim]) -> bool:
        """False: the partition did not answer for all of them."""
        answers = await asyncio.gather(*(self._is_over(claim) for claim in claims))
        now = self._clock.monotonic()
        for claim, is_over in zip(claims, answers, strict=True):
            if is_over:
                self._book.found_over(claim, now)
        if any(answers):
            self._found()
        silent = [claim for claim, is_over in zip(claims, answers, strict=True) if is_over is None]
        self._book.still_unsure(silent)
        return not silent

    async def _is_over(self, claim: Claim) -> bool | None:
        """None: nobody could tell."""
        try:
            pod = await self.pods.get(claim.pod, tenant=claim.tenant, namespace=claim.namespace)
        except StatusError as failure:
            if failure.code is grpc.StatusCode.NOT_FOUND:
                return True
            _log.info("a claim's pod could not be read", extra={"claim": claim.uid, "cause": failure.message})
            return None if is_retryable(failure) else False
        if pod.metadata.uid != claim.uid or is_terminal(pod):
            return True
        where = (pod.spec.resource_partition, pod.spec.node_name)
        return bool(pod.spec.node_name) and where != (self._resource_partition, claim.node)
