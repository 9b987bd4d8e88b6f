"""Metrics of pod garbage collection; the first two are kube-controller-manager's."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

DELETED = Counter(
    "pod_gc_collector_force_delete_pods",
    "Pods that are being forcefully deleted since the pod garbage collector started",
    ["namespace", "reason"],
)
ERRORS = Counter(
    "pod_gc_collector_force_delete_pod_errors",
    "Errors when forcefully deleting pods since the pod garbage collector started",
    ["namespace", "reason"],
)
HELD = Gauge(
    "ursa_pod_gc_held_pods",
    "Bound pods of whose nodes nothing can be said: their partition is out of reach, or not known",
    ["resource_partition", "cause"],
)
QUARANTINED = Gauge("ursa_pod_gc_quarantined_nodes", "Nodes with pods that their partition does not show")
DOUBTS = Counter(
    "ursa_pod_gc_node_reads",
    "Consistent reads of nodes that are not seen, by their answer",
    ["resource_partition", "answer"],
)
ROUND_SECONDS = Histogram(
    "ursa_pod_gc_round_seconds",
    "Duration of a round",
    buckets=(0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 20.0, 60.0),
)
