"""What the etcd backend counts; the names are Kubernetes' where the meaning is the same."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUEST_SECONDS = Histogram(
    "etcd_request_duration_seconds",
    "Time of one etcd request.",
    ["operation"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
REQUEST_ERRORS = Counter("etcd_request_errors", "etcd requests that failed.", ["operation", "code"])
BATCH_ITEMS = Histogram(
    "ursa_commit_batch_items",
    "Writes that shared one transaction.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096),
)
QUEUED_ITEMS = Gauge("ursa_commit_queue_items", "Writes that wait for group commit or are in it.")
OUTCOMES_FOUND = Counter("ursa_commit_outcomes_found", "Unanswered transactions by what became of them.", ["fate"])
RECONNECTS = Counter("ursa_etcd_watch_reconnects", "etcd watches that were made again.", ["resource"])
DB_BYTES = Gauge("apiserver_storage_size_bytes", "Size of etcd's database file.")
