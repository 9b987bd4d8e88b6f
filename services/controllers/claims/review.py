"""The loop of one tenant partition: takes questions from its book, asks them in batches, releases on facts.

A batch is what gathered while the last one was asked; no timer stands before it. A partition that does not answer is
asked again after growing pauses; nothing is released meanwhile, and no other partition's loop notices.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import grpc

from services.api.pb.ursa.core.v1.pod_service_pb2 import PodRevocation, RevocationOutcome
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import ClaimRelease
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor, first_of
from services.client.calls import is_retryable
from services.client.clientset import Outcome
from services.controllers.claims import metrics
from services.controllers.claims.book import Cause, ClaimBook, Question
from services.controllers.claims.facts import Stay, judge, revocation
from services.controllers.claims.lookup import Lookup, PodReads
from services.controllers.config import ClaimsConfig
from services.rpc.status import StatusError

T = TypeVar("T")

_log = logging.getLogger(__name__)


class TenantPods(PodReads, Protocol):
    """The tenant partition, as far as claims go. Raises ``StatusError``."""

    async def batch_revoke_bind(
        self, revocations: Iterable[PodRevocation], *, timeout_s: float | None = None
    ) -> Sequence[RevocationOutcome]: ...


class Claims(Protocol):
    """The resource partition's claims. Raises ``StatusError``."""

    async def batch_release(
        self, releases: Iterable[ClaimRelease], *, timeout_s: float | None = None
    ) -> Sequence[Outcome]: ...


