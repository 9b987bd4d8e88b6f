"""What scheduler tests stand on: nodes and pods in one line, and a scheduler over fake partitions on a fake clock."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from services.api.kinds import NODES, PODS, RESOURCE_PARTITIONS, Kind
from services.api.pb.ursa.core.v1 import pod_service_pb2
from services.api.pb.ursa.core.v1.node_pb2 import Node, Taint
from services.api.pb.ursa.core.v1.pod_pb2 import Pod, Toleration
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.api.pb.ursa.meta.v1.meta_pb2 import ObjectMeta
from services.api.pb.ursa.tenancy.v1.tenancy_pb2 import ResourcePartition, ResourcePartitionSpec
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.base.timeline import OFF, PodTimeline
from services.client.election import ElectionConfig
from services.client.partitions import Connection
from services.rpc import status
from services.rpc.status import StatusError
from services.scheduler.app import Scheduler
from services.scheduler.config import PartitionAddress, SchedulerConfig, SchedulingConfig
from tests.support.claiming import ResourcePartitionDouble
from tests.support.client_world import fake_connection, until
from tests.support.fake_partition import FakePartition


def make_node(
    name: str,
    *,
    cpu: str = "4",
    memory: str = "32Gi",
    pods: str = "110",
    labels: Mapping[str, str] | None = None,
    taints: Sequence[tuple[str, str, str]] = (),
    ready: bool = True,
    unschedulable: bool = False,
    **extended: str,
) -> Node:
    """A node; ``taints`` are (key, value, effect), ``extended`` further resources."""
    node = Node(metadata=ObjectMeta(name=name, uid=f"uid-{name}", labels=dict(labels or {})))
    node.status.allocatable.update({"cpu": cpu, "memory": memory, "pods": pods, **extended})
    node.status.conditions.add(type="Ready", status="True" if ready else "False")
    node.spec.unschedulable = unschedulable
    node.spec.taints.extend(Taint(key=key, value=value, effect=effect) for key, value, effect in taints)
    return node


def make_pod(
    name: str,
    *,
    tenant: str = "acme",
    namespace: str = "default",
    cpu: str = "",
    memory: str = "",
    labels: Mapping[str, str] | None = None,
    node_selector: Mapping[str, str] | None = None,
    tolerations: Sequence[Toleration] = (),
    host_port: int = 0,
    priority: int = 0,
    node: tuple[str, str] | None = None,
    gates: Sequence[str] = (),
    scheduler_name: str = "default-scheduler",
    requests: Mapping[str, str] | None = None,
    grace_s: int | None = None,
    preemption_policy: str = "",
) -> Pod:
    """A pod of one container; ``node`` is (resource partition, name) of a pod that is placed."""
    pod = Pod(metadata=ObjectMeta(name=name, uid=f"uid-{tenant}-{namespace}-{name}", tenant=tenant))
    pod.metadata.namespace = namespace
    pod.metadata.labels.update(labels or {})
    container = pod.spec.containers.add(name="main", image="registry.example/app:1")
    wanted = {"cpu": cpu, "memory": memory, **(requests or {})}
    container.resources.requests.update({resource: amount for resource, amount in wanted.items() if amount})
    if host_port:
        container.ports.add(container_port=host_port, host_port=host_port, protocol="TCP")
    pod.spec.node_selector.update(node_selector or {})
    pod.spec.tolerations.extend(tolerations)
    pod.spec.scheduler_name = scheduler_name
    if priority:
        pod.spec.priority = priority
    if grace_s is not None:
        pod.spec.termination_grace_period_seconds = grace_s
    pod.spec.preemption_policy = preemption_policy
    if node is not None:
        pod.spec.resource_partition, pod.spec.node_name = node
    for gate in gates:
        pod.spec.scheduling_gates.add(name=gate)
    pod.status.phase = "Pending"
    return pod


class TenantPartitionDouble(FakePartition):
    """A fake tenant partition whose Bind is a compare-and-swap, and that can lose answers.

    ``bindings`` are all committed binds, in order: (pod uid, resource partition, node).
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.bindings: list[tuple[str, str, str]] = []
        self.bind_calls = 0
        self._lost: list[str] = []
        self._lost_revocations: list[str] = []
        self._lost_deletions: list[str] = []

    def lose_deletions(self, *stages: str) -> None:
        """As ``lose_binds``, for the next deletions in batches."""
        self._lost_deletions += stages

    def lose_revocations(self, *stages: str) -> None:
        """As ``lose_binds``, for the next revocations."""
        self._lost_revocations += stages

    def lose_binds(self, *stages: str) -> None:
        """For each of the next bind batches: "before" it is applied, "after" it, or "never" (nothing is lost)."""
        self._lost += stages

    def placements(self) -> dict[str, tuple[str, str]]:
        """Where each bound pod is, by ``tenant/namespace/name``."""
        return {
            f"{pod.metadata.tenant}/{pod.metadata.namespace}/{pod.metadata.name}": (
                pod.spec.resource_partition,
                pod.spec.node_name,
            )
            for pod in self.objects[PODS.resource].values()
            if pod.spec.node_name
        }

    def unbound(self) -> list[str]:
        return [pod.metadata.name for pod in self.objects[PODS.resource].values() if not pod.spec.node_name]

    async def call(self, path: str, data: bytes) -> bytes:
        method = path.rsplit("/", 1)[1]
        if method not in ("BatchRevokeBind", "BatchDelete"):
            return await super().call(path, data)
        if self.down:
            raise status.unavailable("partition is down")
        if method == "BatchDelete":
            items = pod_service_pb2.BatchDeletePodsRequest.FromString(data)
            self.calls.append((method, items))
            stage = self._lost_deletions.pop(0) if self._lost_deletions else "never"
            if stage == "before":
                raise status.unavailable("the request was lost")
            deleted = self._delete_all(items)
            if stage == "after":
                raise status.unavailable("the answer was lost")
            return deleted.SerializeToString()
        asked = pod_service_pb2.BatchRevokeBindRequest.FromString(data)
        self.calls.append((method, asked))
        stage = self._lost_revocations.pop(0) if self._lost_revocations else "never"
        if stage == "before":
            raise status.unavailable("the request was lost")
        answer = pod_service_pb2.BatchRevokeBindResponse(outcomes=[self._revoke(one) for one in asked.revocations])
        if stage == "after":
            raise status.unavailable("the answer was lost")
        return answer.SerializeToString()

    def _revoke(self, asked: pod_service_pb2.PodRevocation) -> pod_service_pb2.RevocationOutcome:
        outcome = pod_service_pb2.RevocationOutcome(uid=asked.uid)
        pod = self.get(PODS, asked.name, asked.tenant, asked.namespace)
        if pod is None or pod.metadata.uid != asked.uid:
            outcome.state = outcome.ABSENT
        elif pod.status.phase in ("Succeeded", "Failed"):
            outcome.state = outcome.TERMINAL
        elif pod.spec.node_name:
            outcome.state = outcome.BOUND
            outcome.node_name, outcome.resource_partition = pod.spec.node_name, pod.spec.resource_partition
        else:
            outcome.state = outcome.REVOKED
            if pod.spec.bind_epoch <= asked.bind_epoch:
                pod.spec.bind_epoch = asked.bind_epoch + 1
                self.put(PODS, pod)
            outcome.bind_epoch = pod.spec.bind_epoch
        return outcome

    def _delete_all(self, request: pod_service_pb2.BatchDeletePodsRequest) -> meta_pb2.BatchResponse:
        response = meta_pb2.BatchResponse()
        for item in request.items:
            outcome = response.outcomes.add(name=item.name)
            try:
                self._delete(PODS, item)
            except StatusError as error:
                outcome.status.CopyFrom(error.to_status())
                continue
            left = self.get(PODS, item.name, item.tenant, item.namespace)
            outcome.resource_version = left.metadata.resource_version if left is not None else 0
        return response

    def _batch(self, kind: Kind, method: str, objects: Any) -> Any:
        if method != "Bind":
            return super()._batch(kind, method, objects)
        self.bind_calls += 1
        stage = self._lost.pop(0) if self._lost else "never"
        if stage == "before":
            raise status.unavailable("the request was lost")
        response = super()._batch(kind, method, objects)
        if stage == "after":
            raise status.unavailable("the answer was lost")
        return response

    def _one(self, kind: Kind, method: str, message: Any) -> Any:
        if method != "Bind":
            return super()._one(kind, method, message)
        metadata = message.metadata
        old = self.get(PODS, metadata.name, metadata.tenant, metadata.namespace)
        self._check(kind, old, metadata.name, metadata.uid, 0)
        wanted = (message.resource_partition, message.target.name)
        if old.spec.node_name:
            if (old.spec.resource_partition, old.spec.node_name) == wanted:
                return old
            raise status.conflict("pods", metadata.name, "the pod is bound already")
        if old.spec.bind_epoch != message.bind_epoch:
            raise status.conflict("pods", metadata.name, "the bind epoch has passed")
        self.bindings.append((old.metadata.uid, *wanted))
        new = super()._one(kind, method, message)
        new.spec.capacity_claimed = message.capacity_claimed
        return new


