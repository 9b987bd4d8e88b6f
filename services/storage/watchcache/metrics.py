"""What a watch cache counts, per batch; the names are Kubernetes' where the meaning is the same."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

EVENTS_RECEIVED = Counter(
    "apiserver_watch_cache_events_received", "Changes taken in from the store behind.", ["resource"]
)
INITIALIZATIONS = Counter(
    "apiserver_watch_cache_initializations", "Times the whole collection was (re)listed.", ["resource"]
)
CAPACITY = Gauge("apiserver_watch_cache_capacity", "Changes the window may hold now.", ["resource"])
REVISION = Gauge("apiserver_watch_cache_resource_version", "Revision the cache has reached.", ["resource"])
DIGEST_MISMATCHES = Counter(
    "apiserver_storage_digest_mismatches", "Times the cache was found to differ from the store.", ["resource"]
)
CONSISTENT_READS = Counter(
    "apiserver_watch_cache_consistent_read",
    "Most recent reads, by whether the cache got there in time.",
    ["resource", "success"],
)
