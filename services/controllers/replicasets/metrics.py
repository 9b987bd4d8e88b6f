"""Metrics of the ReplicaSet controller, counted per batch."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

SETS = Gauge("ursa_replicasets", "Replica sets of this tenant partition")
WAITING = Gauge("ursa_replicasets_waiting", "Replica sets that wait to be worked on")
CREATED = Counter("ursa_replicaset_pods_created", "Pods made for replica sets")
DELETED = Counter("ursa_replicaset_pods_deleted", "Surplus pods of replica sets deleted")
FAILURES = Counter("ursa_replicaset_failures", "Pods that could not be made, deleted, adopted or released", ["verb"])
ADOPTED = Counter("ursa_replicaset_pods_adopted", "Pods without a controller that a replica set took")
RELEASED = Counter("ursa_replicaset_pods_released", "Pods that a replica set let go, as it selects them no more")
SYNC_SECONDS = Histogram(
    "ursa_replicaset_sync_seconds",
    "One look at a replica set, with what it wrote",
    buckets=(0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0),
)
