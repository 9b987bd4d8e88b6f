"""What the cluster itself says of nodes and pods, for ``ursa status`` and for waiting until a cluster is up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.cli.cluster import ALL_TENANTS, Answer, Cluster, why
from services.client.clientset import Clientset, Timeouts

TIMEOUTS = Timeouts(unary_s=3.0, list_s=10.0)
ANY_AGE = 0


@dataclass(frozen=True)
class NodeCount:
    """Nodes of one resource partition; ``total`` None: it did not answer, so nobody knows."""

    total: int | None
    ready: int


@dataclass(frozen=True)
class Health:
    """``nodes`` by resource partition, ``pods`` by tenant and phase, ``placements`` tenant to partition,
    ``unreachable`` partition to reason."""

    nodes: dict[str, NodeCount] = field(default_factory=dict)
    pods: dict[str, dict[str, int]] = field(default_factory=dict)
    placements: dict[str, str] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)


async def ask(cluster: Cluster) -> Health:
    """Ask every partition, from its cache: also one whose etcd is down answers. Raises ``StatusError`` for refusals."""
    nodes = await cluster.each(cluster.context.resource_partitions, lambda _, clients: _nodes(clients))
    pods = await cluster.each(cluster.context.tenant_partitions, lambda _, clients: _pods(clients))
    phases: dict[str, Counter[str]] = {}
    placements: dict[str, str] = {}
    for answer in pods:
        for tenant, counts in (answer.value or {}).items():
            phases[tenant] = phases.get(tenant, Counter()) + counts
            placements[tenant] = answer.partition.name
    return Health(
        nodes={answer.partition.name: answer.value or NodeCount(None, 0) for answer in nodes},
        pods={tenant: dict(sorted(phases[tenant].items())) for tenant in sorted(phases)},
        placements=placements,
        unreachable=_failures(nodes) | _failures(pods),
    )


async def _nodes(clients: Clientset) -> NodeCount:
    listing = await clients.nodes.list(resource_version=ANY_AGE)
    ready = sum(
        any(condition.type == "Ready" and condition.status == "True" for condition in node.status.conditions)
        for node in listing.items
    )
    return NodeCount(len(listing.items), ready)


async def _pods(clients: Clientset) -> dict[str, Counter[str]]:
    tenants = await clients.tenants.list(resource_version=ANY_AGE)
    counts: dict[str, Counter[str]] = {tenant.metadata.name: Counter() for tenant in tenants.items}
    listing = await clients.pods.list(tenant=ALL_TENANTS, resource_version=ANY_AGE)
    for pod in listing.items:
        counts.setdefault(pod.metadata.tenant, Counter())[pod.status.phase or "Unknown"] += 1
    counts.pop("system", None)
    return counts


def _failures(answers: Sequence[Answer[Any]]) -> dict[str, str]:
    return {answer.partition.name: why(answer.failure) for answer in answers if answer.failure}
