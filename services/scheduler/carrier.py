"""Carries attempts out: claim, bind, and for each the definite answer what became of it.

::

    plan ── assume ──▶ claim ──HELD──▶ bind ──▶ bound
                        │  │            │ refused, node gone, pod gone
                REFUSED │  │ unanswered ▼
                        │  └─────────▶ revoke: what is irreversibly so? ──▶ release ──▶ plan again
                        ▼
                   plan again

Nothing is ever decided by time alone. A claim or bind whose answer was lost is sent again as it is (both are
idempotent) while its pod is wanted and its node a candidate; those of a partition that has granted no claim for long
are none (``silence``). After that, and after every refused bind, the tenant
partition is asked by BatchRevokeBind, however long it is out of reach: its answer is a fact that cannot become untrue,
and the claim is released on that fact and on nothing else. So is a pod replanned: while it is in doubt whether a bind
may still arrive, it counts on its node.

What this scheduler claims it binds to, releases, or hands to the reconciler of the resource partition: claims of a
process that was killed, of a leader that was deposed, and of a claim request that arrived after its release (it was
fenced: the epoch that it names can no longer bind).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from services.api.pb.ursa.core.v1.pod_service_pb2 import PodRevocation, RevocationOutcome
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import ClaimOutcome, ClaimRelease
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.timeline import OFF, PodTimeline, Stage
from services.rpc.status import StatusError
from services.scheduler.attempt import Attempt
from services.scheduler.binder import BindApi, Binder, Fate
from services.scheduler.claims import Claims, Fact, Verdict, fact_of, release_of, verdict_of
from services.scheduler.evictor import EvictApi
from services.scheduler.metrics import CLAIM_OUTCOMES, CLAIM_REFUSALS, FACTS
from services.scheduler.releaser import ClaimsOf, Releaser
from services.scheduler.silence import Silence, Wait

_log = logging.getLogger(__name__)

RETRY_INITIAL_S = 0.1
RETRY_MAX_S = 5.0


class RevokeApi(Protocol):
    """As much of ``services.client.clientset.PodClient`` as fencing needs."""

    async def batch_revoke_bind(
        self, revocations: Sequence[PodRevocation], *, timeout_s: float | None = None
    ) -> Sequence[RevocationOutcome]: ...


class PodApi(BindApi, EvictApi, Protocol):
    """Binding, fencing and evicting."""


class Keeper(Protocol):
    """Who keeps the attempts (``SchedulerLoop``): asked about them, and told of each what became of it, once."""

    def is_current(self, attempt: Attempt) -> bool:
        """Its pod still waits for it: neither the watch nor another answer has settled it."""
        ...

    def is_usable(self, attempt: Attempt) -> bool:
        """Its node is still a candidate."""
        ...

    def adopt(self, attempt: Attempt, node_name: str) -> bool:
        """The pod's claim is on another node of the partition: move the attempt there. False: not possible."""
        ...

    def bound(self, attempts: Sequence[Attempt]) -> None: ...

    def promised(self, attempts: Sequence[Attempt]) -> None:
        """They hold a promise; ``carry`` them again when it may have come true."""
        ...

    def lost(self, attempts: Sequence[Attempt]) -> None:
        """Nothing is held: the node has no room, or is not the one that was meant."""
        ...

    def refused(self, attempts: Sequence[Attempt]) -> None:
        """Nothing is held, for a reason that no other node will change."""
        ...

    def revoked(self, attempt: Attempt, epoch: int) -> None:
        """Unbound, fenced, and its claim released: the pod has bind epoch ``epoch`` now."""
        ...

    def over(self, attempt: Attempt) -> None:
        """The pod is gone, finished, or bound elsewhere."""
        ...


