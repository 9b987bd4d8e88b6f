"""The scheduler's metrics, under kube-scheduler's names (pkg/scheduler/metrics), observed once per batch."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384)

ATTEMPTS = Counter("scheduler_schedule_attempts_total", "Attempts to schedule pods, by result", ["result", "profile"])
PENDING = Gauge("scheduler_pending_pods", "Pending pods, by queue", ["queue"])
ATTEMPT_DURATION = Histogram(
    "scheduler_scheduling_attempt_duration_seconds",
    "Plan and bind of a batch, from its snapshot to its outcomes",
    ["result", "profile"],
    buckets=_SECONDS,
)
ALGORITHM_DURATION = Histogram(
    "scheduler_scheduling_algorithm_duration_seconds", "Planning of a batch", buckets=_SECONDS
)
E2E_DURATION = Histogram(
    "scheduler_pod_scheduling_sli_duration_seconds",
    "From a pod's first entry into the queue to its bind",
    ["attempts"],
    buckets=(*_SECONDS, 32.0, 64.0, 128.0, 256.0, 512.0),
)
EXTENSION_DURATION = Histogram(
    "scheduler_framework_extension_point_duration_seconds",
    "Time spent in an extension point, per batch",
    ["extension_point", "status", "profile"],
    buckets=_SECONDS,
)
PLAN_PODS = Histogram(
    "ursa_scheduler_plan_pods", "Pods planned at a time", buckets=(1, 4, 16, 64, 256, 1024, 4096, 16384)
)
BIND_OUTCOMES = Counter("ursa_scheduler_bind_outcomes_total", "Outcomes of binds", ["outcome"])
ASSUMED = Gauge("ursa_scheduler_assumed_pods", "Pods placed here whose bind the watch has not shown yet")
NODES = Gauge("ursa_scheduler_nodes", "Nodes in the table", ["resource_partition"])
STALE = Gauge(
    "ursa_scheduler_resource_partition_stale", "1 while a partition's nodes are no candidates", ["resource_partition"]
)
EVENTS_DROPPED = Counter("ursa_scheduler_events_dropped_total", "Events left out by the rate limit or a failed write")
CLAIM_OUTCOMES = Counter("ursa_scheduler_claim_outcomes_total", "Answers to capacity claims", ["outcome"])
CLAIMS_WAITED = Gauge(
    "ursa_scheduler_claims_unanswered_seconds",
    "How long claims have waited while the partition granted none",
    ["resource_partition"],
)
BATCH_PODS = Gauge(
    "ursa_scheduler_bind_batch_pods",
    "How many pods a batch of binds may have now; 0: none is sent to the partition",
    ["resource_partition"],
)
CLAIM_REFUSALS = Counter("ursa_scheduler_claim_refusals_total", "Refused capacity claims, by reason", ["reason"])
FACTS = Counter("ursa_scheduler_bind_facts_total", "What tenant partitions said of binds in doubt", ["fact"])
RELEASES = Counter("ursa_scheduler_claim_releases_total", "Releases of claims sent, by outcome", ["outcome"])
RELEASES_OWED = Gauge("ursa_scheduler_claim_releases_owed", "Releases not acknowledged yet", ["resource_partition"])
PREEMPTION_ATTEMPTS = Counter("scheduler_preemption_attempts_total", "Pods for which others were chosen to go")
PREEMPTION_VICTIMS = Histogram(
    "scheduler_preemption_victims", "Pods chosen to go, at a time", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
