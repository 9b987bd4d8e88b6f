"""One trace follows a pod from Create through commit, schedule, bind and kubelet to Running, across four processes."""

from __future__ import annotations

import concurrent.futures
import pathlib
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.e2e import manifests
from tests.support.cluster import OneBox, eventually, onebox

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

STAGES = {
    "ursa.api.create": "ursa-tenant-partition",
    "ursa.storage.commit": "ursa-tenant-partition",
    "ursa.scheduler.schedule": "ursa-scheduler",
    "ursa.scheduler.bind": "ursa-scheduler",
    "ursa.kubelet.run": "ursa-kubelet",
}


class Collector(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc]
    """An OTLP/gRPC collector that remembers, per trace, each span's name, service and partition."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.traces: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)

    def Export(self, request: Any, context: Any) -> Any:
        with self.lock:
            for resource_spans in request.resource_spans:
                attributes = {entry.key: entry.value.string_value for entry in resource_spans.resource.attributes}
                for scope in resource_spans.scope_spans:
                    for span in scope.spans:
                        origin = (attributes["service.name"], attributes["ursa.partition"])
                        self.traces[span.trace_id.hex()][span.name] = origin
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    servicer = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_one_trace_follows_a_pod_to_running(tmp_path: pathlib.Path, collector: tuple[Collector, str]) -> None:
    servicer, endpoint = collector
    options = ("--no-examples", "--nodes", "2", "--tenant-partitions", "1", "--resource-partitions", "1")
    with onebox(tmp_path / "home", *options, "--otlp-endpoint", endpoint, "--sample-ratio", "1.0") as box:
        box.ursa("create", "tenant", "red")
        box.ursa("apply", "--tenant", "red", "-f", "-", stdin=manifests.POD.format(name="traced"))
        pod = wait_running(box)
        trace_id = pod["metadata"]["annotations"]["ursa.io/traceparent"].split("-")[1]

        def complete() -> bool:
            with servicer.lock:
                return set(STAGES) <= set(servicer.traces[trace_id])

        eventually(complete, within_s=60, what=f"all stages of the trace; seen {dict(servicer.traces[trace_id])}")
        services = {name: origin[0] for name, origin in servicer.traces[trace_id].items() if name in STAGES}
        assert services == STAGES
        partitions = {origin for _, origin in servicer.traces[trace_id].values()}
        assert "tp-1" in partitions and "rp-1" in partitions


def wait_running(box: OneBox) -> dict[str, Any]:
    def running() -> dict[str, Any] | None:
        pod = box.items("pods", "traced", "--tenant", "red")[0]
        return pod if pod["status"].get("phase") == "Running" else None

    pod: dict[str, Any] = eventually(running, within_s=60, what="the pod Running")
    return pod
