"""Tells unschedulable and gated pods why they wait: condition PodScheduled=False, written in batches, best effort."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from services.api.pb.ursa.core.v1.pod_pb2 import Pod, PodCondition
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.calls import is_retryable
from services.client.clientset import Outcome
from services.rpc.status import StatusError
from services.scheduler.core import NodeId
from services.scheduler.decision import Refusal

_log = logging.getLogger(__name__)

POD_SCHEDULED = "PodScheduled"
BATCH_PODS = 256


class StatusApi(Protocol):
    """As much of ``services.client.clientset.ResourceClient`` as this needs."""

    async def batch_update_status(self, objs: Iterable[Pod]) -> Sequence[Outcome]: ...


class ConditionWriter:
    """At most one pending condition per pod: the newest. A pod that has changed meanwhile is left alone, because the
    write is conditional on the version that was judged; its next attempt tells anew."""

    def __init__(self, pods: StatusApi, *, clock: Clock, rand: Rand) -> None:
        self._pods = pods
        self._clock = clock
        self._rand = rand
        self._pending: dict[str, Refusal] = {}
        self._wake = asyncio.Event()

    def tell(self, refusals: Iterable[Refusal]) -> None:
        """Write these conditions soon, unless the pods say so already."""
        for refusal in refusals:
            pod = refusal.pod.pod
            if pod is not None and not says(pod, refusal):
                self._pending[refusal.pod.uid] = refusal
                self._wake.set()

    async def run(self) -> None:
        """Write until cancelled."""
        backoff = Backoff(self._rand, initial_s=0.2, maximum_s=10.0)
        while True:
            if not self._pending:
                self._wake.clear()
                await self._wake.wait()
            batch = dict(itertools.islice(self._pending.items(), BATCH_PODS))
            try:
                await self._pods.batch_update_status([self._message(refusal) for refusal in batch.values()])
            except StatusError as failure:
                if is_retryable(failure):
                    await self._clock.sleep(backoff.next())
                    continue
                _log.warning("conditions were refused", extra={"pods": len(batch), "cause": failure.message})
            backoff.reset()
            for uid, refusal in batch.items():
                if self._pending.get(uid) is refusal:
                    del self._pending[uid]

    def _message(self, refusal: Refusal) -> Pod:
        pod = refusal.pod.pod
        assert pod is not None
        return with_condition(pod, refusal, self._clock.time())


def says(pod: Pod, refusal: Refusal) -> bool:
    """The pod's status says this already."""
    if nominated(pod) != refusal.nominated:
        return False
    return any(
        condition.type == POD_SCHEDULED
        and (condition.status, condition.reason, condition.message) == ("False", refusal.reason, refusal.message)
        for condition in pod.status.conditions
    )


def nominated(pod: Pod) -> NodeId | None:
    """The node on which room is being made for the pod, as its status says."""
    status = pod.status
    found = NodeId(status.nominated_resource_partition, status.nominated_node_name)
    return found if found.name else None


def status_update(pod: Pod) -> Pod:
    """An update of the status that changes nothing yet: identity, preconditions, and the status as it is."""
    update = Pod(status=pod.status)
    for name in ("tenant", "namespace", "name", "uid", "resource_version"):
        setattr(update.metadata, name, getattr(pod.metadata, name))
    return update


def with_condition(pod: Pod, refusal: Refusal, now: float) -> Pod:
    """The status update with PodScheduled and the nominated node replaced."""
    update = status_update(pod)
    node = refusal.nominated
    update.status.nominated_node_name = node.name if node is not None else ""
    update.status.nominated_resource_partition = node.partition if node is not None else ""
    previous = next((c for c in update.status.conditions if c.type == POD_SCHEDULED), None)
    condition = previous if previous is not None else update.status.conditions.add(type=POD_SCHEDULED)
    _set(condition, refusal, now)
    return update


def _set(condition: PodCondition, refusal: Refusal, now: float) -> None:
    if condition.status != "False":
        condition.last_transition_time.CopyFrom(Timestamp(seconds=int(now)))
    condition.status = "False"
    condition.reason = refusal.reason
    condition.message = refusal.message
