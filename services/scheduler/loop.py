"""The scheduling loop: whatever has queued is planned at once, assumed, and carried out in several batches at a time.

A batch is what gathered while the last one was planned and sent. Small ones begin ``plan_gather_ms`` apart, so that a
steady trickle of pods is planned, claimed and bound by the handful; a pod that comes alone does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.base import telemetry
from services.base.clock import Clock
from services.base.pace import Pace
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.base.timeline import OFF, PodTimeline, Stage
from services.client.informer import Change
from services.scheduler import metrics
from services.scheduler.attempt import Attempt
from services.scheduler.binder import Binder
from services.scheduler.carrier import Carrier, PodApi, Slot
from services.scheduler.claims import Claims
from services.scheduler.conditions import ConditionWriter
from services.scheduler.config import SchedulerConfig
from services.scheduler.core import PodInfo
from services.scheduler.decision import Decision, Refusal
from services.scheduler.events import EventRecorder
from services.scheduler.evictor import Evictor
from services.scheduler.inheritance import Inheritance
from services.scheduler.lanes import Lanes
from services.scheduler.ledgers import SeenLedger
from services.scheduler.prober import Prober
from services.scheduler.queue import Entry, Place
from services.scheduler.releaser import ClaimsOf, Releaser
from services.scheduler.reports import Reports
from services.scheduler.seen import SeenPod
from services.scheduler.silence import Silence
from services.scheduler.state import SchedulerState
from services.scheduler.tenancy import SeenNamespace

TICK_S = 0.2
GAUGES_S = 2.0
# So many pods are planned without waiting for more: what a plan, a claim and a bind cost per batch is shared by then.
FULL_PLAN_PODS = 64
GATED = "Scheduling is blocked due to non-empty scheduling gates"


class SchedulerLoop:
    """Feed it what the watches say, whoever leads; ``run`` does the rest, on the leader alone."""

    def __init__(
        self,
        config: SchedulerConfig,
        state: SchedulerState,
        pods: PodApi,
        claims_of: ClaimsOf,
        conditions: ConditionWriter,
        events: EventRecorder,
        *,
        clock: Clock,
        rand: Rand,
        timeline: PodTimeline = OFF,
    ) -> None:
        self._config = config.scheduling
        self._timeline = timeline
        self._state = state
        self._conditions = conditions
        self._events = events
        self._reports = Reports(events, scheduled_events=self._config.scheduled_events)
        self._clock = clock
        timeout_s = self._config.bind_timeout_s
        self.releaser = Releaser(claims_of, clock=clock, timeout_s=timeout_s)
        self.silence = Silence(clock=clock, after_s=self._config.stale_after_s)
        self._prober = Prober(
            self.silence,
            claims_of,
            self.releaser,
            lambda partition: [node for node in state.table.columns().ids if node.partition == partition],
            tenant_partition=config.tenant_partition.name,
            clock=clock,
            rand=rand,
        )
        self._carrier = Carrier(
            self,
            Claims(config.tenant_partition.name),
            claims_of,
            Binder(pods, timeout_s=timeout_s),
            pods,
            self.releaser,
            self.silence,
            clock=clock,
            rand=rand,
            timeout_s=timeout_s,
            timeline=timeline,
        )
        self._evictor = Evictor(pods, self.releaser, clock=clock, rand=rand, timeout_s=timeout_s)
        self._claims_of = claims_of
        self._inheritance = Inheritance(config.tenant_partition.name, clock=clock)
        self._lanes = Lanes(
            self._start,
            clock=clock,
            slots=self._config.bind_batches_in_flight,
            size=self._config.bind_batch_pods,
            within_s=self._config.bind_within_s,
        )
        self._pace = Pace(clock, self._config.plan_gather_ms / 1000)
        self._wake = asyncio.Event()
        self._tasks: Supervisor | None = None
        # Resource partitions that gauges speak of.
        self._gauged: set[str] = set()

    # What the watches say

    def pods_changed(self, changes: Sequence[Change[SeenPod]]) -> None:
        """A batch of the pods' watch."""
        if self._timeline.on:
            for change in changes:
                if change.old is None and change.new is not None and change.new.ours:
                    self._timeline.mark(Stage.SEEN, change.new.uid)
        gated = self._state.pods_changed(changes, self._clock.monotonic())
        self._conditions.tell(Refusal(seen, "SchedulingGated", GATED) for seen in gated)
        self._evictor.ended(self._state.take_ended())
        self._fence_dropped()
        self._wake_if_needed()

    def nodes_changed(self, changes: Sequence[Change[Node]]) -> None:
        """A batch of one resource partition's nodes."""
        for partition in {change.partition for change in changes}:
            if not self._state.table.is_stale(partition):
                self._lanes.open(partition)
        self._state.nodes_changed(changes, self._clock.monotonic())
        self._wake_if_needed()

    def namespaces_changed(self, changes: Sequence[Change[SeenNamespace]]) -> None:
        """A batch of the namespaces' watch."""
        self._state.namespaces_changed(changes, self._clock.monotonic())
        self._wake_if_needed()

    def ledgers_changed(self, changes: Sequence[Change[SeenLedger]]) -> None:
        """A batch of one resource partition's capacity ledgers."""
        promised = self._state.ledgers_changed(changes, self._clock.monotonic())
        self._carry(promised)
        self._wake_if_needed()

    def partition_stale(self, partition: str, stale: bool) -> None:
        """A resource partition is out of reach or grants no claim for too long, or is back."""
        self._state.partition_stale(partition, stale, self._clock.monotonic())
        metrics.STALE.labels(partition).set(int(stale))
        if stale:
            # Those that wait for a slot go elsewhere.
            self._fence(self._lanes.close(partition))
        else:
            self._lanes.open(partition)
        self._wake_if_needed()

    def partition_removed(self, partition: str) -> None:
        """A resource partition is no part of the cluster any more."""
        self._state.partition_removed(partition)
        self.silence.forget(partition)
        self._fence(self._lanes.close(partition))
        metrics.STALE.labels(partition).set(0)

    def _wake_if_needed(self) -> None:
        if self._state.queue.has_active:
            self._wake.set()

    # Scheduling

    async def run(self) -> None:
        """Schedule until cancelled. Then no attempt is left, and another leader may go on."""
        try:
            async with Supervisor() as tasks:
                self._tasks = tasks
                await self._inherit()
                tasks.start(self._conditions.run(), name="conditions")
                tasks.start(self._events.run(), name="events")
                tasks.start(self._evictor.run(), name="evictions")
                tasks.start(self._prober.run(), name="probes")
                tasks.start(self._tick(), name="tick")
                try:
                    while True:
                        await self._wake.wait()
                        self._wake.clear()
                        while self._state.queue.has_active:
                            await self._batch()
                finally:
                    # Before the tasks end: a slot that they give back starts no other.
                    self._tasks = None
                    self._lanes.clear()
        finally:
            self._tasks = None
            self._evictor.forget()
            self.silence.clear()
            self._state.abandon(self._clock.monotonic())
            self._wake_if_needed()

    async def _inherit(self) -> None:
        """What the leader before claimed, and did not bind to."""
        if not self._state.waiting:
            return
        known = ((name, self._claims_of(name)) for name in self._state.table.counts())
        partitions = [(name, claims) for name, claims in known if claims is not None]
        self._state.inherited = await self._inheritance.find(partitions, self._state.waiting)

    async def _batch(self) -> None:
        # A free slot first: while every partition is busy, pods gather for the next plan.
        await self._lanes.free()
        await self._pace.turn(full=self._state.queue.size(Place.ACTIVE) >= FULL_PLAN_PODS)
        entries = self._state.queue.take(self._config.plan_pods_max)
        decision = self._decide(entries)
        self._tell(decision)
        for partition, attempts in _by_partition(decision.attempts).items():
            self._lanes.send(partition, attempts)
        # Let the watches have their turn, however long the queue is.
        await self._clock.sleep(0.0)

    def _decide(self, entries: Sequence[Entry]) -> Decision:
        started = self._clock.monotonic()
        with _spans("ursa.scheduler.schedule", (entry.pod for entry in entries)):
            decision = self._state.decide(entries, started)
        for attempt in decision.attempts if self._timeline.on else ():
            self._timeline.mark(Stage.SCHEDULED, attempt.pod.uid, str(attempt.node))
        self._reports.planned([entry.pod for entry in entries], self._clock.monotonic() - started)
        return decision

    def _tell(self, decision: Decision) -> None:
        if not decision.refusals:
            return
        self._conditions.tell(decision.refusals)
        self._reports.unschedulable(decision.refusals)

    # Carrying out

    def _start(self, partition: str, attempts: Sequence[Attempt], slot: Slot) -> None:
        if self._tasks is not None:
            self._tasks.start(self._carried(partition, attempts, slot), name="carry")

    async def _carried(self, partition: str, attempts: Sequence[Attempt], slot: Slot) -> None:
        started = self._clock.monotonic()
        try:
            with _spans("ursa.scheduler.bind", (attempt.pod for attempt in attempts)):
                await self._carrier.carry(partition, attempts, slot)
        finally:
            slot.release()
        self._reports.carried(attempts, self._clock.monotonic() - started)

    def _carry(self, attempts: Sequence[Attempt]) -> None:
        """Attempts that hold a promise, again; beside the batches in flight, as they are few."""
        size = self._config.bind_batch_pods
        for partition, some in _by_partition(attempts).items():
            for start in range(0, len(some), size):
                self._start(partition, some[start : start + size], Slot(_nothing))

    def _fence_dropped(self) -> None:
        """Attempts that nobody carries any more (they held a promise) and whose pod is gone or bound elsewhere."""
        self._fence(self._state.take_dropped())

    def _fence(self, attempts: Sequence[Attempt]) -> None:
        if attempts and self._tasks is not None:
            self._tasks.start(self._carrier.establish(attempts), name="fence")

    # What became of attempts (the carrier's keeper)

    def is_current(self, attempt: Attempt) -> bool:
        return self._state.is_current(attempt)

    def is_usable(self, attempt: Attempt) -> bool:
        return self._state.is_usable(attempt)

    def adopt(self, attempt: Attempt, node_name: str) -> bool:
        return self._state.adopt(attempt, node_name)

    def bound(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts if self._timeline.on else ():
            self._timeline.mark(Stage.BOUND, attempt.pod.uid, str(attempt.node))
        for attempt in attempts:
            self._state.bound(attempt)
        self._reports.scheduled(attempts, self._clock.monotonic())

    def promised(self, attempts: Sequence[Attempt]) -> None:
        now = self._clock.monotonic()
        for attempt in attempts:
            self._reports.preempted(attempt, self._evictor.evict(self._state.promised(attempt, now)))

    def lost(self, attempts: Sequence[Attempt]) -> None:
        now = self._clock.monotonic()
        for attempt in attempts:
            self._state.lost(attempt, now)
        self._failed(attempts)

    def refused(self, attempts: Sequence[Attempt]) -> None:
        now = self._clock.monotonic()
        for attempt in attempts:
            self._state.refused(attempt, now)
        self._failed(attempts)

    def revoked(self, attempt: Attempt, epoch: int) -> None:
        self._state.revoked(attempt, epoch, self._clock.monotonic())
        self._failed([attempt])

    def over(self, attempt: Attempt) -> None:
        self._state.over(attempt, self._clock.monotonic())
        self._failed([attempt])

    def _failed(self, attempts: Sequence[Attempt]) -> None:
        self._reports.failed(attempts)
        self._wake_if_needed()

    async def _tick(self) -> None:
        """Ends backoffs and waits, and keeps the gauges."""
        gauges_at = 0.0
        while True:
            queue = self._state.queue
            queue.tick(self._clock.monotonic())
            self._wake_if_needed()
            self._carry(self._state.promises.in_doubt(self._clock.monotonic()))
            self._fence(self._state.alternatives.find(self._clock.monotonic()))
            if self._clock.monotonic() >= gauges_at:
                gauges_at = self._clock.monotonic() + GAUGES_S
                self._gauge()
            await self._clock.sleep(TICK_S)

    def _gauge(self) -> None:
        queue = self._state.queue
        for place, name in _QUEUE_NAMES.items():
            metrics.PENDING.labels(name).set(queue.size(place))
        metrics.ASSUMED.set(self._state.assumed)
        counts = self._state.table.counts()
        for partition in self._gauged - counts.keys():
            # It was removed, or has no node any more: what was said of it last is not so.
            for gauge in (metrics.NODES, metrics.RELEASES_OWED, metrics.CLAIMS_WAITED, metrics.BATCH_PODS):
                gauge.remove(partition)
        self._gauged = set(counts)
        sizes = self._lanes.sizes()
        for partition, count in counts.items():
            metrics.NODES.labels(partition).set(count)
            metrics.RELEASES_OWED.labels(partition).set(self.releaser.owed.get(partition, 0))
            metrics.CLAIMS_WAITED.labels(partition).set(self.silence.waited_s(partition))
            metrics.BATCH_PODS.labels(partition).set(sizes.get(partition, 0))


def _by_partition(attempts: Sequence[Attempt]) -> dict[str, list[Attempt]]:
    found: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        found.setdefault(attempt.node.partition, []).append(attempt)
    return found


def _nothing() -> None:
    """What is carried without a slot has none to give back."""


_QUEUE_NAMES = {
    Place.ACTIVE: "active",
    Place.BACKOFF: "backoff",
    Place.UNSCHEDULABLE: "unschedulable",
    Place.GATED: "gated",
}


@contextlib.contextmanager
def _spans(name: str, pods: Iterator[PodInfo] | Sequence[PodInfo]) -> Iterator[None]:
    """A span for each pod whose trace is sampled; nothing at all for the others."""
    with contextlib.ExitStack() as stack:
        for pod in pods:
            if pod.traceparent and telemetry.is_sampled(pod.traceparent):
                stack.enter_context(telemetry.span(name, parent=pod.traceparent, attributes={"ursa.pod": str(pod)}))
        yield
