"""Carries preemptions out: victims are told, deleted in batches, and their claims released as soon as they are gone.

Deleting is safe to repeat (the victim's UID is a precondition), so an answer that is lost means once more. A victim
that ends gracefully gives its room back when it is gone: then this scheduler asks the tenant partition, as it does
before every release; where this process is not there any more, the reconciler does.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

import grpc

from services.api.pb.ursa.core.v1.pod_service_pb2 import PodRevocation, RevocationOutcome
from services.api.pb.ursa.meta.v1.meta_pb2 import DeleteRequest, Preconditions
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import ClaimRelease
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.calls import is_retryable
from services.client.clientset import Outcome
from services.rpc.status import StatusError
from services.scheduler.claims import Fact, fact_of, release_of
from services.scheduler.disruption import MarkApi, Marker, Victim
from services.scheduler.metrics import PREEMPTION_VICTIMS
from services.scheduler.releaser import Releaser

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
        self._rand = rand
        self._timeout_s = timeout_s
        self._marker = Marker(pods, clock=clock, timeout_s=timeout_s)
        self._to_delete: dict[str, Victim] = {}
        self._to_confirm: dict[str, Victim] = {}
        # Being deleted, or ending gracefully.
        self._going: dict[str, Victim] = {}
        self._wake = asyncio.Event()

    def evict(self, victims: Iterable[Victim]) -> list[Victim]:
        """Delete them soon, unless they are going already; returns those that are to be deleted."""
        fresh = []
        for victim in victims:
            if victim.pod.uid in self._going:
                continue
            self._going[victim.pod.uid] = victim
            if not victim.pod.kind.ending:
                self._to_delete[victim.pod.uid] = victim
                fresh.append(victim)
        if fresh:
            PREEMPTION_VICTIMS.observe(len(fresh))
            self._wake.set()
        return fresh

    def ended(self, uids: Iterable[str]) -> None:
        """The watch shows these pods gone or finished: if they are victims, make sure, and release their claims."""
        for uid in uids:
            victim = self._going.get(uid)
            if victim is not None and uid not in self._to_delete:
                self._to_confirm[uid] = victim
                self._wake.set()

    def forget(self) -> None:
        """Somebody else is the leader now, and finds the victims in the ledgers."""
        for known in (self._to_delete, self._to_confirm, self._going):
            known.clear()
        self._marker.clear()

    async def run(self) -> None:
        """Work until cancelled."""
        backoff = Backoff(self._rand, initial_s=0.1, maximum_s=5.0)
        while True:
            if not self._to_delete and not self._to_confirm:
                self._wake.clear()
                await self._wake.wait()
            if await self._delete() and await self._confirm():
                backoff.reset()
            else:
                await self._clock.sleep(backoff.next())

    async def _delete(self) -> bool:
        """False: something must be tried again."""
        wanted = list(itertools.islice(self._to_delete.values(), BATCH))
        batch = await self._marker.mark(wanted) if wanted else []
        if not batch:
            return not wanted
        try:
            outcomes = await self._pods.batch_delete([_deletion(victim) for victim in batch], timeout_s=self._timeout_s)
        except StatusError as failure:
            _log.warning("victims not deleted", extra={"pods": len(batch), "cause": failure.message})
            return False
        gone: list[Victim] = []
        done = len(batch) == len(wanted)
        for victim, outcome in zip(batch, outcomes, strict=True):
            error = outcome.status
            if error is not None and is_retryable(error):
                done = False
                continue
            self._to_delete.pop(victim.pod.uid, None)
            self._marker.forget(victim.pod.uid)
            absent = error is not None and error.code is grpc.StatusCode.NOT_FOUND
            if absent or (error is None and not outcome.resource_version):
                gone.append(victim)
            elif error is not None:
                # Another pod of that name, or not to be deleted by us: what is so is found out.
                _log.warning("victim not deleted", extra={"pod": str(victim.pod), "cause": error.message})
                self._to_confirm[victim.pod.uid] = victim
        self._release([(v, ClaimRelease(pod_uid=v.pod.uid, fact=ClaimRelease.ABSENT)) for v in gone])
        return done

    async def _confirm(self) -> bool:
        batch = list(itertools.islice(self._to_confirm.values(), BATCH))
        if not batch:
            return True
        try:
            outcomes = await self._pods.batch_revoke_bind([_question(v) for v in batch], timeout_s=self._timeout_s)
        except StatusError as failure:
            _log.warning("ends of victims in doubt", extra={"pods": len(batch), "cause": failure.message})
            return False
        done = True
        releases: list[tuple[Victim, ClaimRelease]] = []
        for victim, outcome in zip(batch, outcomes, strict=True):
            fact = fact_of(outcome, victim.node)
            if fact is Fact.UNKNOWN:
                done = False
                continue
            self._to_confirm.pop(victim.pod.uid, None)
            release = release_of(victim.pod.uid, fact, outcome, victim.node.partition)
            if release is not None:
                releases.append((victim, release))
            else:
                # Still there: whoever tries again may delete it again.
                self._going.pop(victim.pod.uid, None)
        self._release(releases)
        return done

    def _release(self, releases: Sequence[tuple[Victim, ClaimRelease]]) -> None:
        by_partition: dict[str, list[ClaimRelease]] = {}
        for victim, release in releases:
            self._going.pop(victim.pod.uid, None)
            self._to_confirm.pop(victim.pod.uid, None)
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