class Slot:
    """Leave to have a batch in flight; given back once."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()


class Carrier:
    """``carry`` returns when every attempt of a batch has an outcome or holds a promise."""

    def __init__(
        self,
        keeper: Keeper,
        claims: Claims,
        claims_of: ClaimsOf,
        binder: Binder,
        pods: RevokeApi,
        releaser: Releaser,
        silence: Silence,
        *,
        clock: Clock,
        rand: Rand,
        timeout_s: float,
        timeline: PodTimeline = OFF,
    ) -> None:
        self._keeper = keeper
        self._timeline = timeline
        self._claims = claims
        self._claims_of = claims_of
        self._binder = binder
        self._pods = pods
        self._releaser = releaser
        self._silence = silence
        self._clock = clock
        self._rand = rand
        self._timeout_s = timeout_s

    async def carry(self, partition: str, attempts: Sequence[Attempt], slot: Slot) -> None:
        """Attempts on nodes of one resource partition. ``slot`` is given back as soon as an answer is missing."""
        backoff = self._backoff()
        left = [attempt for attempt in attempts if self._keeper.is_current(attempt)]
        waiting: Wait | None = None
        try:
            while left:
                if self._silence.is_silent(partition):
                    self._silence.end(waiting)
                    slot.release()
                    await self.establish(left)
                    return
                waiting = waiting or self._silence.begin(partition)
                held, doubtful, unanswered = await self._claim(partition, left)
                if held or doubtful or not unanswered:
                    # What follows waits for the tenant partition.
                    self._silence.end(waiting)
                    waiting = None
                if held:
                    await self._bind(held, slot)
                if doubtful or unanswered:
                    slot.release()
                if doubtful:
                    await self.establish(doubtful)
                left = unanswered
                if left:
                    await self._clock.sleep(self._silence.patience_s(partition, backoff.next()))
                    left = await self._still_wanted(left)
        finally:
            self._silence.end(waiting)

    async def _claim(
        self, partition: str, attempts: Sequence[Attempt]
    ) -> tuple[list[Attempt], list[Attempt], list[Attempt]]:
        """What is held, what is in doubt, and what was not answered."""
        claims = self._claims_of(partition)
        if claims is None:
            # A partition that is no part of the cluster any more holds nothing that could be bound to.
            return [], list(attempts), []
        try:
            messages = [self._claims.of(attempt) for attempt in attempts]
            timeout_s = self._silence.patience_s(partition, self._timeout_s)
            outcomes = await claims.batch_claim(messages, timeout_s=timeout_s)
        except StatusError as failure:
            _log.warning(
                "a batch of claims failed",
                extra={"resource_partition": partition, "pods": len(attempts), "cause": failure.message},
            )
            CLAIM_OUTCOMES.labels(Verdict.UNKNOWN.value).inc(len(attempts))
            return [], [], list(attempts)
        return self._judge(partition, attempts, outcomes)

    def _judge(
        self, partition: str, attempts: Sequence[Attempt], outcomes: Sequence[ClaimOutcome]
    ) -> tuple[list[Attempt], list[Attempt], list[Attempt]]:
        held: list[Attempt] = []
        doubtful: list[Attempt] = []
        unanswered: list[Attempt] = []
        others: dict[Verdict, list[Attempt]] = {}
        counts: Counter[Verdict] = Counter()
        for attempt, outcome in zip(attempts, outcomes, strict=True):
            if outcome.state == ClaimOutcome.HELD:
                counts[Verdict.HELD] += 1
                (held if self._keeper.is_current(attempt) else doubtful).append(attempt)
                continue
            verdict, error = verdict_of(outcome)
            counts[verdict] += 1
            if error is not None and verdict is not Verdict.UNKNOWN:
                CLAIM_REFUSALS.labels(error.reason).inc()
            if verdict is Verdict.UNKNOWN:
                unanswered.append(attempt)
            elif verdict is Verdict.HELD_ELSEWHERE:
                self._elsewhere(partition, attempt, outcome, held, unanswered, doubtful)
            elif verdict is Verdict.PROMISED and not self._keeper.is_current(attempt):
                doubtful.append(attempt)
            else:
                others.setdefault(verdict, []).append(attempt)
        for verdict, count in counts.items():
            CLAIM_OUTCOMES.labels(verdict.value).inc(count)
        if counts[Verdict.HELD] or counts[Verdict.PROMISED]:
            self._silence.granted(partition)
        self._tell(others)
        return held, doubtful, unanswered

    def _tell(self, others: dict[Verdict, list[Attempt]]) -> None:
        if promised := others.get(Verdict.PROMISED):
            self._keeper.promised(promised)
        if lost := others.get(Verdict.LOST):
            self._keeper.lost(lost)
        if refused := others.get(Verdict.REFUSED):
            self._keeper.refused(refused)

    def _elsewhere(
        self,
        partition: str,
        attempt: Attempt,
        outcome: ClaimOutcome,
        held: list[Attempt],
        unanswered: list[Attempt],
        doubtful: list[Attempt],
    ) -> None:
        """The pod has a claim on another node: this scheduler's earlier one, or that of another one of its kind."""
        if not self._keeper.is_current(attempt):
            doubtful.append(attempt)
        elif outcome.bind_epoch < attempt.epoch:
            # The pod was unbound at a later epoch: that claim's bind can never commit. Release it, and claim again.
            ended = ClaimRelease(pod_uid=attempt.pod.uid, fact=ClaimRelease.REVOKED, bind_epoch=attempt.epoch - 1)
            self._releaser.owe(partition, ended)
            unanswered.append(attempt)
        elif outcome.bind_epoch == attempt.epoch and self._keeper.adopt(attempt, outcome.node_name):
            # Claim there rather than bind at once: it may be a promise, and what it replaces is not known here.
            unanswered.append(attempt)
        else:
            doubtful.append(attempt)

    async def _still_wanted(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Those to be sent again; the others are fenced and released, as their claims may have been made."""
        left = [a for a in attempts if self._keeper.is_current(a) and self._keeper.is_usable(a)]
        if len(left) < len(attempts):
            kept = set(left)
            await self.establish([attempt for attempt in attempts if attempt not in kept])
        return left

    async def _bind(self, attempts: Sequence[Attempt], slot: Slot) -> None:
        for attempt in attempts if self._timeline.on else ():
            self._timeline.mark(Stage.CLAIMED, attempt.pod.uid, str(attempt.node))
        backoff = self._backoff()
        left = list(attempts)
        while left:
            fates = await self._binder.send(left)
            if bound := [attempt for attempt, fate in zip(left, fates, strict=True) if fate is Fate.BOUND]:
                self._keeper.bound(bound)
            doubtful = [attempt for attempt, fate in zip(left, fates, strict=True) if fate is Fate.REFUSED]
            left = [attempt for attempt, fate in zip(left, fates, strict=True) if fate is Fate.UNKNOWN]
            if doubtful or left:
                slot.release()
            if doubtful:
                await self.establish(doubtful)
            if left:
                await self._clock.sleep(backoff.next())
                left = await self._still_wanted(left)

    async def establish(self, attempts: Sequence[Attempt]) -> None:
        """Ask the tenant partition what is irreversibly so, release on it, and tell; until all is known."""
        backoff = self._backoff()
        left = list(attempts)
        while left:
            try:
                outcomes = await self._pods.batch_revoke_bind(
                    [_revocation(attempt) for attempt in left], timeout_s=self._timeout_s
                )
            except StatusError as failure:
                _log.warning("binds in doubt", extra={"pods": len(left), "cause": failure.message})
            else:
                left = await self._act(left, outcomes)
            if left:
                await self._clock.sleep(backoff.next())

    async def _act(self, attempts: Sequence[Attempt], outcomes: Sequence[RevocationOutcome]) -> list[Attempt]:
        """Release and tell; returns the attempts about which nothing is known yet."""
        known: dict[str, list[tuple[Attempt, Fact, int]]] = {}
        unknown: list[Attempt] = []
        releases: dict[str, list[ClaimRelease]] = {}
        for attempt, outcome in zip(attempts, outcomes, strict=True):
            fact = fact_of(outcome, attempt.node)
            FACTS.labels(fact.value).inc()
            if fact is Fact.UNKNOWN:
                unknown.append(attempt)
                continue
            partition = attempt.node.partition
            release = release_of(attempt.pod.uid, fact, outcome, partition)
            if release is not None:
                releases.setdefault(partition, []).append(release)
            known.setdefault(partition, []).append((attempt, fact, outcome.bind_epoch))
        async with asyncio.TaskGroup() as group:
            # Pods of one partition do not wait for the releases of another.
            for partition, settled in known.items():
                group.create_task(self._end(partition, releases.get(partition, ()), settled))
        return unknown

    async def _end(
        self, partition: str, releases: Sequence[ClaimRelease], known: Sequence[tuple[Attempt, Fact, int]]
    ) -> None:
        """Release before the pods are planned again, as their next claims would meet these; but not where nobody
        answers and nothing is planned."""
        if self._silence.is_silent(partition):
            for release in releases:
                self._releaser.owe(partition, release)
        else:
            await self._releaser.release(partition, releases)
        self._settle(known)

    def _settle(self, known: Iterable[tuple[Attempt, Fact, int]]) -> None:
        for attempt, fact, epoch in known:
            if fact is Fact.REVOKED:
                self._keeper.revoked(attempt, epoch)
            elif fact is Fact.BOUND_HERE:
                self._keeper.bound([attempt])
            else:
                self._keeper.over(attempt)

    def _backoff(self) -> Backoff:
        return Backoff(self._rand, initial_s=RETRY_INITIAL_S, maximum_s=RETRY_MAX_S)


def _revocation(attempt: Attempt) -> PodRevocation:
    pod = attempt.pod
    return PodRevocation(
        tenant=pod.tenant, namespace=pod.namespace, name=pod.name, uid=pod.uid, bind_epoch=attempt.epoch
    )
