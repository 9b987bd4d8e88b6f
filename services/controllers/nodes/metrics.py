"""Metrics of the node controllers, with Kubernetes' names where there are such."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

ZONE_HEALTH = Gauge("node_collector_zone_health", "Percentage of the zone's nodes that are ready", ["zone"])
ZONE_SIZE = Gauge("node_collector_zone_size", "Nodes of the zone", ["zone"])
UNHEALTHY = Gauge("node_collector_unhealthy_nodes_in_zone", "Nodes of the zone that are not ready", ["zone"])
ZONE_EVICTIONS = Counter(
    "node_collector_evictions", "Nodes that were tainted NoExecute because they were lost or not ready", ["zone"]
)
LOOK_SECONDS = Histogram(
    "node_collector_update_all_nodes_health_duration_seconds",
    "One look at all nodes",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0),
)
POD_DELETIONS = Counter(
    "taint_eviction_controller_pod_deletions", "Pods deleted because of a NoExecute taint", ["tenant_partition"]
)
POD_DELETION_SECONDS = Histogram(
    "taint_eviction_controller_pod_deletion_duration_seconds",
    "From when a pod had to leave its node to its deletion",
    buckets=(0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 180.0, 240.0),
)
PLANNED = Gauge("ursa_evictions_planned", "Pods that have to leave their node in a while", ["tenant_partition"])
FAILURES = Counter("ursa_eviction_failures", "Evictions tried in vain; tried again", ["tenant_partition"])
SEES = Gauge("ursa_node_lifecycle_sees", "1 while this process provably sees the heartbeats of its partition")
BLINDNESSES = Counter(
    "ursa_node_lifecycle_blindnesses",
    "Times that this process could not see heartbeats; every node's grace period began anew",
)
WRITES = Counter("ursa_node_lifecycle_writes", "Writes to nodes", ["what", "outcome"])


def forget_zones(zones: Iterable[str]) -> None:
    """They have no nodes any more."""
    for zone in zones:
        for gauge in (ZONE_HEALTH, ZONE_SIZE, UNHEALTHY):
            gauge.remove(zone)


def forget(tenant_partition: str) -> None:
    """The partition is gone: its gauge too."""
    try:
        PLANNED.remove(tenant_partition)
    except KeyError:
        pass
