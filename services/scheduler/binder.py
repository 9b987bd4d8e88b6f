"""Carries placements out: batched binds, and for each the definite answer what became of it.

A bind is a compare-and-swap on "unbound", so that sending it again is harmless: bound to the same node already is
success, bound elsewhere a conflict. After a lost answer the outcome is *unknown*: the pod is read, and while it is
unbound the very same binding is sent again. Nothing is ever decided by time alone.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import grpc

from services.api.pb.ursa.core.v1.pod_pb2 import Binding, ObjectReference, Pod
from services.api.pb.ursa.meta.v1.meta_pb2 import ObjectMeta
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.clientset import Outcome
from services.rpc.status import StatusError
from services.scheduler.core import Placement
from services.scheduler.metrics import BIND_OUTCOMES

_log = logging.getLogger(__name__)

READS_IN_FLIGHT = 16
# A pod that was read as unbound this often after as many unanswered binds goes back to the queue: another bind cannot
# do harm, as the server accepts only one.
ROUNDS_MAX = 5


class Fate(enum.Enum):
    """What became of a placement."""

    BOUND = "bound"
    CONFLICT = "conflict"  # bound elsewhere, or changed in a way that forbids the bind
    GONE = "gone"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class PodApi(Protocol):
    """As much of ``services.client.clientset.PodClient`` as binding needs."""

    async def get(self, name: str, *, tenant: str, namespace: str) -> Pod: ...

    async def batch_bind(self, bindings: Sequence[Binding], *, timeout_s: float) -> Sequence[Outcome]: ...


# Called with what became of some placements of a batch.
Settle = Callable[[Sequence[tuple[Placement, Fate]]], None]

_FATES = {
    grpc.StatusCode.NOT_FOUND: Fate.GONE,
    grpc.StatusCode.ABORTED: Fate.CONFLICT,
    grpc.StatusCode.ALREADY_EXISTS: Fate.CONFLICT,
    grpc.StatusCode.FAILED_PRECONDITION: Fate.REFUSED,
    grpc.StatusCode.INVALID_ARGUMENT: Fate.REFUSED,
    grpc.StatusCode.PERMISSION_DENIED: Fate.REFUSED,
    grpc.StatusCode.UNAUTHENTICATED: Fate.REFUSED,
    grpc.StatusCode.UNIMPLEMENTED: Fate.REFUSED,
    grpc.StatusCode.OUT_OF_RANGE: Fate.REFUSED,
}


def fate_of(error: StatusError | None) -> Fate:
    """Definite codes are an answer; every other one (UNAVAILABLE, DEADLINE_EXCEEDED, …) leaves the outcome open."""
    return Fate.BOUND if error is None else _FATES.get(error.code, Fate.UNKNOWN)


def fate_of_pod(pod: Pod, placement: Placement) -> Fate:
    """What a most recent read says; ``UNKNOWN`` while the pod is unbound."""
    if pod.metadata.uid != placement.pod.uid:
        return Fate.GONE
    if not pod.spec.node_name:
        return Fate.UNKNOWN
    at = (pod.spec.resource_partition, pod.spec.node_name)
    return Fate.BOUND if at == placement.node else Fate.CONFLICT


def binding_of(placement: Placement) -> Binding:
    """The Binding of ``placement``; the pod's UID is a precondition."""
    pod, node = placement.pod, placement.node
    return Binding(
        metadata=ObjectMeta(tenant=pod.tenant, namespace=pod.namespace, name=pod.name, uid=pod.uid),
        target=ObjectReference(kind="Node", name=node.name, uid=placement.node_uid),
        resource_partition=node.partition,
    )


