"""Wires the ReplicaSet controller of a tenant partition: two watches, a queue, workers."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import grpc

from services.api import kinds
from services.api.pb.ursa.apps.v1.replica_set_pb2 import ReplicaSet, ReplicaSetStatus
from services.api.pb.ursa.meta.v1.meta_pb2 import ObjectMeta
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.informer import Change, Informer
from services.client.partitions import Connection
from services.client.workqueue import WorkQueue
from services.controllers.events import EventRecorder
from services.controllers.replicasets import decide, metrics, telling
from services.controllers.replicasets.facts import ACCESSORS, Belongings, Wanted, read_replica_set
from services.controllers.replicasets.ownership import Ownership
from services.controllers.replicasets.pending import EXPIRES_S, Pending
from services.controllers.replicasets.telling import COMPONENT, EVENTS_PER_S, FAILED_CREATE, FAILED_DELETE
from services.controllers.replicasets.writing import PodWriter, Written
from services.controllers.tenant_config import ReplicaSetsConfig
from services.controllers.tenantpods import TenantPod
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

# How often writes that the watch has passed without news are looked for.
TICK_S = 0.25
# Failures that a replica set's condition tells of.
TOLD = (FAILED_CREATE, FAILED_DELETE)


class ReplicaSetController:
    """``tenant`` and ``pods`` (all pods of it) are run by their owner."""

    def __init__(
        self,
        tenant: Connection,
        pods: Informer[TenantPod],
        config: ReplicaSetsConfig,
        *,
        clock: Clock,
        rand: Rand,
    ) -> None:
        self._pods = pods
        self._config = config
        self._clock = clock
        self._writer = PodWriter(tenant.clientset, config, clock, rand)
        self._events = EventRecorder(
            tenant.clientset.events, component=COMPONENT, per_second=EVENTS_PER_S, clock=clock, rand=rand
        )
        self._ownership = Ownership(tenant.clientset)
        self._belongings = Belongings()
        self._pending = Pending()
        self._queue: WorkQueue[str] = WorkQueue(clock, rand)
        self.sets: Informer[Wanted] = Informer(
            tenant.mux,
            kinds.REPLICA_SETS,
            tenant="*",
            decode=read_replica_set,
            accessors=ACCESSORS,
            on_batch=self._sets_changed,
        )

    async def run(self) -> None:
        """Until cancelled; leaves nothing behind."""
        self._pods.add_handler(self._pods_changed)
        self.sets.start()
        try:
            await self._pods.synced.wait()
            await self.sets.synced.wait()
            _log.info("replica sets are followed", extra={"replica_sets": len(self.sets.store)})
            async with Supervisor() as tasks:
                tasks.start(self._writer.run(), name="pod-writer")
                tasks.start(self._events.run(), name="replica-set-events")
                for number in range(self._config.workers):
                    tasks.start(self._work(), name=f"replica-sets-{number}")
                while True:
                    await self._clock.sleep(TICK_S)
                    self._tick()
        finally:
            self.sets.close()

    def _tick(self) -> None:
        metrics.SETS.set(len(self.sets.store))
        metrics.WAITING.set(len(self._queue))
        for uid in self._pending.passed(self._pods.resource_version):
            self._queue.add(uid)

    def _sets_changed(self, changes: Sequence[Change[Wanted]]) -> None:
        for change in changes:
            self._belongings.see_set(change.old, change.new)
            if change.new is None:
                self._pending.forget(change.key)
                self._queue.forget(change.key)
            else:
                self._queue.add(change.key)

    def _pods_changed(self, changes: Sequence[Change[TenantPod]]) -> None:
        for change in changes:
            for uid in self._belongings.see_pod(change):
                if uid not in self.sets.store:
                    continue
                if _counts_alike(change):
                    # Only the status may change: a pod that starts has several such news.
                    self._queue.add_after(uid, self._config.status_gather_s)
                else:
                    self._queue.add(uid)
        for uid in self._pending.passed(self._pods.resource_version):
            self._queue.add(uid)

    async def _work(self) -> None:
        while True:
            uid = await self._queue.get()
            try:
                wanted = self.sets.store.get(uid)
                if wanted is not None:
                    with metrics.SYNC_SECONDS.time():
                        await self._look_at(wanted)
            finally:
                self._queue.done(uid)

    async def _look_at(self, wanted: Wanted) -> None:
        uid = wanted.uid
        if not (self._pods.connected and self.sets.connected):
            # Nothing is decided from what may be old; a change or this delay comes back to it.
            self._queue.add_after(uid, 1.0)
            return
        failure: tuple[str, StatusError] | None = None
        settled = self._pending.settled(uid, self._pods.resource_version, self._pods.store, self._clock.monotonic())
        if settled:
            failure = await self._own(wanted)
            settled = self._is_settled(uid)
        active, _ = self._pods_of(wanted)
        plan = decide.decide(wanted, active, self._clock.time(), self._config.burst_replicas)
        if settled and failure is None:
            if plan.create:
                made = await self._writer.create(wanted, plan.create)
                telling.written(self._events, wanted, "Create", made.names)
                failure = self._note(wanted, FAILED_CREATE, made)
            elif plan.delete:
                gone = await self._writer.delete(plan.delete)
                telling.written(self._events, wanted, "Delete", gone.names)
                failure = self._note(wanted, FAILED_DELETE, gone)
        if plan.recheck_s is not None:
            self._queue.add_after(uid, plan.recheck_s + 0.01)
        status_failure = await self._write_status(wanted, failure)
        if not self._is_settled(uid):
            # News of what was written come by themselves; should they never come, nothing is waited for longer.
            self._queue.add_after(uid, EXPIRES_S)
        if failure is not None or status_failure is not None:
            self._queue.retry(uid)
        else:
            self._queue.forget(uid)

    def _is_settled(self, uid: str) -> bool:
        return self._pending.settled(uid, self._pods.resource_version, self._pods.store, self._clock.monotonic())

    def _pods_of(self, wanted: Wanted) -> tuple[list[TenantPod], int]:
        """Its active pods, and how many are being deleted and have not finished."""
        owned = [*self._belongings.owned(wanted.uid)]
        active = [pod for pod in owned if pod.active and wanted.selects(pod)]
        return active, sum(pod.ending and not pod.finished and wanted.selects(pod) for pod in owned)

    async def _own(self, wanted: Wanted) -> tuple[str, StatusError] | None:
        if wanted.ending:
            return None
        strangers = [pod for pod in self._belongings.owned(wanted.uid) if pod.active and not wanted.selects(pod)]
        if strangers:
            self._note(wanted, "FailedRelease", await self._ownership.release(wanted, strangers))
        candidates = self._belongings.candidates(wanted.uid)
        if candidates:
            return self._note(wanted, "FailedAdopt", await self._ownership.adopt(wanted, candidates))
        return None

    def _note(self, wanted: Wanted, reason: str, written: Written) -> tuple[str, StatusError] | None:
        now = self._clock.monotonic()
        if written.version:
            self._pending.wrote(wanted.uid, written.version, now)
        if written.removed:
            self._pending.removed(wanted.uid, written.removed, now)
        if written.failure is None:
            return None
        telling.failed(self._events, wanted, reason, written.failure)
        _log.warning(
            "a replica set's pods could not be written",
            extra={
                "replica_set": f"{wanted.tenant}/{wanted.namespace}/{wanted.name}",
                "reason": reason,
                "cause": written.failure.message,
            },
        )
        return reason, written.failure

    async def _write_status(self, wanted: Wanted, failure: tuple[str, StatusError] | None) -> StatusError | None:
        told = (failure[0], failure[1].message) if failure is not None and failure[0] in TOLD else None
        active, terminating = self._pods_of(wanted)
        status = decide.status(wanted, active, terminating, self._clock.time(), told)
        current = self.sets.store.get(wanted.uid)
        if current is None or status == current.status:
            return None
        return await self._send_status(wanted, status)

    async def _send_status(self, wanted: Wanted, status: ReplicaSetStatus) -> StatusError | None:
        metadata = ObjectMeta(name=wanted.name, tenant=wanted.tenant, namespace=wanted.namespace, uid=wanted.uid)
        failure = await self._writer.write_status(ReplicaSet(metadata=metadata, status=status))
        if failure is not None and failure.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ABORTED):
            return None
        return failure


def _counts_alike(change: Change[TenantPod]) -> bool:
    """The pod was and is a replica of the same set, or neither."""
    old, new = change.old, change.new
    if old is None or new is None:
        return False
    return old.active == new.active and old.owner == new.owner and old.labels == new.labels
