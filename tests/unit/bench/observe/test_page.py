"""The page of a run is whole and well-formed, whatever was seen: much, nothing, one look."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from services.bench.histograms import Histogram
from services.bench.observe import document, objectives, page, perfdash, plots
from services.bench.observe.observations import ApiInterval, Component, Etcd, Mark, Observations
from services.bench.observe.stages import MOMENTS, Stages
from services.bench.report import Figure, Report

REPORT = Report("density", {"nodes": 5}, {"pods_running_per_second": Figure(10.5, "pods/s", 200.0, "Arktos")})


def histogram(seconds: float, calls: float) -> Histogram:
    return Histogram({seconds: calls, float("inf"): calls}, calls, seconds * calls)


def observed(looks: int, components: int = 3) -> Observations:
    at = np.arange(looks, dtype=np.float64)
    seen = {
        f"etcd-{n}": Component(f"etcd-{n}", "etcd", at, at * 0.1, at + 1e8, at * 0 + 9, at * 1e6)
        for n in range(components)
    }
    etcds = {name: Etcd(name, at, at * 1e5, at, at * 2e5, at + 1e7, at + 5e6, histogram(0.01, 100)) for name in seen}
    api = {
        ("rp-1", "LIST", "nodes"): histogram(20.0, 10),
        ("tp-1", "CREATE", "pods"): histogram(3.0, 10),
        ("tp-1", "GET", "pods"): histogram(0.01, 10),
    }
    over_time = (ApiInterval(0.0, float(looks), api),)
    marks = tuple(Mark(float(n), f"fault <{n}> & more") for n in range(min(looks, 30)))
    seconds = float(max(0, looks - 1))
    refused = {("tp-1", "CREATE", "pods", "ABORTED"): 2.0}
    return Observations(100.0, 1.7e9, seconds, seen, etcds, api, over_time, refused, marks, 0.1)


def nothing() -> Observations:
    return Observations(100.0, 1.7e9, 0.0, {}, {}, {}, (), {}, (), 0.0)


def stages(pods: int) -> Stages:
    at = {moment: np.full(pods, 100.0 + number * 0.01) for number, moment in enumerate(MOMENTS)}
    return Stages([str(number) for number in range(pods)], at)


def parsed(html: str) -> ElementTree.Element:
    """HTML as we write it is XML but for the doctype, the meta tags and their like."""
    body = html[html.index("<main>") : html.index("</main>") + len("</main>")]
    return ElementTree.fromstring(body)


@pytest.mark.parametrize("pods", [None, 0, 1, 500])
@pytest.mark.parametrize("looks", [None, 0, 1, 2, 1000])
def test_a_page_is_well_formed_and_fetches_nothing(looks: int | None, pods: int | None) -> None:
    seen = None if looks is None else observed(looks) if looks else nothing()
    html = page(REPORT, seen, None if pods is None else stages(pods))
    parsed(html)
    for forbidden in ("nan", "http://", "https://", "<script", "src="):
        assert forbidden not in html.replace("NaN", "nan"), forbidden
    assert "pods running per second" in html


def test_a_page_has_every_part_of_a_run() -> None:
    html = page(REPORT, observed(100, components=25), stages(500))
    for part in ("Pod start-up", "Throughput", "API latencies", "Processes", "etcd-24", "Events", "missed"):
        assert part in html, part
    assert "fault &lt;3&gt; &amp; more" in html
    assert html.count('class="spark"') == 50


def test_documents_are_json_with_null_for_what_is_not_known() -> None:
    text = json.dumps(document(REPORT, observed(1), stages(0)), allow_nan=False)
    found = json.loads(text)["observed"]
    assert found["components"]["etcd-0"]["cores_peak"] is None
    assert found["stages"]["pods"] == 0
    [slow, *_] = found["api"]
    assert (slow["verb"], slow["met"], slow["limit_ms"]) == ("CREATE", False, 1000.0)
    assert {row["verb"]: row["met"] for row in found["api"]} == {"CREATE": False, "LIST": True, "GET": True}
    json.dumps(document(REPORT, nothing()), allow_nan=False)


def test_perfdash_has_versions_and_data_items() -> None:
    found = perfdash(REPORT, observed(10), stages(50))
    assert found["version"] == "v1"
    metrics = {item["labels"]["Metric"] for item in found["dataItems"]}
    assert {"pods_running_per_second", "APIResponsiveness", "ResourceUsage", "PodStartupLatency"} <= metrics
    [whole] = [item for item in found["dataItems"] if item["labels"].get("Stage") == "pod_startup"]
    assert whole["data"]["Perc99"] == pytest.approx(80.0)
    json.dumps(found, allow_nan=False)


def test_perfdash_has_the_objective_beside_the_latency_it_is_for() -> None:
    items = perfdash(REPORT, observed(10), stages(50))["dataItems"]
    found = {item["labels"]["Verb"]: item["data"] for item in items if item["labels"]["Metric"] == "APIResponsiveness"}
    assert {verb: data["Perc99Threshold"] for verb, data in found.items()} == {
        "CREATE": 1_000.0,
        "GET": 1_000.0,
        "LIST": 30_000.0,
    }
    assert found["CREATE"]["Perc99"] > found["CREATE"]["Perc99Threshold"]
    starts = {i["labels"]["Stage"]: i["data"] for i in items if i["labels"]["Metric"] == "PodStartupLatency"}
    assert [stage for stage, data in starts.items() if "Perc99Threshold" in data] == ["pod_startup"]
    assert starts["pod_startup"]["Perc99Threshold"] == 5_000.0


def test_perfdash_has_size_writes_and_fsyncs_of_each_etcd() -> None:
    items = perfdash(REPORT, observed(10, components=2))["dataItems"]
    of_etcd = [item for item in items if item["labels"]["Metric"] == "EtcdMetrics"]
    assert [item["labels"]["Component"] for item in of_etcd] == ["etcd-0"] * 3 + ["etcd-1"] * 3
    found = {item["labels"]["Measure"]: (item["data"], item["unit"]) for item in of_etcd[:3]}
    assert found["Size"] == ({"MaxDatabaseSize": 1e7 + 9, "MaxDatabaseInUse": 5e6 + 9}, "bytes")
    assert found["Writes"] == ({"Log": 9e5, "Disk": 9e6}, "bytes")
    assert found["WalFsync"][0].keys() == {"Perc50", "Perc90", "Perc99"} and found["WalFsync"][1] == "ms"


def test_perfdash_leaves_out_what_an_etcd_did_not_tell() -> None:
    unknown = np.full(3, np.nan)
    etcds = {"etcd-0": Etcd("etcd-0", np.arange(3.0), np.arange(3.0), np.arange(3.0), unknown, unknown, unknown)}
    items = perfdash(REPORT, dataclasses.replace(nothing(), etcds=etcds))["dataItems"]
    found = [item for item in items if item["labels"]["Metric"] == "EtcdMetrics"]
    assert [(item["labels"]["Measure"], item["data"]) for item in found] == [("Writes", {"Log": 2.0})]


def test_a_message_of_renewals_may_take_longer_than_a_call() -> None:
    rows = objectives.latencies({("rp-1", verb, "leases"): histogram(3.0, 10) for verb in ("RENEW", "UPDATE")})
    assert {row.verb: (row.kind, row.met) for row in rows} == {
        "UPDATE": ("mutating", False),
        "RENEW": ("renewal", True),
    }


def test_areas_reach_from_the_beginning_to_the_end() -> None:
    at = np.array([0.02, 1.0, 2.0, 2.9])
    line = plots.Line("memory", at, np.full(4, 5.0), 0)
    column = plots._sampled(line, np.linspace(0.0, 3.0, 4))
    assert column.tolist() == [5.0, 5.0, 5.0, 5.0]
