"""A world for operations of ``ursa bench scheduler``: partitions in memory, and a scheduler that is one function."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

from services.api.kinds import PODS, Kind
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.api.selectors import Selection
from services.base.clock import Clock, SystemClock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.bench.http2 import CallFailed
from services.bench.scheduler.access import Access, ResourceAccess, TenantAccess
from services.bench.scheduler.binds import BindLog
from services.bench.scheduler.creators import Creators
from services.bench.scheduler.run import CLIENT
from services.bench.scheduler.world import World
from services.client.clientset import Clientset
from services.rpc.status import StatusError
from tests.support.fake_partition import FakeChannel, FakePartition

Places = Callable[[Pod], str]
"""The node of a pod, "" for none."""


def anywhere(pod: Pod) -> str:
    return "node-1"


def nowhere(pod: Pod) -> str:
    return ""


class Double(FakePartition):
    """A partition that names objects, deletes collections with each pod's own grace, and tells a ``BindLog`` of pods.

    ``sizes`` are the numbers of pods of each create call. ``condition``: (reason, message) that a pod gets which is
    not placed.
    """

    def __init__(self, name: str, log: BindLog, clock: Clock, places: Places) -> None:
        super().__init__(name, clock=clock)
        self._log = log
        self._time = clock
        self._made = 0
        self.places = places
        self.condition: tuple[str, str] | None = None
        self.sizes: list[int] = []

    async def call(self, path: str, data: bytes) -> bytes:
        method = path.rpartition("/")[2]
        if method == "DeleteCollection":
            return self._delete_collection(meta_pb2.DeleteCollectionRequest.FromString(data))
        if method == "Delete" and "Pods" in path:
            data = self._with_own_grace(meta_pb2.DeleteRequest.FromString(data))
        return await super().call(path, data)

    def _batch(self, kind: Kind, method: str, objects: Any) -> meta_pb2.BatchResponse:
        if kind is PODS and method == "Create":
            self.sizes.append(len(objects))
        for message in objects:
            self._name(message)
        return super()._batch(kind, method, objects)

    def _one(self, kind: Kind, method: str, message: Any) -> Any:
        self._name(message)
        return super()._one(kind, method, message)

    def _name(self, message: Any) -> None:
        if not message.metadata.name:
            self._made += 1
            message.metadata.name = f"{message.metadata.generate_name}{self.name}-{self._made:05d}"

    def _with_own_grace(self, request: meta_pb2.DeleteRequest) -> bytes:
        pod = self.get(PODS, request.name, request.tenant, request.namespace)
        asked = request.HasField("grace_period_seconds")
        if not asked and pod is not None and pod.spec.HasField("termination_grace_period_seconds"):
            request.grace_period_seconds = pod.spec.termination_grace_period_seconds
        return request.SerializeToString()

    def _delete_collection(self, request: meta_pb2.DeleteCollectionRequest) -> bytes:
        selection = Selection.parse(request.label_selector, "", PODS.fields)
        found = [
            pod
            for pod in self.pods()
            if pod.metadata.namespace == request.namespace and selection.matches(PODS.attributes_of(pod))
        ]
        for pod in found:
            one = meta_pb2.DeleteRequest(tenant=request.tenant, namespace=request.namespace, name=pod.metadata.name)
            self._delete(PODS, meta_pb2.DeleteRequest.FromString(self._with_own_grace(one)))
        return meta_pb2.DeleteCollectionResponse(deleted=len(found)).SerializeToString()

    def _commit(self, kind: Kind, key: str, old: Any, new: Any) -> Any:
        committed = super()._commit(kind, key, old, new)
        if kind is not PODS:
            return committed
        event = SimpleNamespace(type=3, object=old) if new is None else SimpleNamespace(type=2, object=committed)
        self._log.take([event], self._time.monotonic())
        if old is not None or new is None:
            return committed
        node = self.places(committed)
        if node:
            bound = Pod()
            bound.CopyFrom(committed)
            bound.spec.node_name, bound.spec.resource_partition = node, "rp-1"
            return self._commit(kind, key, committed, bound)
        if self.condition is not None:
            committed.status.conditions.add(
                type="PodScheduled", status="False", reason=self.condition[0], message=self.condition[1]
            )
        return committed

    def pods(self, namespace: str = "") -> list[Pod]:
        found = list(self.objects[PODS.resource].values())
        return [pod for pod in found if not namespace or pod.metadata.namespace == namespace]


class LeanDouble:
    """As much of ``http2.Connection`` as creators use."""

    def __init__(self, partition: Double) -> None:
        self._partition = partition

    async def call(self, path: str, request: bytes) -> bytes:
        try:
            return await self._partition.call(path, request)
        except StatusError as failure:
            raise CallFailed(str(failure)) from failure


class BenchWorld:
    """``world`` for operations; ``tenants`` and ``resources`` are what they did to it."""

    def __init__(self, world: World, tenants: list[Double], resources: list[Double]) -> None:
        self.world = world
        self.tenants = tenants
        self.resources = resources
        self.said: list[str] = []

    async def run(self, *operations: Any) -> None:
        """Run operations as they are, one after the other."""
        for index, operation in enumerate(operations):
            await operation.run(self.world, index)


@contextlib.asynccontextmanager
async def bench_world(
    *, tenants: int = 1, resources: int = 1, places: Places = anywhere, clock: Clock | None = None,
    batch: int = 1, timeout_s: float = 60.0,
) -> AsyncIterator[BenchWorld]:  # fmt: skip
    """Partitions tp-1 … and rp-1 …, with one tenant each."""
    clock = clock or SystemClock()
    log = BindLog()
    tenant_doubles = [Double(f"tp-{number}", log, clock, places) for number in range(1, tenants + 1)]
    resource_doubles = [Double(f"rp-{number}", log, clock, nowhere) for number in range(1, resources + 1)]

    def tenant(double: Double) -> TenantAccess:
        lean: Any = LeanDouble(double)
        return TenantAccess(double.name, f"bench-{double.name}", lean, lean, Clientset(FakeChannel(double)))  # type: ignore[arg-type]

    def resource(double: Double) -> ResourceAccess:
        lean: Any = LeanDouble(double)
        return ResourceAccess(double.name, lean, Clientset(FakeChannel(double)))  # type: ignore[arg-type]

    async with Supervisor() as tasks:
        world = World(
            access=Access(tuple(map(tenant, tenant_doubles)), tuple(map(resource, resource_doubles))),
            log=log,
            tasks=tasks,
            clock=clock,
            rand=Rand(7),
            creators=Creators(30, batch),
            deadline=clock.monotonic() + timeout_s,
            pids={CLIENT: os.getpid()},
            scheduler_metrics=(),
            say=lambda _: None,
        )
        yield BenchWorld(world, tenant_doubles, resource_doubles)
