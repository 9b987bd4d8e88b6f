"""The file that Kubernetes' perf-dash reads: ``{"version": "v1", "dataItems": [{"data", "unit", "labels"}]}``, with the
names that clusterloader2's measurements have there (APIResponsiveness, PodStartupLatency, ResourceUsage, EtcdMetrics).
``Perc99Threshold`` is the objective for the ``Perc99`` beside it, so that both are in one plot."""

from __future__ import annotations

from typing import Any

from services.bench.observe import objectives
from services.bench.observe.observations import NO_TIMES, Etcd, Observations, quiet
from services.bench.observe.stages import STAGES, Stages
from services.bench.report import Report, percentile

SHARES = (0.5, 0.9, 0.99)
THRESHOLD = "Perc99Threshold"


def perfdash(report: Report, observations: Observations | None, stages: Stages | None = None) -> dict[str, Any]:
    """Figures of the report, latencies per verb and resource (all servers together) and the pods' start with their
    objectives, its stages, CPU and memory per process, size and writes per etcd. What was not measured has no item."""
    name = {"Name": report.benchmark}
    items = [
        _item({"Value": figure.value}, figure.unit, name | {"Metric": figure_name})
        for figure_name, figure in report.figures.items()
    ]
    if observations is not None:
        for one in objectives.over_servers(observations.api):
            data = {"Perc50": one.p50_s * 1e3, "Perc90": one.p90_s * 1e3, "Perc99": one.p99_s * 1e3}
            data[THRESHOLD] = one.limit_s * 1e3
            labels = {"Metric": "APIResponsiveness", "Verb": one.verb, "Resource": one.resource}
            items.append(_item(data, "ms", name | labels | {"Count": f"{one.calls:.0f}"}))
        for component in observations.components.values():
            resident = quiet(component.resident_bytes)
            if len(resident):
                labels = name | {"Metric": "ResourceUsage", "Component": component.name}
                items.append(_item({"CPU": component.cores_mean()}, "cores", labels))
                items.append(_item({"Memory": float(resident.max())}, "bytes", labels))
        for etcd in observations.etcds.values():
            items += _etcd(etcd, observations, name)
    if stages is not None:
        measured = {"pod_startup": stages.total_s()} | {stage: stages.steps_s()[stage] for stage in STAGES}
        for stage, seconds in measured.items():
            if len(seconds):
                data = {f"Perc{round(share * 100)}": percentile(seconds, share) * 1e3 for share in SHARES}
                if stage == "pod_startup":
                    data[THRESHOLD] = objectives.POD_STARTUP_P99_S * 1e3
                items.append(_item(data, "ms", name | {"Metric": "PodStartupLatency", "Stage": stage}))
    return {"version": "v1", "dataItems": items}


def _etcd(one: Etcd, observations: Observations, name: dict[str, str]) -> list[dict[str, Any]]:
    """Size and writes in bytes, fsyncs in ms. ``Log``: what went to the write-ahead log, ``Disk``: all that the kernel
    wrote for the process."""
    labels = name | {"Metric": "EtcdMetrics", "Component": one.name}
    component = observations.components.get(one.name)
    size = {"MaxDatabaseSize": quiet(one.db_bytes), "MaxDatabaseInUse": quiet(one.db_in_use_bytes)}
    writes = {
        "Log": quiet(one.wal_bytes),
        "Disk": quiet(component.written_bytes) if component is not None else NO_TIMES,
    }
    found = [
        ("Size", "bytes", {key: float(max(values)) for key, values in size.items() if len(values)}),
        ("Writes", "bytes", {key: float(values[-1]) for key, values in writes.items() if len(values)}),
    ]
    items = [_item(data, unit, labels | {"Measure": measure}) for measure, unit, data in found if data]
    if one.fsync.count:
        fsync = {f"Perc{round(share * 100)}": one.fsync.quantile(share) * 1e3 for share in SHARES}
        items.append(_item(fsync, "ms", labels | {"Measure": "WalFsync", "Count": f"{one.fsync.count:.0f}"}))
    return items


def _item(data: dict[str, float], unit: str, labels: dict[str, str]) -> dict[str, Any]:
    return {"data": {key: round(value, 4) for key, value in data.items()}, "unit": unit, "labels": labels}
