"""Metrics of the API server, under Kubernetes' names; one update per request or batch, never per event."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

from services.rpc.handlers import Observe
from services.rpc.lanes import Lane

# kube-apiserver's bounds, which tell what is over an objective (1 s; 30 s for lists) and what is not, and as many more
# below 100 ms as a quantile needs there: each bound is at most twice the one before.
_BUCKETS_S = (
    *(0.001, 0.0015, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8),
    *(1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0),
)

REQUESTS = Counter("apiserver_request_total", "Requests served", ("verb", "resource", "code"))
SECONDS = Histogram(
    "apiserver_request_duration_seconds",
    "Duration of requests that are not long-running, seconds",
    ("verb", "resource"),
    buckets=_BUCKETS_S,
)
LONG_RUNNING = Gauge("apiserver_longrunning_requests", "Open watch streams", ("verb", "resource"))
BATCH_ITEMS = Counter("ursa_apiserver_batch_items_total", "Items of batch requests", ("resource",))
WATCHES = Gauge("ursa_apiserver_multiplexed_watches", "Watches open on multiplexed streams", ("resource",))
WATCH_MESSAGES = Counter("ursa_apiserver_watch_messages_total", "Messages sent on watch streams", ("stream",))

IN_FLIGHT = Gauge("apiserver_current_inflight_requests", "Requests under way", ("request_kind",))
IN_QUEUE = Gauge("apiserver_current_inqueue_requests", "Requests that wait for their turn", ("request_kind",))
REFUSED = Gauge("apiserver_flowcontrol_rejected_requests", "Requests refused since the start", ("priority_level",))


def follow_lanes(lanes: Iterable[Lane]) -> None:
    """Lanes count for themselves; metrics look when they are scraped."""
    for lane in lanes:
        IN_FLIGHT.labels(lane.name).set_function(lambda lane=lane: lane.running)  # type: ignore[misc]
        IN_QUEUE.labels(lane.name).set_function(lambda lane=lane: lane.waiting)  # type: ignore[misc]
        REFUSED.labels(lane.name).set_function(lambda lane=lane: lane.refused)  # type: ignore[misc]


def observer(verb: str, resource: str) -> Observe:
    """Counts and times the requests of one method. What was never asked for is not exported: there are hundreds of
    methods, and a scrape that lists them all holds up the event loop for a tenth of a second."""
    codes: dict[str, Counter] = {}
    seconds: Histogram | None = None

    def observe(code: str, duration_s: float) -> None:
        nonlocal seconds
        counter = codes.get(code)
        if counter is None:
            counter = codes[code] = REQUESTS.labels(verb, resource, code)
        if seconds is None:
            seconds = SECONDS.labels(verb, resource)
        counter.inc()
        seconds.observe(duration_s)

    return observe


def stream_observer(verb: str, resource: str) -> Observe:
    """Counts the requests of a long-running method."""

    def observe(code: str, duration_s: float) -> None:
        REQUESTS.labels(verb, resource, code).inc()

    return observe
