"""Trace context as text: parsed as W3C defines it, followed from process to process, absent when nothing is sampled."""

from __future__ import annotations

import json
import logging

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from pytest import MonkeyPatch

from services.base import logs, telemetry

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_only_the_sampled_flag_makes_a_context_sampled() -> None:
    assert telemetry.is_sampled(PARENT)
    assert not telemetry.is_sampled(PARENT[:-2] + "00")
    assert not telemetry.is_sampled("")
    assert not telemetry.is_sampled(PARENT[:-1])


def test_without_a_provider_nothing_is_sampled() -> None:
    with telemetry.root_span("ursa.api.create"):
        assert telemetry.current_traceparent() == ""


def test_a_span_continues_the_trace_of_its_parent(monkeypatch: MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(0.0)))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "_TRACER", provider.get_tracer("test"))
    with telemetry.span("ursa.scheduler.bind", parent=PARENT, attributes={"pod": "acme/default/web"}):
        carried = telemetry.current_traceparent()
    with telemetry.root_span("unsampled"):
        pass
    (span,) = exporter.get_finished_spans()
    assert carried.startswith("00-0af7651916cd43dd8448eb211c80319c-") and carried.endswith("-01")
    assert span.parent is not None and format(span.parent.span_id, "016x") == "b7ad6b7169203331"
    assert span.attributes == {"pod": "acme/default/web"}


def test_a_log_line_is_one_json_object_with_its_extras() -> None:
    record = logging.makeLogRecord(
        {"name": "room", "levelname": "INFO", "msg": "bound %d", "args": (3,), "tenant": "acme"}
    )
    line = json.loads(logs.JsonFormatter({"partition": "tp-1"}).format(record))
    assert {name: line[name] for name in ("level", "message", "partition", "tenant")} == {
        "level": "info",
        "message": "bound 3",
        "partition": "tp-1",
        "tenant": "acme",
    }
