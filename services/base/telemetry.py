"""Telemetry, set up once per process: logs, traces (OpenTelemetry, OTLP), and the W3C trace context as plain text.

A trace follows a pod through several processes: the API server decides by ``sample_ratio`` whether a create is traced
and writes the context into the object (annotation ``ursa.io/traceparent``); the spans of the scheduler and the kubelet
are children of it. Code on hot paths must ask ``is_sampled`` of the text first and make no span otherwise.

Sources: W3C Trace Context (traceparent ``00-<trace id>-<span id>-<flags>``); OpenTelemetry tracing API.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.base import logs

TRACEPARENT_ANNOTATION = "ursa.io/traceparent"
"""The annotation in which an object carries the trace of the request that created it."""

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACER = trace.get_tracer("ursa")

AttributeMap = Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class TelemetryConfig:
    """``metrics_listen``: host:port of /metrics, /healthz and /readyz, empty for none. ``otlp_endpoint``: host:port or
    URL of an OTLP/gRPC collector, empty for no export. ``sample_ratio``: share of pod creates traced, 0 to 1.
    ``pod_timeline``: file to which scheduler and kubelet append what they did with each pod and when
    (``services.base.timeline``), empty for none."""

    metrics_listen: str = ""
    otlp_endpoint: str = ""
    sample_ratio: float = 0.01
    log_level: str = "info"
    pod_timeline: str = ""


class Telemetry:
    """The process' telemetry; ``shutdown`` sends what is still queued (waits at most ``timeout_s``)."""

    def __init__(self, provider: TracerProvider | None) -> None:
        self._provider = provider

    def shutdown(self, timeout_s: float = 2.0) -> None:
        if self._provider is not None:
            self._provider.force_flush(int(timeout_s * 1000))
            self._provider.shutdown()


def start(config: TelemetryConfig, *, service: str, partition: str) -> Telemetry:
    """Set up this process' logs and traces. Without an ``otlp_endpoint`` nothing is sampled and no thread starts."""
    logs.configure(config.log_level, service=service, partition=partition)
    if not config.otlp_endpoint:
        return Telemetry(None)
    # Imported here: the exporter costs 100 ms of start-up that a process without a collector need not pay.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": f"ursa-{service}", "ursa.partition": partition})
    provider = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(config.sample_ratio)))
    exporter = OTLPSpanExporter(endpoint=config.otlp_endpoint, insecure=not config.otlp_endpoint.startswith("https:"))
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    trace.set_tracer_provider(provider)
    return Telemetry(provider)


@contextlib.contextmanager
def span(name: str, *, parent: str | None = None, attributes: AttributeMap | None = None) -> Iterator[trace.Span]:
    """A span that is current inside the block. ``parent``: a traceparent; None: a child of the current span, if any."""
    context = _PROPAGATOR.extract({"traceparent": parent}) if parent else None
    with _TRACER.start_as_current_span(name, context=context, attributes=attributes) as current:
        yield current


@contextlib.contextmanager
def root_span(name: str, *, attributes: AttributeMap | None = None) -> Iterator[trace.Span]:
    """A span with no parent: the ratio decides whether its trace is sampled."""
    with _TRACER.start_as_current_span(name, context=otel_context.Context(), attributes=attributes) as current:
        yield current


def current_traceparent() -> str:
    """The current span as a traceparent, or "" when there is none that is sampled."""
    if not trace.get_current_span().get_span_context().trace_flags.sampled:
        return ""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent", "")


def is_sampled(traceparent: str) -> bool:
    """Does this W3C traceparent ask for its trace to be recorded? (The lowest bit of its last byte.)"""
    return len(traceparent) == 55 and traceparent[-1] in "13579bdf"
