"""Tells victims of preemption why they go, before they are deleted: condition DisruptionTarget in their status.

As kube-scheduler does (framework/preemption, prepareCandidate; KEP 3329). The condition is a courtesy to whoever looks
at the pod afterwards, and holds up no preemption for long: what cannot be written in a few tries is left unsaid.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.base.clock import Clock
from services.client.clientset import Listing, Outcome
from services.rpc.status import StatusError
from services.scheduler.conditions import status_update
from services.scheduler.core import NodeId, PodInfo

_log = logging.getLogger(__name__)

DISRUPTION_TARGET = "DisruptionTarget"
REASON = "PreemptionByScheduler"
TRIES_MAX = 3
READS_AT_ONCE = 16
# Of so many victims on one node each is read alone, of more all the node's pods at once: that is one call of an index.
SINGLE_READS_MAX = 2


@dataclass(frozen=True, slots=True)
class Victim:
    """A pod that is to go for another one, which profile ``by`` places; it is bound to ``node``."""

    pod: PodInfo
    node: NodeId
    by: str = ""


class MarkApi(Protocol):
    """As much of ``services.client.clientset.PodClient`` as telling victims needs."""

    async def get(
        self, name: str, *, tenant: str = "", namespace: str = "", resource_version: int | None = None
    ) -> Pod: ...

    async def list(
        self, *, tenant: str = "", field_selector: str = "", resource_version: int | None = None
    ) -> Listing[Pod]: ...

    async def batch_update_status(
        self, objs: Iterable[Pod], *, timeout_s: float | None = None
    ) -> Sequence[Outcome]: ...


class Marker:
    """Placed pods are not kept in memory as messages, so their status is read before it is written: from the server's
    cache, as the write is refused if that was too old."""

    def __init__(self, pods: MarkApi, *, clock: Clock, timeout_s: float) -> None:
        self._pods = pods
        self._clock = clock
        self._timeout_s = timeout_s
        self._tries: dict[str, int] = {}
        self._reads = asyncio.Semaphore(READS_AT_ONCE)

    async def mark(self, victims: Sequence[Victim]) -> list[Victim]:
        """Those that may be deleted now: they say why, are gone, or have been tried often enough. Never raises.

        Pods without a grace period are not told: nobody could read it, as the deletion leaves nothing of them."""
        left = [v for v in victims if not v.pod.kind.prompt and self._tries.get(v.pod.uid, 0) < TRIES_MAX]
        for victim in left:
            self._tries[victim.pod.uid] = self._tries.get(victim.pod.uid, 0) + 1
        failed: set[str] = set()
        try:
            updates = [update for update in await self._updates(left) if update is not None]
            if updates:
                outcomes = await self._pods.batch_update_status(updates, timeout_s=self._timeout_s)
                failed = {
                    update.metadata.uid
                    for update, outcome in zip(updates, outcomes, strict=True)
                    if outcome.status is not None and outcome.status.code is not grpc.StatusCode.NOT_FOUND
                }
        except StatusError as failure:
            _log.debug("victims not told", extra={"pods": len(left), "cause": failure.message})
            failed = {victim.pod.uid for victim in left}
        return [v for v in victims if v.pod.uid not in failed or self._tries[v.pod.uid] >= TRIES_MAX]

    def forget(self, uid: str) -> None:
        """The pod is being deleted, or is not to go any more."""
        self._tries.pop(uid, None)

    def clear(self) -> None:
        """Somebody else is the leader now."""
        self._tries.clear()

    async def _updates(self, victims: Sequence[Victim]) -> list[Pod | None]:
        by_node: dict[NodeId, list[Victim]] = {}
        for victim in victims:
            by_node.setdefault(victim.node, []).append(victim)
        try:
            async with asyncio.TaskGroup() as group:
                reads = [group.create_task(self._read(node, some)) for node, some in by_node.items()]
        except ExceptionGroup as failures:
            # One that could not be read is as good as all of them.
            raise failures.exceptions[0] from failures
        now = self._clock.time()
        return [
            with_disruption(found[victim.pod.uid], victim.by, now)
            for task, some in zip(reads, by_node.values(), strict=True)
            for found in (task.result(),)
            for victim in some
            if victim.pod.uid in found
        ]

    async def _read(self, node: NodeId, victims: Sequence[Victim]) -> dict[str, Pod]:
        async with self._reads:
            if len(victims) > SINGLE_READS_MAX:
                where = f"spec.nodeName={node.name},spec.resourcePartition={node.partition}"
                listed = await self._pods.list(tenant="*", field_selector=where, resource_version=0)
                return {pod.metadata.uid: pod for pod in listed.items}
            found = [await self._get(victim) for victim in victims]
        return {pod.metadata.uid: pod for pod in found if pod is not None}

    async def _get(self, victim: Victim) -> Pod | None:
        pod = victim.pod
        try:
            return await self._pods.get(pod.name, tenant=pod.tenant, namespace=pod.namespace, resource_version=0)
        except StatusError as failure:
            if failure.code is grpc.StatusCode.NOT_FOUND:
                return None
            raise


def with_disruption(pod: Pod, by: str, now: float) -> Pod | None:
    """The status update that says so; None: it says so already, or is being deleted for another reason."""
    if pod.metadata.HasField("deletion_timestamp"):
        return None
    message = f"{by}: preempting to accommodate a higher priority pod"
    update = status_update(pod)
    condition = next((known for known in update.status.conditions if known.type == DISRUPTION_TARGET), None)
    if condition is None:
        condition = update.status.conditions.add(type=DISRUPTION_TARGET)
    elif (condition.status, condition.reason, condition.message) == ("True", REASON, message):
        return None
    if condition.status != "True":
        condition.last_transition_time.CopyFrom(Timestamp(seconds=int(now)))
    condition.status, condition.reason, condition.message = "True", REASON, message
    return update