class Binder:
    """``settle`` is told of every placement once, never with ``UNKNOWN``.

    It is not told of a placement that is not ``wanted`` any more (the watch has settled it meanwhile). An unbound
    pod whose node is not ``usable`` any more is settled as refused, and its bind is not sent again.
    """

    def __init__(
        self,
        pods: PodApi,
        settle: Settle,
        wanted: Callable[[Placement], bool],
        usable: Callable[[Placement], bool],
        *,
        clock: Clock,
        rand: Rand,
        timeout_s: float,
    ) -> None:
        self._pods = pods
        self._settle = settle
        self._wanted = wanted
        self._usable = usable
        self._clock = clock
        self._rand = rand
        self._timeout_s = timeout_s

    async def resolve(self, placements: Sequence[Placement]) -> None:
        """Settle placements whose outcome is unknown, however long the partition is out of reach."""
        backoff = Backoff(self._rand, initial_s=0.1, maximum_s=5.0)
        unbound_reads: dict[str, int] = {}
        left = list(placements)
        while left:
            await self._clock.sleep(backoff.next())
            left = [placement for placement in left if self._wanted(placement)]
            to_send, unreadable = await self._read(left, unbound_reads)
            left = unreadable + (await self.send(to_send) if to_send else [])

    async def send(self, placements: Sequence[Placement]) -> list[Placement]:
        """Bind a batch; returns the placements whose outcome is unknown."""
        try:
            outcomes = await self._pods.batch_bind([binding_of(p) for p in placements], timeout_s=self._timeout_s)
            errors = [outcome.status for outcome in outcomes]
        except StatusError as failure:
            _log.warning("a batch of binds failed", extra={"pods": len(placements), "cause": failure.message})
            errors = [failure] * len(placements)
        return self._settle_all(placements, [fate_of(error) for error in errors], errors)

    def _settle_all(
        self, placements: Sequence[Placement], fates: Sequence[Fate], errors: Sequence[StatusError | None]
    ) -> list[Placement]:
        for placement, fate, error in zip(placements, fates, errors, strict=True):
            if fate is Fate.REFUSED and error is not None:
                _log.warning(
                    "bind refused",
                    extra={"tenant": placement.pod.tenant, "pod": str(placement.pod), "cause": error.message},
                )
        for fate, count in Counter(fates).items():
            BIND_OUTCOMES.labels(fate.value).inc(count)
        decided = list(zip(placements, fates, strict=True))
        self._settle([(placement, fate) for placement, fate in decided if fate is not Fate.UNKNOWN])
        return [placement for placement, fate in decided if fate is Fate.UNKNOWN]

    async def _read(
        self, placements: Sequence[Placement], unbound_reads: dict[str, int]
    ) -> tuple[list[Placement], list[Placement]]:
        """Find out by reading; returns what is unbound and to be sent again, and what could not be read."""
        slots = asyncio.Semaphore(READS_IN_FLIGHT)
        to_send: list[Placement] = []
        unreadable: list[Placement] = []

        async def read(placement: Placement) -> None:
            async with slots:
                fate = await self._read_one(placement)
            if fate is None:
                unreadable.append(placement)
            elif fate is not Fate.UNKNOWN:
                self._settle([(placement, fate)])
            elif self._count(placement, unbound_reads) >= ROUNDS_MAX or not self._usable(placement):
                self._settle([(placement, Fate.REFUSED)])
            else:
                to_send.append(placement)

        async with asyncio.TaskGroup() as group:
            for placement in placements:
                group.create_task(read(placement))
        return to_send, unreadable

    async def _read_one(self, placement: Placement) -> Fate | None:
        pod = placement.pod
        try:
            # No resource version: a most recent read.
            found = await self._pods.get(pod.name, tenant=pod.tenant, namespace=pod.namespace)
        except StatusError as failure:
            fate = fate_of(failure)
            return None if fate is Fate.UNKNOWN else fate
        return fate_of_pod(found, placement)

    @staticmethod
    def _count(placement: Placement, reads: dict[str, int]) -> int:
        reads[placement.pod.uid] = reads.get(placement.pod.uid, 0) + 1
        return reads[placement.pod.uid]
