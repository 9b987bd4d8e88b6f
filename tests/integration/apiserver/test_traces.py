"""The trace of a pod begins at its create: stored in the pod, continued by the commit, joined to the client's own."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.base import telemetry
from services.base.telemetry import TRACEPARENT_ANNOTATION, TelemetryConfig
from tests.integration.apiserver.world import (
    World,
    pod,
    port,
    resource_partition_config,
    running,
    tenant_partition_config,
)
from tests.support.etcd import EtcdProcess

pytestmark = pytest.mark.etcd


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What this process exports; every trace that begins is sampled."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "_TRACER", provider.get_tracer("test"))
    assert trace.get_current_span() is trace.INVALID_SPAN
    yield exporter
    provider.shutdown()


@pytest.fixture
async def traced(tenant_etcd: EtcdProcess, resource_etcd: EtcdProcess) -> AsyncIterator[World]:
    """A tenant partition that exports traces."""
    resource = resource_partition_config(resource_etcd.endpoint, port())
    tenant = tenant_partition_config(tenant_etcd.endpoint, port(), resource.listen)
    exporting = dataclasses.replace(tenant, telemetry=TelemetryConfig(otlp_endpoint="127.0.0.1:1", sample_ratio=1.0))
    async with running(resource) as rp, running(exporting) as tp:
        yield World(tp, rp)


async def test_a_create_begins_a_trace_that_the_pod_carries(spans: InMemorySpanExporter, traced: World) -> None:
    tenant = await traced.tenant("traced-1")
    spans.clear()
    created = await traced.pods.create(pod(tenant))
    traceparent = created.metadata.annotations[TRACEPARENT_ANNOTATION]
    assert telemetry.is_sampled(traceparent)
    create, commit = (
        next(span for span in spans.get_finished_spans() if span.name == name)
        for name in ("ursa.api.create", "ursa.storage.commit")
    )
    assert traceparent.split("-")[1] == format(create.context.trace_id, "032x")
    assert create.parent is None
    assert commit.parent is not None
    assert commit.parent.span_id == create.context.span_id


async def test_a_clients_own_trace_goes_on(spans: InMemorySpanExporter, traced: World) -> None:
    tenant = await traced.tenant("traced-2")
    with telemetry.span("client") as mine:
        created = await traced.pods.create(pod(tenant))
    traceparent = created.metadata.annotations[TRACEPARENT_ANNOTATION]
    assert traceparent.split("-")[1] == format(mine.get_span_context().trace_id, "032x")


async def test_each_pod_of_a_batch_has_a_trace_of_its_own(spans: InMemorySpanExporter, traced: World) -> None:
    tenant = await traced.tenant("traced-3")
    await traced.pods.batch_create([pod(tenant, f"web-{n}") for n in range(3)])
    found = (await traced.pods.list(tenant=tenant)).items
    assert len({item.metadata.annotations[TRACEPARENT_ANNOTATION].split("-")[1] for item in found}) == 3


async def test_a_server_that_exports_nothing_writes_nothing_into_pods(world: World, acme: str) -> None:
    created = await world.pods.create(pod(acme))
    assert TRACEPARENT_ANNOTATION not in created.metadata.annotations
