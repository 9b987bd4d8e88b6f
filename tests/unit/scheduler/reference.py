"""A slow scheduler, written from the rules alone: one pod after the other, plain Python, no columns and no heap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.placement import affinity, nodes, pods, tolerations
from services.scheduler.core.nodes import NodeId
from services.scheduler.core.plugins.node_unschedulable import UNSCHEDULABLE
from services.scheduler.core.ties import tie_hash
from tests.unit.scheduler import reference_topology as topology


@dataclass
class ReferenceNode:
    id: NodeId
    node: Node
    placed: list[Pod] = field(default_factory=list)

    def used(self, resource: str) -> int:
        return sum(pods.requests(pod).get(resource, 0) for pod in self.placed)

    def scoring_used(self, resource: str) -> int:
        return sum(pods.non_zero_requests(pod).get(resource, 0) for pod in self.placed)


class ReferenceScheduler:
    def __init__(
        self,
        cluster: Sequence[tuple[str, Node]],
        *,
        scheduler: str,
        seed: int,
        namespaces: topology.NamespaceLabels | None = None,
    ) -> None:
        self.nodes = [ReferenceNode(NodeId(partition, node.metadata.name), node) for partition, node in cluster]
        self._scheduler = scheduler
        self._seed = seed
        self.namespaces = namespaces or {}

    def allowed(self, pod: Pod, on: ReferenceNode) -> bool:
        """Feasible, and nothing that is placed elsewhere forbids it."""
        if not self.feasible(pod, on):
            return False
        places, at = self._places(self.nodes), self._places([on])[0]
        return topology.spreading_allows(pod, at, places) and topology.affinity_allows(pod, at, places, self.namespaces)

    def place(self, pod: Pod) -> NodeId | None:
        feasible = [node for node in self.nodes if self.allowed(pod, node)]
        if not feasible:
            return None
        chosen, places = self._places(feasible), self._places(self.nodes)
        spread = topology.spreading_scores(pod, chosen, places)
        wished = topology.affinity_scores(pod, chosen, places, self.namespaces)
        more = {node.id: 2 * a + 2 * b for node, a, b in zip(feasible, spread, wished, strict=True)}
        best = min(feasible, key=lambda node: self._key(pod, node, feasible, more[node.id]))
        best.placed.append(pod)
        return best.id

    @staticmethod
    def feasible(pod: Pod, on: ReferenceNode) -> bool:
        node, spec = on.node, pod.spec
        if node.spec.unschedulable and not tolerations.tolerates(spec.tolerations, UNSCHEDULABLE):
            return False
        if not nodes.is_ready(node) or tolerations.untolerated(node.spec.taints, spec.tolerations):
            return False
        if spec.resource_partition and spec.resource_partition != on.id.partition:
            return False
        if not affinity.pod_matches_node(pod, node.metadata.labels, node.metadata.name):
            return False
        taken = [port for placed in on.placed for port in pods.host_ports(placed)]
        if pods.ports_conflict(pods.host_ports(pod), taken):
            return False
        used = {resource: on.used(resource) for resource in pods.requests(pod)}
        return not nodes.fits(pods.requests(pod), nodes.allocatable(node), used, len(on.placed))

    @staticmethod
    def _places(nodes: Sequence[ReferenceNode]) -> list[topology.Place]:
        return [(node.id.partition, node.node, node.placed) for node in nodes]

    def _key(
        self, pod: Pod, on: ReferenceNode, feasible: list[ReferenceNode], more: int
    ) -> tuple[int, int, int, int, int]:
        of_tenant: Counter[str] = Counter()
        total: Counter[str] = Counter()
        for node in self.nodes:
            for placed in node.placed:
                total[node.id.partition] += 1
                of_tenant[node.id.partition] += placed.metadata.tenant == pod.metadata.tenant
        partition = on.id.partition
        return (
            -self._score(pod, on, feasible) - more,
            of_tenant[partition],
            total[partition],
            len(on.placed),
            tie_hash(self._seed, self._scheduler, on.id),
        )

    def _score(self, pod: Pod, on: ReferenceNode, feasible: list[ReferenceNode]) -> int:
        worst = max(_preferred_against(pod, node.node) for node in feasible)
        best = max(_preferred_for(pod, node.node) for node in feasible)
        score = 3 * (100 - (_preferred_against(pod, on.node) * 100 // worst if worst else 0))
        score += 2 * (_preferred_for(pod, on.node) * 100 // best if best else 0)
        return score + _least_allocated(pod, on) + _balanced(pod, on)


def _preferred_against(pod: Pod, node: Node) -> int:
    relevant = [t for t in pod.spec.tolerations if t.effect in ("", "PreferNoSchedule")]
    return len(tolerations.untolerated(node.spec.taints, relevant, ("PreferNoSchedule",)))


def _preferred_for(pod: Pod, node: Node) -> int:
    terms = pod.spec.affinity.node_affinity.preferred_during_scheduling_ignored_during_execution
    return sum(
        term.weight
        for term in terms
        if affinity.node_matches(term.preference, node.metadata.labels, node.metadata.name)
    )


def _least_allocated(pod: Pod, on: ReferenceNode) -> int:
    allocatable = nodes.allocatable(on.node)
    shares = []
    for resource in ("cpu", "memory"):
        have = allocatable.get(resource, 0)
        if have > 0:
            wanted = on.scoring_used(resource) + pods.non_zero_requests(pod).get(resource, 0)
            shares.append(max(0, have - wanted) * 100 // have)
    return sum(shares) // len(shares) if shares else 0


def _balanced(pod: Pod, on: ReferenceNode) -> int:
    requests, allocatable = pods.requests(pod), nodes.allocatable(on.node)
    if not any(requests.get(resource, 0) for resource in ("cpu", "memory")):
        return 0
    shares = []
    for resource in ("cpu", "memory"):
        have = allocatable.get(resource, 0)
        if have > 0:
            shares.append(min(1.0, (on.used(resource) + requests.get(resource, 0)) / have))
    deviation = abs(shares[0] - shares[1]) / 2 if len(shares) == 2 else 0.0
    return int((1.0 - deviation) * 100)
