"""What the operations of a workload share: clients, what is known of pods, background work, measurements."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.api import kinds
from services.api.kinds import Kind
from services.api.pb.ursa.core.v1.namespace_pb2 import Namespace
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.bench.scheduler import creators, priorities, scraping
from services.bench.scheduler.access import Access, TenantAccess
from services.bench.scheduler.binds import BindLog, Key
from services.bench.scheduler.creators import Creators
from services.bench.scheduler.errors import WorkloadFailed
from services.bench.scheduler.measuring import Measured, Window
from services.bench.scheduler.pending import Pending, pending
from services.bench.scheduler.pod_source import PodSource, shape_of
from services.bench.scheduler.templates import Template
from services.client.clientset import ResourceClient
from services.rpc.status import StatusError

Say = Callable[[str], None]


@dataclass
class World:
    """``expected``: pods that a barrier waits for, by namespace that is known. ``deadline``: of the whole workload, on
    the clock. ``notes``: what a reader of the result must know."""

    access: Access
    log: BindLog
    tasks: Supervisor
    clock: Clock
    rand: Rand
    creators: Creators
    deadline: float
    pids: Mapping[str, int]
    scheduler_metrics: Sequence[str]
    say: Say
    expected: dict[str, int] = field(default_factory=dict)
    measured: list[Measured] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    node_names: set[str] = field(default_factory=set)
    priorities: set[int] = field(default_factory=set)
    _window: Window | None = None

    # Namespaces

    async def ensure_namespace(self, name: str, template: Namespace | None = None) -> None:
        """Create a namespace in every tenant, unless this workload knows it."""
        if name in self.expected:
            return
        for target in self.access.tenants:
            namespace = Namespace()
            if template is not None:
                namespace.CopyFrom(template)
            namespace.metadata.name, namespace.metadata.tenant = name, target.tenant
            try:
                await target.clients.namespaces.create(namespace)
            except StatusError as failure:
                if failure.reason != "AlreadyExists":
                    raise WorkloadFailed(f"namespace {name}: {failure}") from failure
        self.expected.setdefault(name, 0)

    async def ensure_priorities(self, numbers: Collection[int]) -> None:
        """Create the classes of these numbers in every tenant, unless this workload knows them."""
        for number in numbers:
            if number in self.priorities:
                continue
            for target in self.access.tenants:
                made = priorities.priority_class(number)
                made.metadata.tenant = target.tenant
                try:
                    await target.clients.priority_classes.create(made)
                except StatusError as failure:
                    raise WorkloadFailed(f"priority class {made.metadata.name}: {failure}") from failure
            self.priorities.add(number)

    # Pods

    async def pod_source(
        self, template: Template | None, namespace: str, count: int, values: Mapping[str, Any]
    ) -> PodSource:
        """What creates pods of a template, everything that they need being there."""
        source = PodSource(template, [target.tenant for target in self.access.tenants], namespace, count, values)
        await self.ensure_priorities(source.priorities)
        return source

    async def create_pods(self, namespace: str, source: PodSource, count: int) -> list[Key]:
        """Returns when every create is answered."""
        return await creators.create(self.creators, self.access.tenants, namespace, source, count, self.log, self.clock)

    async def until_scheduled(self, namespace: str, count: int, keys: Collection[Key] = ()) -> None:
        """Until ``count`` pods of the namespace are bound, whichever (upstream's rule), and every one of ``keys``.

        Raises ``WorkloadFailed`` saying how many are not, and why.
        """
        log = self.log
        waiting = set(keys)

        def over() -> bool:
            if log.scheduled[namespace] < count:
                return False
            waiting.difference_update([key for key in waiting if key in log.bound])
            return not waiting

        if not await log.until(over, self.left_s()):
            raise WorkloadFailed(await self._why(namespace, count))

    async def _why(self, namespace: str, count: int) -> str:
        head = f"{self.log.scheduled[namespace]} of {count} pods of {namespace} were bound"
        if self.log.broken:
            return f"{head}; {self.log.broken}"
        found = await self.pending(namespace)
        return f"{head} before the workload's time was over; {found}"

    async def pending(self, namespace: str, labels: Mapping[str, str] | None = None) -> Pending:
        """The unbound pods of a namespace, asked of the servers now."""
        return await pending(self.access.tenants, namespace, labels or {})

    def left_s(self) -> float:
        """Until the workload's deadline."""
        return max(0.0, self.deadline - self.clock.monotonic())

    # Objects

    def homes(self, kind: Kind, number: int) -> list[tuple[TenantAccess | None, ResourceClient[Any]]]:
        """Where an object of ``kind`` belongs, the ``number``-th of its operation: pods in one tenant, nodes in one
        resource partition, in turn; what pods refer to (services, budgets, classes) in every tenant."""
        tenants, resources = self.access.tenants, self.access.resources
        if not kind.tenant_scoped:
            served = kind.served_by(kinds.RESOURCE_PARTITION)
            clients = resources[number % len(resources)].clients if served else tenants[0].clients
            return [(None, clients.resource(kind))]
        chosen = [tenants[number % len(tenants)]] if kind is kinds.PODS else tenants
        return [(target, target.clients.resource(kind)) for target in chosen]

    async def create_object(self, kind: Kind, template: Any, namespace: str, number: int) -> list[tuple[str, int]]:
        """Create it where it belongs; (name, home's index) of each copy. Raises ``StatusError``."""
        made = []
        for index, (target, client) in enumerate(self.homes(kind, number)):
            message = _placed(kind, template, target, namespace)
            if kind is kinds.PODS and (priority := priorities.classify(message)) is not None:
                await self.ensure_priorities((priority,))
            began = self.clock.monotonic()
            created = await client.create(message)
            if kind is kinds.PODS:
                key = (created.metadata.tenant, created.metadata.namespace, created.metadata.name)
                self.log.create((key,), began, self.clock.monotonic(), shape_of(message))
            made.append((str(created.metadata.name), index))
        return made

    async def delete_object(self, kind: Kind, name: str, namespace: str, number: int, home: int) -> None:
        """Raises ``StatusError``."""
        target, client = self.homes(kind, number)[home]
        tenant = target.tenant if target is not None else ""
        await client.delete(name, tenant=tenant, namespace=namespace if kind.namespaced else "")

    async def update_object(
        self, kind: Kind, template: Any, namespace: str, number: int, *, status_only: bool = False
    ) -> None:
        """Replace the object of that name, and its status if it has one. Raises ``StatusError``."""
        for target, client in self.homes(kind, number):
            message = _placed(kind, template, target, namespace)
            if not status_only:
                await client.update(message)
            if kind.has_status:
                await client.update_status(message)

    # Background work

    def background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run beside the following operations, until the workload ends."""
        self.tasks.start(work, name=name)

    # Measuring

    async def start_collecting(self, name: str, namespaces: Collection[str], labels: Mapping[str, str]) -> None:
        """Raises ``WorkloadFailed`` when a window is open already."""
        if self._window is not None:
            raise WorkloadFailed("metrics collection is overlapping")
        before = await scraping.scrape(self.scheduler_metrics)
        self._window = Window(name, self._selection(namespaces, labels), self.log, self.clock, self.pids, before)

    def _selection(self, namespaces: Collection[str], labels: Mapping[str, str]) -> Callable[[Key], bool]:
        wanted, created = frozenset(namespaces), self.log.created

        def selects(key: Key) -> bool:
            if wanted and key[1] not in wanted:
                return False
            # Labels are those that the pod was created with; a pod of somebody else's has none that are known.
            return not labels or (key in created and labels.items() <= created[key].shape.labels.items())

        return selects

    async def stop_collecting(self, *, keys: Collection[Key] | None = None, waiting_since: float | None = None) -> None:
        """Raises ``WorkloadFailed`` when no window is open, or no pod was bound in it."""
        if self._window is None:
            raise WorkloadFailed("metrics collection was not started")
        after = await scraping.scrape(self.scheduler_metrics)
        self.measured.append(self._window.close(after, keys=keys, waiting_since=waiting_since))
        self._window = None


def _placed(kind: Kind, template: Any, target: TenantAccess | None, namespace: str) -> Any:
    message = kind.message()
    message.CopyFrom(template)
    metadata: Any = message.metadata  # type: ignore[attr-defined]
    if target is not None:
        metadata.tenant = target.tenant
    if kind.namespaced:
        metadata.namespace = namespace
    return message
