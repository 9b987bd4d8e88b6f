"""Kubernetes' objectives for latencies, and whether they were met (sig-scalability, ``slos/api_call_latency.md``,
``slos/pod_startup_latency.md``): 99 % of mutating calls and of reads of one object within 1 s, of lists within 30 s
(5 s within a namespace; servers do not tell which, so the limit is that for the cluster); 99 % of pods within 5 s."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.bench.histograms import Histogram
from services.bench.observe.observations import ApiKey

POD_STARTUP_P99_S = 5.0
CALL_P99_S = 1.0
LIST_P99_S = 30.0
SHARE = 0.99

# A message of renewals on a stream is no call that somebody waits for: it is held up to a second on purpose, so that
# many are stored together, and is in time within the period in which leases are renewed (KEP-0009).
RENEWALS = frozenset({"RENEW"})
RENEWAL_P99_S = 10.0

READS = frozenset({"GET"})
LISTS = frozenset({"LIST"})


@dataclass(frozen=True)
class ApiLatency:
    """Calls of one verb on one resource at one server. Seconds. ``limit_s``: of the 99th percentile."""

    server: str
    verb: str
    resource: str
    calls: float
    p50_s: float
    p90_s: float
    p99_s: float
    limit_s: float

    @property
    def met(self) -> bool:
        return self.p99_s <= self.limit_s

    @property
    def kind(self) -> str:
        return kind_of(self.verb)


def kind_of(verb: str) -> str:
    """``list``, ``read`` (of one object), ``renewal`` (on a stream) or ``mutating`` (batches are)."""
    if verb in RENEWALS:
        return "renewal"
    return "list" if verb in LISTS else "read" if verb in READS else "mutating"


def limit_of(verb: str) -> float:
    if verb in RENEWALS:
        return RENEWAL_P99_S
    return LIST_P99_S if verb in LISTS else CALL_P99_S


def latencies(api: Mapping[ApiKey, Histogram]) -> list[ApiLatency]:
    """Of all that was called, the slowest against its limit first."""
    found = [_latency(*key, histogram) for key, histogram in api.items() if histogram.count]
    return sorted(found, key=lambda one: (-one.p99_s / one.limit_s, one.server, one.resource, one.verb))


def over_servers(api: Mapping[ApiKey, Histogram]) -> list[ApiLatency]:
    """The same for all servers together."""
    merged: dict[ApiKey, Histogram] = {}
    for (_, verb, resource), histogram in api.items():
        merged.setdefault(("", verb, resource), Histogram()).add(histogram)
    return latencies(merged)


def of_kind(api: Mapping[ApiKey, Histogram], kind: str) -> Histogram:
    """All calls of one kind together."""
    return merged(histogram for (_, verb, _), histogram in api.items() if kind_of(verb) == kind)


def merged(histograms: Iterable[Histogram]) -> Histogram:
    result = Histogram()
    for histogram in histograms:
        result.add(histogram)
    return result


def _latency(server: str, verb: str, resource: str, histogram: Histogram) -> ApiLatency:
    p50, p90, p99 = (histogram.quantile(share) for share in (0.5, 0.9, SHARE))
    return ApiLatency(server, verb, resource, histogram.count, p50, p90, p99, limit_of(verb))
