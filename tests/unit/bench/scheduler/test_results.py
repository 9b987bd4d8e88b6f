"""What a run says: figures, perf-dash's items, and the page, from one measured window."""

from __future__ import annotations

import html.parser
import os
import pathlib

import numpy as np
import pytest

from services.api.kinds import PODS
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.bench import svg
from services.bench.histograms import Histogram
from services.bench.scheduler import aims, creators, page, perfdash, reader, results
from services.bench.scheduler.measuring import BEGUN_TO_BOUND, CREATE_CALL, CREATED_TO_BOUND, Measured, Used
from services.bench.scheduler.run import CLIENT, Outcome
from services.bench.targets import Target

ATTEMPT = "scheduler_scheduling_attempt_duration_seconds"

CASE = """
- name: Case
  workloadTemplate: [{opcode: createPods, count: 4, collectMetrics: true}]
  workloads:
  - {name: Plain, threshold: 2, labels: [performance]}
  - name: Latency
    threshold: 5
    thresholdMetricSelector:
      {name: scheduler_scheduling_attempt_duration_seconds, dataBucket: Perc99, labels: {result: scheduled},
       expectLower: true}
"""


def measured(name: str = "namespace-0", samples: tuple[float, ...] = (3.0, 5.0), others_cpu_s: float = 0.0) -> Measured:
    """Four pods in two seconds."""
    return Measured(
        name=name,
        seconds=2.0,
        wall_s=2.5,
        bound_at=np.array([0.5, 1.0, 1.5, 2.0]),
        stages={
            CREATE_CALL: np.array([0.01, 0.02, 0.03, 0.04]),
            CREATED_TO_BOUND: np.array([0.1, 0.2, 0.3, 0.4]),
            BEGUN_TO_BOUND: np.array([0.11, 0.22, 0.33, 0.44]),
        },
        samples=samples,
        latencies={ATTEMPT: {(("result", "scheduled"),): Histogram({0.001: 0.0, 0.002: 4.0}, 4.0, 0.006)}},
        counters={},
        used={"scheduler-tp-1": Used(0.5, 50_000_000), CLIENT: Used(0.25, 40_000_000)},
        others_cpu_s=others_cpu_s,
    )


@pytest.fixture
def workloads(tmp_path: pathlib.Path) -> dict[str, reader.Workload]:
    path = tmp_path / "config.yaml"
    path.write_text(CASE)
    return {workload.name: workload for workload in reader.read(path)[0].workloads}


def test_the_gated_figure_is_pods_over_seconds_with_the_threshold_beside_it(
    workloads: dict[str, reader.Workload],
) -> None:
    report = results.report({}, [Outcome(workloads["Plain"], [measured()])])

    figures = report.to_json()["figures"]
    assert not report.invalid
    assert (figures["Case/Plain"]["value"], figures["Case/Plain"]["ratio"]) == (2.0, 1.0)
    assert (figures["Case/Plain/sampled"]["value"], figures["Case/Plain/sampled"]["ratio"]) == (4.0, 2.0)
    assert figures["Case/Plain/created_to_bound_p50"] == {"value": 200.0, "unit": "ms"}
    assert figures["Case/Plain/cpu/scheduler-tp-1"] == {"value": 0.5, "unit": "CPU-s"}
    assert figures["Case/Plain/memory/load_client"] == {"value": 40.0, "unit": "MB"}
    assert figures["Case/Plain/overcommitted_nodes"]["value"] == 0.0


def test_a_run_without_samples_says_so(workloads: dict[str, reader.Workload]) -> None:
    outcome = Outcome(workloads["Plain"], [measured(samples=())])

    report = results.report({}, [outcome])

    assert "Case/Plain/sampled" not in report.figures
    assert results.notes_of(outcome) == ["2.0 s are too short for a sample by upstream's rule"]
    assert [item["labels"]["Metric"] for item in perfdash.document([outcome])["dataItems"]] == [
        "PodsPerSecond",
        ATTEMPT,
    ]


def test_a_machine_that_others_used_is_said(workloads: dict[str, reader.Workload]) -> None:
    cores = len(os.sched_getaffinity(0))
    outcome = Outcome(workloads["Plain"], [measured(others_cpu_s=2.5 * cores * 0.4)])

    assert results.notes_of(outcome) == ["other processes took 40% of the cores while namespace-0 was measured"]
    assert results.report({}, [outcome]).figures["Case/Plain/others_cpu_share"].value == pytest.approx(0.4)


def test_several_windows_have_their_names_in_their_figures(workloads: dict[str, reader.Workload]) -> None:
    report = results.report({}, [Outcome(workloads["Plain"], [measured("a"), measured("b")])])

    assert {"Case/Plain/a", "Case/Plain/b"} <= set(report.figures)
    assert "Case/Plain" not in report.figures


