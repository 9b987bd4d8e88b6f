"""The kubelet's part of a pod's trace."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.kubelet import tracing
from services.kubelet.instructions import Trace
from tests.support.client_world import pod


def test_the_span_joins_the_trace_of_the_pod_with_its_own_times(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_TRACER", provider.get_tracer("test"))
    traced = pod("p", node_name="n1")
    traced.metadata.annotations["ursa.io/traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    tracing.record(Trace(traced, 100.0, 101.5), node="n1", partition="rp-1")
    [span] = exporter.get_finished_spans()
    assert span.name == "ursa.kubelet.run"
    assert format(span.context.trace_id, "032x") == "0af7651916cd43dd8448eb211c80319c"
    assert span.parent is not None
    assert format(span.parent.span_id, "016x") == "b7ad6b7169203331"
    assert (span.start_time, span.end_time) == (100_000_000_000, 101_500_000_000)
    assert dict(span.attributes or {})["ursa.node"] == "n1"
