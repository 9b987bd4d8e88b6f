"""Metrics of the reconciliation of claims, counted per batch."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

CLAIMS = Gauge("ursa_claims", "Capacity claims of this resource partition", ["tenant_partition"])
UNBOUND = Gauge("ursa_claims_unbound", "Claims whose pod is not seen at their node", ["tenant_partition"])
DUE = Gauge("ursa_claims_due", "Claims that wait to be asked about", ["tenant_partition"])
CONNECTED = Gauge(
    "ursa_claims_partition_connected", "1 while the pods of the tenant partition are followed", ["tenant_partition"]
)
QUESTIONS = Counter("ursa_claim_questions_total", "Claims asked about", ["tenant_partition", "cause"])
FAILURES = Counter("ursa_claim_question_failures_total", "Claims asked about in vain", ["tenant_partition"])
RELEASES = Counter("ursa_claim_releases_total", "Claims released", ["tenant_partition", "fact"])
LEAKS = Counter(
    "ursa_claim_leaks_total",
    "Claims released that no event had announced: their claimant is gone, or lost an answer",
    ["tenant_partition"],
)
RELEASE_SECONDS = Histogram(
    "ursa_claim_release_duration_seconds",
    "From the end of a pod being seen to its claim being released",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0),
)


def forget(tenant_partition: str) -> None:
    """The partition is gone: its gauges too."""
    for gauge in (CLAIMS, UNBOUND, DUE, CONNECTED):
        try:
            gauge.remove(tenant_partition)
        except KeyError:
            pass
