"""Ends pods by force: marked as failed if they have not finished, then deleted without grace, both in batches."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TypeVar

import grpc

from services.api.pb.ursa.core.v1.pod_pb2 import Pod, PodStatus
from services.api.pb.ursa.meta.v1.meta_pb2 import DeleteRequest, Preconditions
from services.base.clock import Clock
from services.client.clientset import Outcome, PodClient
from services.controllers.podgc import metrics
from services.controllers.podgc.decide import Reason
from services.controllers.tenantpods import TERMINAL, TenantPod
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

DISRUPTION_TARGET = "DisruptionTarget"
READS_AT_ONCE = 16

Removal = tuple[TenantPod, Reason]
T = TypeVar("T")


def mark_failed(status: PodStatus, reason: Reason, now: float) -> None:
    """The phase Failed; and for a pod whose node is gone the condition that says who ended it (KEP-3329)."""
    status.phase = "Failed"
    if reason is not Reason.ORPHANED:
        return
    condition = next((one for one in status.conditions if one.type == DISRUPTION_TARGET), None)
    if condition is None:
        condition = status.conditions.add(type=DISRUPTION_TARGET)
    if condition.status != "True":
        condition.last_transition_time.seconds = int(now)
        condition.last_transition_time.nanos = 0
    condition.status, condition.reason = "True", "DeletionByPodGC"
    condition.message = "PodGC: node no longer exists"


class PodRemover:
    """``batch_pods``: pods per request."""

    def __init__(self, pods: PodClient, clock: Clock, *, batch_pods: int) -> None:
        self._pods = pods
        self._clock = clock
        self._batch_pods = batch_pods

    async def remove(self, removals: Sequence[Removal]) -> int:
        """How many are gone. What fails is logged and counted; the next round comes to it again."""
        gone = 0
        for batch in _batches(removals, self._batch_pods):
            gone += await self._remove(batch)
        return gone

    async def _remove(self, batch: Sequence[Removal]) -> int:
        ended = [removal for removal in batch if removal[0].finished]
        running = [removal for removal in batch if not removal[0].finished]
        if running:
            ended += await self._mark(running)
        if not ended:
            return 0
        for (namespace, reason), count in Counter((pod.namespace, reason) for pod, reason in ended).items():
            metrics.DELETED.labels(namespace, reason.value).inc(count)
        requests = [
            DeleteRequest(
                tenant=pod.tenant,
                namespace=pod.namespace,
                name=pod.name,
                preconditions=Preconditions(uid=pod.uid),
                grace_period_seconds=0,
            )
            for pod, _ in ended
        ]
        try:
            outcomes = await self._pods.batch_delete(requests)
        except StatusError as failure:
            self._failed(ended, failure, "deleted")
            return 0
        return len(self._sorted_out(ended, outcomes, "deleted"))

    async def _mark(self, running: Sequence[Removal]) -> list[Removal]:
        """Those that are failed now, by a write that saw all the status there was."""
        live = await self._read([pod for pod, _ in running])
        found = [(removal, live[removal[0].uid]) for removal in running if removal[0].uid in live]
        ended = [removal for removal, pod in found if pod.status.phase in TERMINAL]
        marked = [(removal, pod) for removal, pod in found if pod.status.phase not in TERMINAL]
        if not marked:
            return ended
        for (_, reason), pod in marked:
            mark_failed(pod.status, reason, self._clock.time())
        removals = [removal for removal, _ in marked]
        try:
            outcomes = await self._pods.batch_update_status(pod for _, pod in marked)
        except StatusError as failure:
            self._failed(removals, failure, "marked as failed")
            return ended
        return ended + self._sorted_out(removals, outcomes, "marked as failed")

    async def _read(self, pods: Sequence[TenantPod]) -> dict[str, Pod]:
        """The pods as they are, by UID; those of a node in one list."""
        by_node: dict[str, list[TenantPod]] = {}
        for pod in pods:
            by_node.setdefault(pod.node, []).append(pod)
        nodes = [node for node, there in by_node.items() if node and len(there) > 1]
        single = [pod for node, there in by_node.items() if node not in nodes for pod in there]
        limit = asyncio.Semaphore(READS_AT_ONCE)

        async def of_node(node: str) -> list[Pod]:
            async with limit:
                listing = await self._pods.list(tenant="*", field_selector=f"spec.nodeName={node}")
                return listing.items

        async def alone(pod: TenantPod) -> list[Pod]:
            async with limit:
                return [await self._pods.get(pod.name, tenant=pod.tenant, namespace=pod.namespace)]

        reads = [*map(of_node, nodes), *map(alone, single)]
        found: dict[str, Pod] = {}
        for answer in await asyncio.gather(*reads, return_exceptions=True):
            if isinstance(answer, StatusError):
                if answer.code is not grpc.StatusCode.NOT_FOUND:
                    _log.warning("pods cannot be read", extra={"cause": answer.message})
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found.update((pod.metadata.uid, pod) for pod in answer)
        return found

    def _sorted_out(self, removals: Sequence[Removal], outcomes: Sequence[Outcome], what: str) -> list[Removal]:
        """Those that succeeded; one that is not there any more is no failure, and no success."""
        done: list[Removal] = []
        for removal, outcome in zip(removals, outcomes, strict=True):
            if outcome.status is None:
                done.append(removal)
            elif outcome.status.code is not grpc.StatusCode.NOT_FOUND:
                self._failed([removal], outcome.status, what)
        return done

    @staticmethod
    def _failed(removals: Sequence[Removal], failure: StatusError, what: str) -> None:
        for pod, reason in removals:
            metrics.ERRORS.labels(pod.namespace, reason.value).inc()
        pod, _ = removals[0]
        _log.warning(
            f"pods could not be {what}",
            extra={
                "pods": len(removals),
                "first": f"{pod.tenant}/{pod.namespace}/{pod.name}",
                "cause": failure.message,
            },
        )


def _batches(items: Iterable[T], size: int) -> Iterable[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
