"""The file that Kubernetes' perf-dash reads: ``{"version": "v1", "dataItems": [{"data", "unit", "labels"}]}``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from services.bench import histograms
from services.bench.histograms import Histogram
from services.bench.scheduler import sampling
from services.bench.scheduler.measuring import Measured
from services.bench.scheduler.reader import THROUGHPUT, Selector, Workload
from services.bench.scheduler.run import Outcome

# What upstream reports unless a test case says otherwise, and by which labels each is told apart.
DEFAULT_METRICS: Mapping[str, tuple[str, ...]] = {
    "scheduler_framework_extension_point_duration_seconds": ("extension_point",),
    "scheduler_scheduling_attempt_duration_seconds": ("result",),
    "scheduler_pod_scheduling_duration_seconds": (),
    "scheduler_pod_scheduling_sli_duration_seconds": (),
    "scheduler_plugin_execution_duration_seconds": ("plugin", "extension_point"),
    "scheduler_queueing_hint_execution_duration_seconds": ("plugin", "event"),
    "scheduler_event_handling_duration_seconds": ("event",),
}
_SHARES = (50, 90, 95, 99)


def document(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """All data items. A window too short for a sample has no throughput item: upstream's rule yields none."""
    items = [
        item for outcome in outcomes for measured in outcome.measured for item in items_of(outcome.workload, measured)
    ]
    return {"version": "v1", "dataItems": items}


def dumps(outcomes: Iterable[Outcome]) -> str:
    return json.dumps(document(outcomes), indent=2) + "\n"


def items_of(workload: Workload, measured: Measured) -> list[dict[str, Any]]:
    """Throughput, the plain rate, and the schedulers' latencies in ms; the threshold beside the value it is for."""
    name = {"Name": f"{workload.full_name}/{measured.name}"}
    items = [_item({"Average": measured.pods_per_second}, "pods/s", name | {"Metric": "PodsPerSecond"})]
    if summary := sampling.summary(measured.samples):
        items.append(_item(summary, "pods/s", name | {"Metric": THROUGHPUT}))
    for metric, told_apart in (workload.case.metrics or DEFAULT_METRICS).items():
        for labels, histogram in histograms.grouped(measured.latencies.get(metric, {}), told_apart).items():
            if histogram.count:
                items.append(_item(_milliseconds(histogram), "ms", name | {"Metric": metric} | dict(labels)))
    if workload.threshold:
        for item in items:
            if selects(workload.selector, item) and workload.selector.bucket in item["data"]:
                item["data"][f"{workload.selector.bucket}Threshold"] = workload.threshold
    return items


def selects(selector: Selector, item: Mapping[str, Any]) -> bool:
    """The item is of the metric and has the labels that a threshold is for."""
    labels = item["labels"]
    return labels["Metric"] == selector.name and all(labels.get(key) == value for key, value in selector.labels)


def _milliseconds(histogram: Histogram) -> dict[str, float]:
    quantiles = {f"Perc{share}": histogram.quantile(share / 100) * 1000.0 for share in _SHARES}
    return {"Average": histogram.average() * 1000.0, **quantiles}


def _item(data: Mapping[str, float], unit: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {"data": dict(data), "unit": unit, "labels": dict(labels)}
