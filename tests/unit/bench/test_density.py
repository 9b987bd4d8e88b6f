"""A density run counts only if every pod was seen Running once on a node that exists; figures are the timeline's."""

from __future__ import annotations

import json

import numpy as np
import pytest

from services.api.pb.ursa.core.v1 import pod_pb2
from services.bench.density import DensityParameters, Timeline, evaluate
from services.bench.report import Figure, Report, percentile

ADDED, MODIFIED, DELETED = 1, 2, 3
NODES = {("rp-1", "n-1"), ("rp-2", "n-1")}


def pod(name: str, *, node: tuple[str, str] | None = None, phase: str = "Pending") -> pod_pb2.Pod:
    message = pod_pb2.Pod()
    message.metadata.tenant, message.metadata.name, message.status.phase = "t", name, phase
    if node:
        message.spec.resource_partition, message.spec.node_name = node
    return message


def timeline_of(*names: str) -> Timeline:
    timeline = Timeline(len(names))
    for offset, name in enumerate(names):
        times = timeline.of("t", name)
        times.started, times.created = offset * 1.0, offset * 1.0 + 0.1
    return timeline


def test_figures_are_computed_per_stage() -> None:
    timeline = timeline_of("a", "b")
    for name, home, scheduled, running in [("a", ("rp-1", "n-1"), 0.3, 0.5), ("b", ("rp-2", "n-1"), 1.4, 2.0)]:
        timeline.observe(pod(name), ADDED, 0.2)
        timeline.observe(pod(name, node=home), MODIFIED, scheduled)
        timeline.observe(pod(name, node=home, phase="Running"), MODIFIED, running)
    assert timeline.all_running.is_set()
    report = evaluate(DensityParameters(pods=2), timeline, NODES, "3.5.16")
    assert report.invalid == ""
    figures = {name: figure.value for name, figure in report.figures.items()}
    assert figures["all_running"] == pytest.approx(2.0)
    assert figures["pods_running_per_second"] == pytest.approx(1.0)
    assert figures["pod_startup_p50"] == pytest.approx(500.0)
    assert figures["pod_startup_p99"] == pytest.approx(1000.0)
    assert figures["created_to_scheduled_p99"] == pytest.approx(300.0)
    assert figures["scheduled_to_running_p99"] == pytest.approx(600.0)
    assert figures["nodes_used"] == 2
    assert report.figures["pod_startup_p99"].to_json()["ratio"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("events", "complaint"),
    [
        pytest.param([(pod("a"), DELETED)], "was deleted", id="vanished"),
        pytest.param(
            [(pod("a", node=("rp-1", "n-1")), MODIFIED), (pod("a", node=("rp-2", "n-1")), MODIFIED)],
            "bound twice",
            id="moved",
        ),
        pytest.param([(pod("a", phase="Failed"), MODIFIED)], "failed", id="failed"),
        pytest.param([(pod("a", node=("rp-1", "n-1")), MODIFIED)], "not Running", id="stuck"),
        pytest.param([(pod("a", node=("rp-1", "n-9"), phase="Running"), MODIFIED)], "do not exist", id="missing node"),
    ],
)
def test_a_run_with_a_lost_or_moved_pod_does_not_count(events: list[tuple[pod_pb2.Pod, int]], complaint: str) -> None:
    timeline = timeline_of("a")
    for message, event_type in events:
        timeline.observe(message, event_type, 1.0)
    report = evaluate(DensityParameters(pods=1), timeline, NODES, "")
    assert complaint in report.invalid and report.figures == {}


def test_percentile_is_upstreams_rule() -> None:
    values = np.array([5.0, 1.0, 3.0, 2.0, 4.0])
    assert [percentile(values, share) for share in (0.5, 0.9, 0.99, 0.2)] == [3.0, 5.0, 5.0, 1.0]
    assert percentile(np.array([]), 0.5) == 0.0


def test_the_report_is_the_one_object() -> None:
    report = Report("density", {"pods": 1}, {"rate": Figure(3.0, "pods/s", 2.0, "a reference")})
    document = json.loads(report.dumps())
    assert set(document) == {"benchmark", "commit", "machine", "parameters", "figures"}
    assert document["figures"]["rate"] == {
        "value": 3.0,
        "unit": "pods/s",
        "reference": 2.0,
        "ratio": 1.5,
        "reference_source": "a reference",
    }
