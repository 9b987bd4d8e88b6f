"""The scheduling loop: whatever has queued is planned as one batch, assumed, and bound in several batches at a time.

There is no timer between plans: a batch is what gathered while the last one was planned and sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.base import telemetry
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.informer import Change
from services.scheduler import metrics
from services.scheduler.binder import Binder, Fate, PodApi
from services.scheduler.conditions import ConditionWriter
from services.scheduler.config import SchedulerConfig
from services.scheduler.core import Placement, PodInfo
from services.scheduler.events import EventRecorder
from services.scheduler.queue import Entry, Place
from services.scheduler.seen import SeenPod
from services.scheduler.state import Decision, Refusal, SchedulerState

TICK_S = 0.2
UNRESOLVED_BATCHES_MAX = 32
GATED = "Scheduling is blocked due to non-empty scheduling gates"


class SchedulerLoop:
    """Feed it what the watches say; ``run`` does the rest."""

    def __init__(
        self,
        config: SchedulerConfig,
        state: SchedulerState,
        pods: PodApi,
        conditions: ConditionWriter,
        events: EventRecorder,
        *,
        clock: Clock,
        rand: Rand,
    ) -> None:
        self._config = config.scheduling
        self._profile = config.scheduler_name
        self._state = state
        self._conditions = conditions
        self._events = events
        self._clock = clock
        self._binder = Binder(
            pods,
            self._settle,
            wanted=state.is_assumed,
            usable=lambda placement: state.table.is_candidate(placement.node),
            clock=clock,
            rand=rand,
            timeout_s=self._config.bind_timeout_s,
        )
        self._slots = asyncio.Semaphore(self._config.bind_batches_in_flight)
        self._unresolved = asyncio.Semaphore(UNRESOLVED_BATCHES_MAX)
        self._wake = asyncio.Event()
        # Entries of the placements that are being bound, for their age and number of attempts.
        self._binding: dict[str, Entry] = {}

    # What the watches say

    def pods_changed(self, changes: Sequence[Change[SeenPod]]) -> None:
        """A batch of the pods' watch."""
        gated = self._state.pods_changed(changes, self._clock.monotonic())
        self._conditions.tell(Refusal(seen, "SchedulingGated", GATED) for seen in gated)
        self._wake_if_needed()

    def nodes_changed(self, changes: Sequence[Change[Node]]) -> None:
        """A batch of one resource partition's nodes."""
        self._state.nodes_changed(changes, self._clock.monotonic())
        self._wake_if_needed()

    def partition_stale(self, partition: str, stale: bool) -> None:
        """A resource partition is out of reach for too long, or back."""
        self._state.partition_stale(partition, stale, self._clock.monotonic())
        metrics.STALE.labels(partition).set(int(stale))
        self._wake_if_needed()

    def _wake_if_needed(self) -> None:
        if self._state.queue.has_active:
            self._wake.set()

    # Scheduling

    async def run(self) -> None:
        """Schedule until cancelled."""
        async with Supervisor() as tasks:
            tasks.start(self._conditions.run(), name="conditions")
            tasks.start(self._events.run(), name="events")
            tasks.start(self._tick(), name="tick")
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._state.queue.has_active:
                    await self._batch(tasks)

    async def _batch(self, tasks: Supervisor) -> None:
        # A free slot first: while every slot is taken, pods gather for the next plan.
        await self._slots.acquire()
        entries = self._state.queue.take(self._config.plan_pods_max)
        decision = self._decide(entries)
        self._tell(decision)
        self._binding.update({entry.pod.uid: entry for entry in entries if entry.place is Place.TAKEN})
        size = self._config.bind_batch_pods
        parts = [decision.placements[start : start + size] for start in range(0, len(decision.placements), size)]
        if not parts:
            self._slots.release()
        for index, part in enumerate(parts):
            if index:
                await self._slots.acquire()
            tasks.start(self._bind(part), name="bind")
        # Let the watches have their turn, however long the queue is.
        await asyncio.sleep(0)

    def _decide(self, entries: Sequence[Entry]) -> Decision:
        started = self._clock.monotonic()
        with _spans("ursa.scheduler.schedule", (entry.pod for entry in entries)):
            decision = self._state.decide(entries, started)
        took = self._clock.monotonic() - started
        metrics.PLAN_PODS.observe(len(entries))
        metrics.ALGORITHM_DURATION.observe(took)
        metrics.EXTENSION_DURATION.labels("Filter+Score", "Success", self._profile).observe(took)
        return decision

    def _tell(self, decision: Decision) -> None:
        if not decision.refusals:
            return
        metrics.ATTEMPTS.labels("unschedulable", self._profile).inc(len(decision.refusals))
        self._conditions.tell(decision.refusals)
        for refusal in decision.refusals:
            self._events.record(
                refusal.pod.info,
                kind="Warning",
                reason="FailedScheduling",
                message=refusal.message,
                action="Scheduling",
            )

    async def _bind(self, placements: Sequence[Placement]) -> None:
        started = self._clock.monotonic()
        with _spans("ursa.scheduler.bind", (placement.pod for placement in placements)):
            unknown = await self._binder.send(placements)
        took = self._clock.monotonic() - started
        metrics.EXTENSION_DURATION.labels("Bind", "Success", self._profile).observe(took)
        metrics.ATTEMPT_DURATION.labels("scheduled", self._profile).observe(took)
        if not unknown:
            self._slots.release()
            return
        # Finding out may take long. Some batches may do so beside the ones in flight; with too many, this one keeps
        # its slot, and pods gather in the queue rather than in open binds.
        async with self._unresolved:
            self._slots.release()
            await self._binder.resolve(unknown)
            for placement in unknown:
                self._binding.pop(placement.pod.uid, None)

    def _settle(self, outcomes: Sequence[tuple[Placement, Fate]]) -> None:
        now = self._clock.monotonic()
        bound = 0
        for placement, fate in outcomes:
            entry = self._binding.pop(placement.pod.uid, None)
            if fate is Fate.BOUND:
                bound += 1
                self._bound(placement, entry, now)
            else:
                self._state.not_bound(placement, now, gone=fate is Fate.GONE)
        if bound:
            metrics.ATTEMPTS.labels("scheduled", self._profile).inc(bound)
        if bound < len(outcomes):
            metrics.ATTEMPTS.labels("error", self._profile).inc(len(outcomes) - bound)
            self._wake_if_needed()

    def _bound(self, placement: Placement, entry: Entry | None, now: float) -> None:
        self._state.bound(placement)
        if entry is not None:
            metrics.E2E_DURATION.labels(str(min(entry.attempts, 16))).observe(now - entry.added_at)
        if self._config.scheduled_events:
            self._events.record(
                placement.pod,
                kind="Normal",
                reason="Scheduled",
                message=f"Successfully assigned {placement.pod.namespace}/{placement.pod.name} to {placement.node}",
                action="Binding",
            )

    async def _tick(self) -> None:
        """Ends backoffs and waits, and keeps the gauges."""
        while True:
            queue = self._state.queue
            queue.tick(self._clock.monotonic())
            self._wake_if_needed()
            for place, name in _QUEUE_NAMES.items():
                metrics.PENDING.labels(name).set(queue.size(place))
            metrics.ASSUMED.set(self._state.assumed)
            for partition, count in self._state.table.counts().items():
                metrics.NODES.labels(partition).set(count)
            await self._clock.sleep(TICK_S)


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