class SchedulerWorld:
    """One tenant partition, some resource partitions, and schedulers over them, all on one fake clock."""

    def __init__(self, resource_partitions: Sequence[str] = ("rp-1", "rp-2"), **scheduling: Any) -> None:
        self.clock = FakeClock()
        self.tenant = TenantPartitionDouble("tp-1", clock=self.clock)
        self.resource = {name: ResourcePartitionDouble(name, clock=self.clock) for name in resource_partitions}
        self.scheduling = SchedulingConfig(**scheduling)
        self.election = ElectionConfig(enabled=False)
        self.timeline: PodTimeline = OFF
        for name in resource_partitions:
            self.announce(name)

    def announce(self, name: str, endpoint: str = "") -> None:
        """Put the ResourcePartition object of ``name`` into the tenant partition; nobody answers at other endpoints."""
        self.resource.setdefault(name, ResourcePartitionDouble(name, clock=self.clock))
        spec = ResourcePartitionSpec(endpoints=[endpoint or name])
        self.tenant.put(RESOURCE_PARTITIONS, ResourcePartition(metadata=ObjectMeta(name=name), spec=spec))

    def add_nodes(self, partition: str, count: int, prefix: str = "node", **shape: Any) -> None:
        for number in range(count):
            self.resource[partition].put(NODES, make_node(f"{prefix}-{number:03d}", **shape))

    def add_pods(self, *names: str, **shape: Any) -> None:
        for name in names:
            self.tenant.put(PODS, make_pod(name, **shape))

    def scheduler(self, name: str = "scheduler-tp-1", seed: int = 0) -> Scheduler:
        config = SchedulerConfig(
            name=name,
            tenant_partition=PartitionAddress("tp-1", ()),
            seed=seed,
            scheduling=self.scheduling,
            leader_election=self.election,
        )
        return Scheduler(
            config,
            fake_connection(self.tenant, self.clock, seed),
            clock=self.clock,
            rand=Rand(seed),
            connect=self._connect,
            timeline=self.timeline,
        )

    @contextlib.asynccontextmanager
    async def running(self, name: str = "scheduler-tp-1", seed: int = 0) -> AsyncIterator[Scheduler]:
        """A scheduler at work; it is stopped on leaving."""
        async with Supervisor() as tasks:
            scheduler = self.scheduler(name, seed)
            tasks.start(scheduler.run(), name=name)
            yield scheduler

    async def until_bound(self, pods: int, *, seconds: float = 60.0) -> None:
        await until(self.clock, lambda: len(self.tenant.placements()) >= pods, seconds=seconds)

    def assert_claims_are_those_of_bound_pods(self) -> None:
        """No claim has leaked, and no pod is bound without one."""
        bound = {pod.metadata.uid: pod for pod in self.tenant.objects[PODS.resource].values() if pod.spec.node_name}
        claimed = {
            uid: (name, claim.spec.node_name)
            for name, partition in self.resource.items()
            for uid, claim in partition.claims().items()
            if claim.spec.tenant_partition == "tp-1"
        }
        assert claimed == {
            uid: (pod.spec.resource_partition, pod.spec.node_name)
            for uid, pod in bound.items()
            if pod.spec.capacity_claimed
        }
        assert not [node for partition in self.resource.values() for node in partition.over_committed()]

    def pods_per_node(self) -> Counter[tuple[str, str]]:
        return Counter(self.tenant.placements().values())

    def _connect(self, name: str, endpoints: Sequence[str]) -> Connection:
        partition = self.resource.get(endpoints[0])
        if partition is None:
            partition = ResourcePartitionDouble(name, clock=self.clock)
            partition.go_down()
        connection = fake_connection(partition, self.clock)
        connection.endpoints = tuple(endpoints)
        return connection