def test_what_failed_or_overcommitted_invalidates_and_what_is_not_supported_does_not(
    workloads: dict[str, reader.Workload],
) -> None:
    plain = workloads["Plain"]
    lacking = Outcome(plain, lacks="Case/Plain: no volumes")
    failed = Outcome(plain, failure="3 pods are unbound")
    crowded = Outcome(plain, [measured()], overcommitted=["rp-1/n holds too much"])

    assert results.report({}, [lacking]).invalid == ""
    assert results.report({}, [failed]).invalid == "Case/Plain: 3 pods are unbound"
    assert "1 nodes are overcommitted: rp-1/n holds too much" in results.report({}, [crowded]).invalid
    entries = results.report({}, [lacking, failed]).to_json()["workloads"]
    assert [entry["result"] for entry in entries] == ["not supported", "failed"]
    assert entries[0]["reason"] == "Case/Plain: no volumes"


def test_perf_dash_gets_throughput_with_its_threshold_and_latencies_in_ms(
    workloads: dict[str, reader.Workload],
) -> None:
    document = perfdash.document([Outcome(workloads["Plain"], [measured()])])

    assert document["version"] == "v1"
    by_metric = {item["labels"]["Metric"]: item for item in document["dataItems"]}
    assert by_metric["SchedulingThroughput"] == {
        "data": {
            "Average": 4.0,
            "Perc50": 3.0,
            "Perc90": 5.0,
            "Perc95": 5.0,
            "Perc99": 5.0,
            "AverageThreshold": 2.0,
        },
        "unit": "pods/s",
        "labels": {"Name": "Case/Plain/namespace-0", "Metric": "SchedulingThroughput"},
    }
    latency = by_metric[ATTEMPT]
    assert latency["labels"]["result"] == "scheduled"
    assert latency["unit"] == "ms"
    assert latency["data"]["Average"] == pytest.approx(1.5)
    assert latency["data"]["Perc50"] == pytest.approx(1.5)


def test_a_threshold_for_another_metric_is_held_against_that_one(workloads: dict[str, reader.Workload]) -> None:
    report = results.report({}, [Outcome(workloads["Latency"], [measured()])])

    figure = report.figures[f"Case/Latency/{ATTEMPT}/Perc99"]
    assert figure.value == pytest.approx(1.99)
    assert figure.reference == 5.0
    assert report.figures["Case/Latency"].reference is None


def test_overcommitted_nodes_and_scheduler_memory_are_held_against_targets(
    workloads: dict[str, reader.Workload], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = workloads["Plain"]
    crowded = Outcome(plain, [measured()], overcommitted=["rp-1/n holds too much"])
    ((name, value, target),) = results.held_against(crowded)
    assert (name, value, target.verdict(value)) == ("Case/Plain/overcommitted_nodes", 1.0, "miss")
    assert target.verdict(0.0) == "aim"
    monkeypatch.setitem(aims.SCHEDULER_MEMORY, plain.full_name, Target(2000, 1000, at_most=True))
    bounds = {name: target for name, _, target in results.held_against(Outcome(plain, [measured()]))}
    figures = results.report({}, [Outcome(plain, [measured()])]).to_json()["figures"]
    assert len(bounds) > 1 and bounds.keys() <= figures.keys()


def test_aims_are_the_workloads_own_or_multiples_of_its_threshold() -> None:
    own = aims.aim_of("SchedulingBasic/5000Nodes_10000Pods_QueueingHintsEnabled", 270, batched=False)
    batched = aims.aim_of("SchedulingBasic/5000Nodes_10000Pods", 270, batched=True)
    other = aims.aim_of("Other/Size", 100, batched=False)

    assert own is not None and (own.must, own.aim) == (1_000, 1_500)
    assert batched is not None and (batched.must, batched.aim) == (4_000, 8_000)
    assert other is not None and (other.must, other.aim) == (300, 1_000)
    assert aims.aim_of("Other/Size", 0, batched=False) is None


class Outline(html.parser.HTMLParser):
    """Counts elements and checks that every one is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.sources += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_self_contained_and_names_everything(workloads: dict[str, reader.Workload]) -> None:
    outcomes = [
        Outcome(workloads["Plain"], [measured()]),
        Outcome(workloads["Latency"], lacks="Case/Latency: no <volumes>"),
    ]

    text = page.render(results.report({}, outcomes), outcomes, batched=False)

    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert outline.seen.count("svg") == 2
    assert not outline.sources and "script" not in outline.seen
    assert "Case/Plain" in text
    assert "no &lt;volumes&gt;" in text
    assert "created → bound" in text


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1000.0, [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]),
        (0.0, 0.9, [0.0, 0.2, 0.4, 0.6, 0.8]),
        (0.0, 0.0, [0.0]),
    ],
)
def test_axes_have_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert svg.ticks(low, high) == pytest.approx(expected)


def test_rates_over_time_add_up_to_the_pods() -> None:
    values, width = svg.rates(np.array([0.0, 0.4, 0.41, 1.99, 2.0]), 2.0)

    assert float(values.sum() * width) == pytest.approx(5.0)


def test_a_created_pods_name_is_read_off_its_bytes() -> None:
    pod = Pod()
    pod.metadata.name, pod.metadata.namespace = "pod-x7f2k", "ns"
    pod.spec.node_name = "n"
    long = Pod()
    long.metadata.name = "p" * 200

    assert creators.name_of(pod.SerializeToString()) == "pod-x7f2k"
    assert creators.name_of(long.SerializeToString()) == "p" * 200
    assert creators.name_of(Pod(spec={"node_name": "n"}).SerializeToString()) == ""
    assert PODS.message is Pod
