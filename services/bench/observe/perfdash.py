"""The file that Kubernetes' perf-dash reads: ``{"version": "v1", "dataItems": [{"data", "unit", "labels"}]}``, with the
names that clusterloader2's measurements have there (APIResponsiveness, PodStartupLatency, ResourceUsage)."""

from __future__ import annotations

from typing import Any

from services.bench.observe import objectives
from services.bench.observe.observations import Observations, quiet
from services.bench.observe.stages import STAGES, Stages
from services.bench.report import Report, percentile

SHARES = (0.5, 0.9, 0.99)


def perfdash(report: Report, observations: Observations | None, stages: Stages | None = None) -> dict[str, Any]:
    """Figures of the report, latencies per verb and resource (all servers together), the pods' start and its stages,
    CPU and memory per process. What was not measured has no item."""
    name = {"Name": report.benchmark}
    items = [
        _item({"Value": figure.value}, figure.unit, name | {"Metric": figure_name})
        for figure_name, figure in report.figures.items()
    ]
    if observations is not None:
        for one in objectives.over_servers(observations.api):
            data = {"Perc50": one.p50_s * 1e3, "Perc90": one.p90_s * 1e3, "Perc99": one.p99_s * 1e3}
            labels = {"Metric": "APIResponsiveness", "Verb": one.verb, "Resource": one.resource}
            items.append(_item(data, "ms", name | labels | {"Count": f"{one.calls:.0f}"}))
        for component in observations.components.values():
            resident = quiet(component.resident_bytes)
            if len(resident):
                labels = name | {"Metric": "ResourceUsage", "Component": component.name}
                items.append(_item({"CPU": component.cores_mean()}, "cores", labels))
                items.append(_item({"Memory": float(resident.max())}, "bytes", labels))
    if stages is not None:
        measured = {"pod_startup": stages.total_s()} | {stage: stages.steps_s()[stage] for stage in STAGES}
        for stage, seconds in measured.items():
            if len(seconds):
                data = {f"Perc{round(share * 100)}": percentile(seconds, share) * 1e3 for share in SHARES}
                items.append(_item(data, "ms", name | {"Metric": "PodStartupLatency", "Stage": stage}))
    return {"version": "v1", "dataItems": items}


def _item(data: dict[str, float], unit: str, labels: dict[str, str]) -> dict[str, Any]:
    return {"data": {key: round(value, 4) for key, value in data.items()}, "unit": unit, "labels": labels}
