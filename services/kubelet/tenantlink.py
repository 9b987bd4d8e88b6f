"""Everything a kubelet host says to one tenant partition: pod statuses, confirmations of deletion, events.

One link per partition, each with its own queues and tasks: a partition that is down or slow keeps only its own waiting.
A status is built when its batch is, so any number of changes of a pod while it waits are one write; batches follow one
another, so writes of one pod are ordered. A batch is what gathered during the one before and until ``gather_s`` after
its begin: a lone status is written at once, a trickle by the handful.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Sequence
from typing import Protocol

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.meta.v1.meta_pb2 import DeleteRequest
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.pace import Pace
from services.base.rand import Rand
from services.client.calls import is_retryable
from services.client.clientset import Outcome
from services.client.partitions import Connection
from services.kubelet import metrics
from services.kubelet.eventlog import EventLog
from services.rpc.status import StatusError, internal

_log = logging.getLogger(__name__)

BATCH_MAX = 500
# So many pods do not wait for more to come.
BATCH_FULL = 64
RETRY_INITIAL_S, RETRY_MAX_S = 0.1, 5.0
# What fails alone, among others that go well, waits this long and holds nobody up.
DEFER_S = 2.0


class Owner(Protocol):
    """Whose pods these are: told of every definite outcome."""

    def status_of(self, uid: str) -> Pod | None: ...

    def status_written(self, uid: str, error: StatusError | None) -> None: ...

    def may_remove(self, pod: Pod) -> bool: ...

    def removal_answered(self, uid: str, error: StatusError | None) -> None: ...


class TenantLink:
    """``connection`` may be replaced while the link runs; what waits goes over the new one."""

    def __init__(
        self, connection: Connection, owner: Owner, clock: Clock, rand: Rand, *, host: str, gather_s: float = 0.0
    ) -> None:
        self.name = connection.name
        self.events = EventLog(connection, clock, rand, host=host)
        self._connection = connection
        self._owner = owner
        self._clock = clock
        self._rand = rand
        self._report_pace = Pace(clock, gather_s)
        self._removal_pace = Pace(clock, gather_s)
        self._dirty: dict[str, None] = {}
        self._dirty_wake = asyncio.Event()
        self._removals: dict[str, Pod] = {}
        self._removals_wake = asyncio.Event()
        self._deferred_reports: dict[str, None] = {}
        self._deferred_removals: dict[str, Pod] = {}
        self._deferred_wake = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Statuses and removals that are not yet under way."""
        return len(self._dirty) + len(self._removals) + len(self._deferred_reports) + len(self._deferred_removals)

    def use(self, connection: Connection) -> None:
        self._connection = connection
        self.events.connection = connection

    def report(self, uid: str) -> None:
        """Write the pod's status soon."""
        self._dirty[uid] = None
        self._dirty_wake.set()

    def remove(self, pod: Pod) -> None:
        """Delete the pod's object soon, with grace 0."""
        self._removals[pod.metadata.uid] = pod
        self._removals_wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._report_statuses(), name=f"pod-statuses-{self.name}")
            group.create_task(self._confirm_removals(), name=f"pod-removals-{self.name}")
            group.create_task(self._take_up_deferred(), name=f"pod-retries-{self.name}")
            group.create_task(self.events.run(), name=f"events-{self.name}")

    async def _take_up_deferred(self) -> None:
        while True:
            await self._deferred_wake.wait()
            self._deferred_wake.clear()
            await self._clock.sleep(self._rand.jitter(DEFER_S, 0.5))
            reports, self._deferred_reports = self._deferred_reports, {}
            removals, self._deferred_removals = self._deferred_removals, {}
            for uid in reports:
                self.report(uid)
            for pod in removals.values():
                self.remove(pod)

    # Statuses.

    async def _report_statuses(self) -> None:
        backoff = Backoff(self._rand, initial_s=RETRY_INITIAL_S, maximum_s=RETRY_MAX_S)
        while True:
            await self._dirty_wake.wait()
            await self._report_pace.turn(full=len(self._dirty) >= BATCH_FULL)
            batch = self._next_batch()
            if not batch:
                self._dirty_wake.clear()
                continue
            outcomes = await self._write(batch)
            if self._settle(batch, outcomes):
                backoff.reset()
            else:
                await self._clock.sleep(backoff.next())

    def _next_batch(self) -> list[Pod]:
        batch: list[Pod] = []
        while self._dirty and len(batch) < BATCH_MAX:
            uid = next(iter(self._dirty))
            del self._dirty[uid]
            message = self._owner.status_of(uid)
            if message is not None:
                batch.append(message)
        return batch

    async def _write(self, batch: Sequence[Pod]) -> Sequence[Outcome]:
        try:
            outcomes = await self._connection.clientset.pods.batch_update_status(batch)
        except StatusError as error:
            return [Outcome(error, pod.metadata.name, "", 0) for pod in batch]
        if len(outcomes) != len(batch):
            mismatch = internal(f"{len(outcomes)} outcomes for {len(batch)} statuses")
            return [Outcome(mismatch, pod.metadata.name, "", 0) for pod in batch]
        return outcomes

    def _settle(self, batch: Sequence[Pod], outcomes: Sequence[Outcome]) -> bool:
        """Hand on what is definite, queue the rest again; False: nothing went through, so the partition must rest."""
        failed: StatusError | None = None
        all_failed = all(outcome.status is not None and is_retryable(outcome.status) for outcome in outcomes)
        for pod, outcome in zip(batch, outcomes, strict=True):
            uid, error = pod.metadata.uid, outcome.status
            if error is not None and is_retryable(error):
                failed = error
                if all_failed:
                    # Behind what changed meanwhile; if that is this pod too, its newer status takes this one's place.
                    self.report(uid)
                else:
                    self._deferred_reports[uid] = None
                    self._deferred_wake.set()
                continue
            metrics.STATUS_WRITES.labels(self.name, "ok" if error is None else error.reason).inc()
            if error is not None:
                _log.info(
                    "pod status refused",
                    extra={"partition": self.name, "uid": uid, "tenant": pod.metadata.tenant, "cause": error.message},
                )
            self._owner.status_written(uid, error)
        if failed is not None:
            metrics.STATUS_WRITES.labels(self.name, "retried").inc()
            _log.warning("pod statuses wait", extra={"partition": self.name, "cause": failed.message})
        return not all_failed

    # Confirmations of deletion.

    async def _confirm_removals(self) -> None:
        backoff = Backoff(self._rand, initial_s=RETRY_INITIAL_S, maximum_s=RETRY_MAX_S)
        while True:
            await self._removals_wake.wait()
            self._removals_wake.clear()
            while self._removals:
                await self._removal_pace.turn(full=len(self._removals) >= BATCH_FULL)
                uids = list(itertools.islice(self._removals, BATCH_MAX))
                pods = [pod for uid in uids if self._owner.may_remove(pod := self._removals.pop(uid))]
                if not pods:
                    continue
                again = self._settle_removals(pods, await self._remove(pods))
                if len(again) < len(pods):
                    backoff.reset()
                    self._deferred_removals |= {pod.metadata.uid: pod for pod in again}
                    self._deferred_wake.set()
                    continue
                for pod in again:
                    self.remove(pod)
                await self._clock.sleep(backoff.next())

    async def _remove(self, pods: Sequence[Pod]) -> Sequence[Outcome]:
        try:
            outcomes = await self._connection.clientset.pods.batch_delete([_final_delete(pod) for pod in pods])
        except StatusError as error:
            return [Outcome(error, pod.metadata.name, "", 0) for pod in pods]
        if len(outcomes) != len(pods):
            mismatch = internal(f"{len(outcomes)} outcomes for {len(pods)} deletions")
            return [Outcome(mismatch, pod.metadata.name, "", 0) for pod in pods]
        return outcomes

    def _settle_removals(self, pods: Sequence[Pod], outcomes: Sequence[Outcome]) -> list[Pod]:
        """Hand on what is definite; the pods whose deletion must be tried again."""
        again: list[Pod] = []
        for pod, outcome in zip(pods, outcomes, strict=True):
            failure = outcome.status
            if failure is not None and is_retryable(failure):
                again.append(pod)
                continue
            metrics.REMOVALS.labels(self.name, "ok" if failure is None else failure.reason).inc()
            self._owner.removal_answered(pod.metadata.uid, failure)
        return again


def _final_delete(pod: Pod) -> DeleteRequest:
    """With grace 0, of this very pod."""
    metadata = pod.metadata
    request = DeleteRequest(
        tenant=metadata.tenant, namespace=metadata.namespace, name=metadata.name, grace_period_seconds=0
    )
    request.preconditions.uid = metadata.uid
    return request
