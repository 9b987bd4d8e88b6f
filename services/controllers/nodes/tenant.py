"""The node controllers' work in one tenant partition: loops that wait for this partition and for no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from services.api.conditions import NODE_NOT_READY
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor, first_of
from services.client.calls import is_retryable
from services.client.informer import Change
from services.controllers.events import About, EventRecorder
from services.controllers.nodes import marking, metrics, podwrites
from services.controllers.nodes.config import NodesConfig
from services.controllers.nodes.evictions import Eviction, Evictions
from services.controllers.nodes.facts import UNREADY, NodeFact, taint_message
from services.controllers.nodes.guard import NodeGuard
from services.controllers.nodes.toleration import stays_s
from services.controllers.pods import SeenPod
from services.controllers.tenants import TenantPods
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

# An eviction that nothing justifies right now is looked at again after so long.
UNJUSTIFIED_PAUSE_S = 1.0
TRIES_MAX = 3
# Pods that are ready on a node that is not are marked after so long: a node that is just coming back has told so by
# then, and a kubelet that contradicts every mark costs one in this time.
CONTRADICTED_PAUSE_S = 5.0


class TenantNodes:
    """``fact_of``: a node of this resource partition as it is known."""

    def __init__(
        self,
        tenant: TenantPods,
        resource_partition: str,
        fact_of: Callable[[str], NodeFact | None],
        guard: NodeGuard,
        config: NodesConfig,
        *,
        clock: Clock,
        rand: Rand,
    ) -> None:
        self.evictions = Evictions()
        # Taints that are older than this manager's work were another's: of them only the rest of the time is left, but
        # no pod goes before nodes have had their grace under this one.
        self._began_at = clock.time()
        self._inherits_until = clock.monotonic() + config.grace_s
        self.events = EventRecorder(
            tenant.connection.clientset.events,
            component="taint-eviction-controller",
            per_second=config.events_per_s,
            clock=clock,
            rand=rand,
        )
        self._tenant = tenant
        self._resource_partition = resource_partition
        self._fact_of = fact_of
        self._guard = guard
        self._config = config
        self._clock = clock
        self._rand = rand
        self._unready: dict[str, None] = {}
        # Nodes to be marked again, and when that is due, in its order.
        self._contradicted: dict[str, float] = {}
        self._wake_evicting = asyncio.Event()
        self._wake_marking = asyncio.Event()
        self._wake_contradicted = asyncio.Event()
        # How often a pod could not be told why it goes; after a few tries it goes all the same.
        self._untold: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def partition(self) -> str:
        return self._tenant.partition

    def start(self, tasks: Supervisor) -> None:
        loops = (
            (self._evict_all, "evict"),
            (self._mark_all, "unready"),
            (self._mark_contradicted, "contradicted"),
            (self.events.run, "events"),
        )
        for work, name in loops:
            self._tasks.append(tasks.start(work(), name=f"{name}-{self.partition}"))

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        metrics.forget(self.partition)

    def rebind(self) -> None:
        """The partition's endpoints are others."""
        self.events.events = self._tenant.connection.clientset.events

    # What is seen

    def pods_changed(self, changes: Sequence[Change[SeenPod]]) -> None:
        now = self._clock.monotonic()
        for change in changes:
            pod = change.new
            if pod is None:
                self._drop(change.key)
            elif pod.node:
                fact = self._fact_of(pod.node)
                if pod.uid in self.evictions or (fact is not None and fact.executing):
                    self._place(pod, fact, now)
                # Bound, or reported, after the node's pods were marked; or its kubelet has another opinion.
                if pod.ready and fact is not None and fact.ready in UNREADY:
                    self._look_again(pod.node, now)
        self._wake_evicting.set()

    def node_tainted(self, node: str, fact: NodeFact | None, *, anew: bool = False) -> None:
        """The node's NoExecute taints have changed; None: the node is gone, and with it its taints. ``anew``: they were
        gone in between, so that its pods' time begins again."""
        now = self._clock.monotonic()
        for pod in self._tenant.on_node(node):
            if anew:
                self._drop(pod.uid)
            self._place(pod, fact, now)
        self._wake_evicting.set()

    def node_ready(self, node: str, ready: bool) -> None:
        """Its pods are not ready while it is not; it speaks for them itself when it is."""
        if ready:
            self._unready.pop(node, None)
            self._contradicted.pop(node, None)
        elif self._tenant.on_node(node):
            self._unready[node] = None
            self._wake_marking.set()

    def measure(self) -> None:
        metrics.PLANNED.labels(self.partition).set(len(self.evictions))

    def _place(self, pod: SeenPod, fact: NodeFact | None, now: float) -> None:
        taints = [taint_message(key, value) for key, value, _ in fact.executing] if fact is not None else []
        stays = stays_s(taints, pod.tolerations)
        inherited: dict[str, float] = {}
        if stays and fact is not None and now < self._inherits_until:
            added_at = max(added for *_, added in fact.executing) / 1e9
            if 0 < added_at < self._began_at:
                inherited = {"spent_s": max(0.0, self._clock.time() - added_at), "not_before": self._inherits_until}
        if self.evictions.place(pod, stays, now, **inherited):
            self._untold.pop(pod.uid, None)
            self._record(pod, "TaintManagerEviction", f"Cancelling deletion of Pod {pod.namespace}/{pod.name}")

    def _drop(self, uid: str) -> None:
        self.evictions.cancel(uid)
        self._untold.pop(uid, None)

    # Evictions

    async def _evict_all(self) -> None:
        backoff = self._backoff()
        while True:
            batch = self.evictions.take(self._clock.monotonic(), self._config.batch_pods)
            if batch:
                await self._try(lambda batch=batch: self._evict(batch), backoff, batch)  # type: ignore[misc]
                continue
            self._wake_evicting.clear()
            next_at = self.evictions.next_at()
            if next_at is None:
                await self._wake_evicting.wait()
            else:
                pause_s = max(0.001, next_at - self._clock.monotonic())
                await first_of(self._wake_evicting.wait(), self._clock.sleep(pause_s))

    async def _try(self, work: Callable[[], Awaitable[None]], backoff: Backoff, batch: Sequence[Eviction]) -> None:
        try:
            await work()
        except StatusError as failure:
            pause_s = backoff.next()
            metrics.FAILURES.labels(self.partition).inc(len(batch))
            _log.info(
                "evictions wait: a partition does not answer",
                extra={"tenant_partition": self.partition, "pods": len(batch), "cause": failure.message},
            )
            self.evictions.again(batch, self._clock.monotonic())
            await self._clock.sleep(pause_s)
        else:
            backoff.reset()

    async def _evict(self, batch: Sequence[Eviction]) -> None:
        """Confirm, tell, confirm again, delete. Raises ``StatusError``: this partition does not answer, or the nodes'
        does not."""
        reading = await self._guard.read({eviction.pod.node for eviction in batch})

        # Of the reading that is the newest when it is asked.
        def justified(eviction: Eviction) -> bool:
            taints = self._guard.taints(reading, eviction.pod.node)
            return bool(taints) and stays_s(taints, eviction.pod.tolerations) is not None

        chosen = self._split(batch, justified, UNJUSTIFIED_PAUSE_S)
        if not chosen:
            return
        told = await self._tell(chosen)
        # Telling took its time: what justified the deletion may have gone meanwhile, and the reading may be too old.
        if not self._guard.is_fresh(reading):
            reading = await self._guard.read({eviction.pod.node for eviction in told})
        ready = [eviction for eviction in self._split(told, justified, 0.0) if self.evictions.is_planned(eviction)]
        if ready:
            await self._delete(ready)

    def _split(self, batch: Sequence[Eviction], holds: Callable[[Eviction], bool], pause_s: float) -> list[Eviction]:
        """Those for which it holds; the others are looked at again after the pause."""
        chosen = [eviction for eviction in batch if holds(eviction)]
        if len(chosen) < len(batch):
            keep = {id(eviction) for eviction in chosen}
            others = [eviction for eviction in batch if id(eviction) not in keep]
            self.evictions.again(others, self._clock.monotonic() + pause_s)
        return chosen

    async def _tell(self, batch: Sequence[Eviction]) -> list[Eviction]:
        """Write into the pods' status why they go; those that may be deleted now."""
        by_node: dict[str, set[str]] = {}
        for eviction in batch:
            if self._untold.get(eviction.pod.uid, 0) < TRIES_MAX:
                by_node.setdefault(eviction.pod.node, set()).add(eviction.pod.uid)
        failed: set[str] = set()
        for node, uids in by_node.items():
            failed |= (await self._mark(node, podwrites.disrupted, frozenset(uids))).failed
        for uid in failed:
            self._untold[uid] = self._untold.get(uid, 0) + 1
        return self._split(batch, lambda eviction: eviction.pod.uid not in failed, 0.1)

    async def _delete(self, batch: Sequence[Eviction]) -> None:
        pods = self._tenant.connection.clientset.pods
        requests = [podwrites.deletion(eviction.pod) for eviction in batch]
        outcomes = await pods.batch_delete(requests, timeout_s=self._config.call_timeout_s)
        now = self._clock.monotonic()
        for eviction, outcome in zip(batch, outcomes, strict=True):
            pod, error = eviction.pod, outcome.status
            if error is not None and is_retryable(error):
                metrics.FAILURES.labels(self.partition).inc()
                self.evictions.again([eviction], now + UNJUSTIFIED_PAUSE_S)
                continue
            # Deleted, or there is no such pod any more.
            self.evictions.done(eviction)
            self._untold.pop(pod.uid, None)
            if error is None:
                metrics.POD_DELETIONS.labels(self.partition).inc()
                metrics.POD_DELETION_SECONDS.observe(max(0.0, now - eviction.since - eviction.stays_s))
                self._record(pod, "TaintManagerEviction", f"Marking for deletion Pod {pod.namespace}/{pod.name}")
        _log.info("pods evicted", extra={"tenant_partition": self.partition, "pods": len(batch)})

    # Pods of nodes that are not ready

    async def _mark_all(self) -> None:
        backoff, in_vain = self._backoff(), 0
        while True:
            node = next(iter(self._unready), None)
            if node is None:
                self._wake_marking.clear()
                await self._wake_marking.wait()
                continue
            # Off the list first: what is seen of the node from now on puts it there anew.
            del self._unready[node]
            try:
                marked = await self._mark(node, podwrites.not_ready, None)
            except StatusError as failure:
                _log.info(
                    "pods of a node that is not ready wait: their tenant partition does not answer",
                    extra={"tenant_partition": self.partition, "node": node, "cause": failure.message},
                )
                self._mark_again(node)
                await self._clock.sleep(backoff.next())
                continue
            for pod in marked.written:
                about = About("Pod", pod.metadata.tenant, pod.metadata.namespace, pod.metadata.name, pod.metadata.uid)
                self.events.record(about, kind="Warning", reason=NODE_NOT_READY, message=podwrites.NOT_READY_MESSAGE)
            if not marked.failed:
                backoff.reset()
                in_vain = 0
                continue
            self._mark_again(node)
            in_vain += 1
            if in_vain >= len(self._unready):
                # Nothing but those that fail is left; what comes meanwhile need not wait for them.
                in_vain = 0
                self._wake_marking.clear()
                await first_of(self._wake_marking.wait(), self._clock.sleep(backoff.next()))

    def _look_again(self, node: str, now: float) -> None:
        if node not in self._contradicted:
            self._contradicted[node] = now + CONTRADICTED_PAUSE_S
            self._wake_contradicted.set()

    async def _mark_contradicted(self) -> None:
        """Upstream marks at every change of such a pod (``nodelifecycle``, ``processPod``); here it is paced."""
        while True:
            node, due = next(iter(self._contradicted.items()), ("", 0.0))
            if not node:
                self._wake_contradicted.clear()
                await self._wake_contradicted.wait()
                continue
            await self._clock.sleep(max(0.0, due - self._clock.monotonic()))
            if not self._guard.sees:
                # Of no node is it known how it is: all keep their places.
                await self._clock.sleep(CONTRADICTED_PAUSE_S)
                continue
            if self._contradicted.get(node) == due:
                del self._contradicted[node]
                self._mark_if_contradicted(node)

    def _mark_if_contradicted(self, node: str) -> None:
        fact = self._fact_of(node)
        if fact is None or fact.ready not in UNREADY or not any(pod.ready for pod in self._tenant.on_node(node)):
            return
        if self._guard.is_unready(fact):
            self._unready[node] = None
            self._wake_marking.set()
        else:
            self._look_again(node, self._clock.monotonic())

    def _mark_again(self, node: str) -> None:
        """After the others: what cannot be written for one holds up none of them. Not if it is ready by now."""
        fact = self._fact_of(node)
        if fact is not None and fact.ready in UNREADY:
            self._unready[node] = None

    async def _mark(self, node: str, change: marking.Change, only: frozenset[str] | None) -> marking.Marked:
        return await marking.mark(
            self._tenant.connection.clientset.pods,
            node,
            self._resource_partition,
            change,
            now_s=self._clock.time(),
            batch=self._config.batch_pods,
            timeout_s=self._config.call_timeout_s,
            only=only,
        )

    def _record(self, pod: SeenPod, reason: str, message: str) -> None:
        about = About("Pod", pod.tenant, pod.namespace, pod.name, pod.uid)
        self.events.record(about, kind="Normal", reason=reason, message=message)

    def _backoff(self) -> Backoff:
        return Backoff(self._rand, initial_s=0.1, maximum_s=self._config.backoff_max_s)
