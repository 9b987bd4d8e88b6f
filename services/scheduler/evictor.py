"""Carries preemptions out: victims are told, deleted in batches, and their claims released as soon as they are gone.

Deleting is safe to repeat (the victim's UID is a precondition), so an answer that is lost means once more. A victim
that ends gracefully gives its room back when it is gone: then this scheduler asks the tenant partition, as it does
before every release; where this process is not there any more, the reconciler does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

import grpc

from services.api.pb.ursa.core.v1.pod_service_pb2 import PodRevocation, RevocationOutcome
from services.api.pb.ursa.meta.v1.meta_pb2 import DeleteRequest, Preconditions
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import ClaimRelease
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import first_of
from services.client.calls import is_retryable
from services.client.clientset import Outcome
from services.rpc.status import StatusError
from services.scheduler.claims import Fact, fact_of, release_of
from services.scheduler.disruption import MarkApi, Marker, Victim
from services.scheduler.metrics import PREEMPTION_VICTIMS
from services.scheduler.releaser import Releaser
from services.scheduler.worklist import Worklist

_log = logging.getLogger(__name__)

BATCH = 256


class EvictApi(MarkApi, Protocol):
    """As much of ``services.client.clientset.PodClient`` as evicting needs."""

    async def batch_delete(
        self, items: Iterable[DeleteRequest], *, timeout_s: float | None = None
    ) -> Sequence[Outcome]: ...

    async def batch_revoke_bind(
        self, revocations: Sequence[PodRevocation], *, timeout_s: float | None = None
    ) -> Sequence[RevocationOutcome]: ...


class Evictor:
    """``evict`` and ``ended`` never wait; ``run`` does the work, in batches."""

    def __init__(self, pods: EvictApi, releaser: Releaser, *, clock: Clock, rand: Rand, timeout_s: float) -> None:
        self._pods = pods
        self._releaser = releaser
        self._clock = clock
        self._timeout_s = timeout_s
        self._marker = Marker(pods, clock=clock, timeout_s=timeout_s)
        self._to_delete: Worklist[Victim] = Worklist(rand)
        self._to_confirm: Worklist[Victim] = Worklist(rand)
        # Being deleted, or ending gracefully.
        self._going: dict[str, Victim] = {}
        self._deletions = asyncio.Event()
        self._confirmations = asyncio.Event()

    def evict(self, victims: Iterable[Victim]) -> list[Victim]:
        """Delete them soon, unless they are going already; returns those that are to be deleted."""
        fresh = []
        for victim in victims:
            if victim.pod.uid in self._going:
                continue
            self._going[victim.pod.uid] = victim
            if not victim.pod.kind.ending:
                self._to_delete.add(victim.pod.uid, victim)
                fresh.append(victim)
        if fresh:
            PREEMPTION_VICTIMS.observe(len(fresh))
            self._deletions.set()
        return fresh

    def ended(self, uids: Iterable[str]) -> None:
        """The watch shows these pods gone or finished: if they are victims, make sure, and release their claims."""
        for uid in uids:
            victim = self._going.get(uid)
            if victim is not None and uid not in self._to_delete:
                self._confirm_soon(victim)

    def forget(self) -> None:
        """Somebody else is the leader now, and finds the victims in the ledgers."""
        self._to_delete.clear()
        self._to_confirm.clear()
        self._going.clear()
        self._marker.clear()

    async def run(self) -> None:
        """Work until cancelled; neither of the two waits for the other."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._work(self._to_delete, self._deletions, self._delete))
            group.create_task(self._work(self._to_confirm, self._confirmations, self._confirm))

    async def _work(
        self, wanted: Worklist[Victim], wake: asyncio.Event, step: Callable[[list[Victim]], Awaitable[None]]
    ) -> None:
        while True:
            batch = wanted.take(self._clock.monotonic(), BATCH)
            if batch:
                await step(batch)
                continue
            wake.clear()
            pause_s = wanted.next_in(self._clock.monotonic())
            if pause_s is None:
                await wake.wait()
            else:
                await first_of(self._clock.sleep(pause_s), wake.wait())

    def _confirm_soon(self, victim: Victim) -> None:
        self._to_confirm.add(victim.pod.uid, victim)
        self._confirmations.set()

    async def _delete(self, wanted: Sequence[Victim]) -> None:
        batch = await self._marker.mark(wanted)
        if len(batch) < len(wanted):
            told = {victim.pod.uid for victim in batch}
            self._again(self._to_delete, [victim for victim in wanted if victim.pod.uid not in told])
        if not batch:
            return
        try:
            outcomes = await self._pods.batch_delete([_deletion(victim) for victim in batch], timeout_s=self._timeout_s)
        except StatusError as failure:
            _log.warning("victims not deleted", extra={"pods": len(batch), "cause": failure.message})
            self._again(self._to_delete, batch)
            return
        gone: list[Victim] = []
        for victim, outcome in zip(batch, outcomes, strict=True):
            error = outcome.status
            if error is not None and is_retryable(error):
                self._again(self._to_delete, [victim])
                continue
            self._to_delete.done(victim.pod.uid)
            self._marker.forget(victim.pod.uid)
            absent = error is not None and error.code is grpc.StatusCode.NOT_FOUND
            if absent or (error is None and not outcome.resource_version):
                gone.append(victim)
            elif error is not None:
                # Another pod of that name, or not to be deleted by us: what is so is found out.
                _log.warning("victim not deleted", extra={"pod": str(victim.pod), "cause": error.message})
                self._confirm_soon(victim)
        self._release([(v, ClaimRelease(pod_uid=v.pod.uid, fact=ClaimRelease.ABSENT)) for v in gone])

    async def _confirm(self, batch: Sequence[Victim]) -> None:
        try:
            outcomes = await self._pods.batch_revoke_bind([_question(v) for v in batch], timeout_s=self._timeout_s)
        except StatusError as failure:
            _log.warning("ends of victims in doubt", extra={"pods": len(batch), "cause": failure.message})
            self._again(self._to_confirm, batch)
            return
        releases: list[tuple[Victim, ClaimRelease]] = []
        for victim, outcome in zip(batch, outcomes, strict=True):
            fact = fact_of(outcome, victim.node)
            if fact is Fact.UNKNOWN:
                self._again(self._to_confirm, [victim])
                continue
            self._to_confirm.done(victim.pod.uid)
            release = release_of(victim.pod.uid, fact, outcome, victim.node.partition)
            if release is not None:
                releases.append((victim, release))
            else:
                # Still there: whoever tries again may delete it again.
                self._going.pop(victim.pod.uid, None)
        self._release(releases)

    def _again(self, wanted: Worklist[Victim], victims: Iterable[Victim]) -> None:
        now = self._clock.monotonic()
        for victim in victims:
            wanted.failed(victim.pod.uid, now)

    def _release(self, releases: Sequence[tuple[Victim, ClaimRelease]]) -> None:
        by_partition: dict[str, list[ClaimRelease]] = {}
        for victim, release in releases:
            self._going.pop(victim.pod.uid, None)
            self._to_confirm.done(victim.pod.uid)
            by_partition.setdefault(victim.node.partition, []).append(release)
        for partition, ended in by_partition.items():
            for release in ended:
                self._releaser.owe(partition, release)


def _deletion(victim: Victim) -> DeleteRequest:
    pod = victim.pod
    return DeleteRequest(
        tenant=pod.tenant, namespace=pod.namespace, name=pod.name, preconditions=Preconditions(uid=pod.uid)
    )


def _question(victim: Victim) -> PodRevocation:
    # A bound pod has no epoch to raise; the question is whether it is still there.
    pod = victim.pod
    return PodRevocation(tenant=pod.tenant, namespace=pod.namespace, name=pod.name, uid=pod.uid)