class TenantReview:
    """``wake`` after every change of ``book``; ``rebind`` when the partition has other endpoints."""

    def __init__(
        self,
        partition: str,
        resource_partition: str,
        book: ClaimBook,
        pods: TenantPods,
        claims: Claims,
        *,
        config: ClaimsConfig,
        clock: Clock,
        rand: Rand,
    ) -> None:
        self._pods = pods
        self._partition = partition
        self._resource_partition = resource_partition
        self._book = book
        self._claims = claims
        self._config = config
        self._clock = clock
        self._rand = rand
        self._wake = asyncio.Event()
        self._lookup = Lookup(
            pods,
            resource_partition,
            book,
            found=self._wake.set,
            backoff_max_s=config.backoff_max_s,
            clock=clock,
            rand=rand,
        )

    def wake(self) -> None:
        self._wake.set()
        self._lookup.wake()

    def rebind(self, pods: TenantPods) -> None:
        self._pods = self._lookup.pods = pods

    async def run(self) -> None:
        """Until cancelled."""
        async with Supervisor() as tasks:
            tasks.start(self._lookup.run(), name=f"claims-{self._partition}-pods")
            for number in range(1, self._config.batches_in_flight):
                tasks.start(self._lane(self._config.batch_claims), name=f"claims-{self._partition}-{number}")
            await self._lane(1)

    async def _lane(self, at_least: int) -> None:
        """One batch at a time. The first lane takes what there is, the others only full batches: with little to do,
        few small calls; with much, several large ones at a time."""
        backoff = Backoff(self._rand, initial_s=0.1, maximum_s=self._config.backoff_max_s)
        while True:
            questions = await self._next(at_least)
            try:
                outcomes = await self._ask(questions)
            except StatusError as failure:
                self._book.put_back(questions)
                metrics.FAILURES.labels(self._partition).inc(len(questions))
                pause = backoff.next()
                _log.info(
                    "claims are kept: their tenant partition does not answer",
                    extra={"tenant_partition": self._partition, "claims": len(questions), "cause": failure.message},
                )
                await self._clock.sleep(pause)
                continue
            backoff.reset()
            await self._settle(questions, outcomes)

    async def _next(self, at_least: int) -> list[Question]:
        while True:
            now = self._clock.monotonic()
            if self._book.due >= at_least or at_least == 1:
                questions = self._book.take(self._config.batch_claims, now)
                if questions:
                    return questions
            self._wake.clear()
            next_at = self._book.next_at() if at_least == 1 else None
            if next_at is None:
                await self._wake.wait()
            else:
                await first_of(self._wake.wait(), self._clock.sleep(max(0.0, next_at - now)))

    async def _ask(self, questions: Sequence[Question]) -> Sequence[RevocationOutcome]:
        for cause, count in Counter(question.cause for question in questions).items():
            metrics.QUESTIONS.labels(self._partition, cause.value).inc(count)
        asked = [revocation(question.claim) for question in questions]
        outcomes = await self._pods.batch_revoke_bind(asked, timeout_s=self._config.call_timeout_s)
        return _complete(outcomes, len(questions))

    async def _settle(self, questions: Sequence[Question], outcomes: Sequence[RevocationOutcome]) -> None:
        releasing: list[tuple[Question, ClaimRelease]] = []
        silent = 0
        for question, outcome in zip(questions, outcomes, strict=True):
            match judge(question.claim, outcome, self._resource_partition):
                case Stay.BOUND_HERE:
                    self._book.answered(question.claim.uid, self._clock.monotonic())
                case Stay.NOT_KNOWN:
                    silent += 1
                    self._book.unanswered(question, self._clock.monotonic())
                case ClaimRelease() as release:
                    releasing.append((question, release))
        if silent:
            metrics.FAILURES.labels(self._partition).inc(silent)
            _log.info("no fact about claims yet", extra={"tenant_partition": self._partition, "claims": silent})
        if releasing:
            await self._release(releasing)

    async def _release(self, releasing: Sequence[tuple[Question, ClaimRelease]]) -> None:
        """Tell the resource partition, however long it is out of reach: a fact stays one."""
        outcomes = await self._send([release for _, release in releasing])
        now = self._clock.monotonic()
        released: list[tuple[Question, ClaimRelease]] = []
        for (question, release), outcome in zip(releasing, outcomes, strict=True):
            if outcome.status is not None and _may_succeed(outcome.status):
                self._book.unanswered(question, now)
                continue
            # Released, or refused for good (a later claim of the pod is there): reviewed again if it stays.
            self._book.answered(question.claim.uid, now)
            if outcome.status is None:
                released.append((question, release))
        self._count(released, now)

    async def _send(self, releases: Sequence[ClaimRelease]) -> Sequence[Outcome]:
        backoff = Backoff(self._rand, initial_s=0.05, maximum_s=self._config.backoff_max_s)
        while True:
            try:
                answer = await self._claims.batch_release(releases, timeout_s=self._config.call_timeout_s)
                return _complete(answer, len(releases))
            except StatusError as failure:
                _log.info("claims are not released yet", extra={"claims": len(releases), "cause": failure.message})
            await self._clock.sleep(backoff.next())

    def _count(self, released: Sequence[tuple[Question, ClaimRelease]], now: float) -> None:
        for fact, count in Counter(release.fact for _, release in released).items():
            metrics.RELEASES.labels(self._partition, ClaimRelease.Fact.Name(fact)).inc(count)
        leaks = [question for question, _ in released if question.cause is Cause.REVIEW]
        for question, _ in released:
            if question.cause is Cause.HINT:
                metrics.RELEASE_SECONDS.observe(now - question.since)
        if leaks:
            metrics.LEAKS.labels(self._partition).inc(len(leaks))
            _log.warning(
                "released claims that no claimant came back for",
                extra={"tenant_partition": self._partition, "claims": len(leaks), "first": leaks[0].claim.uid},
            )


def _may_succeed(error: StatusError) -> bool:
    """The same release may be taken later: nobody could say, or the claim moved meanwhile."""
    return is_retryable(error) or error.code is grpc.StatusCode.ABORTED


def _complete(outcomes: Sequence[T], wanted: int) -> Sequence[T]:
    """Raises ``StatusError``: nobody can tell whose these outcomes are, so they are none."""
    if len(outcomes) != wanted:
        raise StatusError(grpc.StatusCode.INTERNAL, "InternalError", f"{len(outcomes)} outcomes to {wanted} items")
    return outcomes
