"""The JSON object of a run: the benchmark's own report, with what was observed beside it under ``observed``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from services.bench.observe import objectives
from services.bench.observe.objectives import ApiLatency
from services.bench.observe.observations import Component, Etcd, Observations, quiet
from services.bench.observe.stages import STAGES, Stages
from services.bench.report import Report, percentile

SHARES = (0.5, 0.9, 0.99)


def document(report: Report, observations: Observations | None, stages: Stages | None = None) -> dict[str, Any]:
    """``report``'s own object, and ``observed``: components, etcds, API latencies against their objectives, stages,
    marks. Numbers that are not known are null."""
    result = report.to_json()
    observed: dict[str, Any] = {}
    if observations is not None:
        observed |= {
            "seconds": _rounded(observations.seconds),
            "observer_cores": _rounded(observations.observer_cpu_s / observations.seconds)
            if observations.seconds
            else None,
            "components": {name: _component(one) for name, one in sorted(observations.components.items())},
            "etcd": {name: _etcd(one) for name, one in sorted(observations.etcds.items())},
            "api": [_latency(one) for one in objectives.latencies(observations.api)],
            "refused": [
                {"server": server, "verb": verb, "resource": resource, "code": code, "calls": count}
                for (server, verb, resource, code), count in sorted(observations.refused.items())
            ],
            "marks": [{"at_s": _rounded(mark.at_s), "text": mark.text} for mark in observations.marks],
        }
    if stages is not None:
        observed["stages"] = stages_document(stages)
    return result | {"observed": observed}


def stages_document(stages: Stages) -> dict[str, Any]:
    """Milliseconds: of the whole start, of each stage, and of the stages of the pods around each percentile."""
    steps = stages.steps_s()
    return {
        "pods": len(stages.uids),
        "pods_with_every_stage": int(stages.whole().sum()),
        "startup_ms": _percentiles_ms(stages.total_s()),
        "stages_ms": {stage: _percentiles_ms(steps[stage]) for stage in STAGES},
        "around_ms": {
            f"p{round(share * 100)}": {stage: _rounded(value * 1000.0) for stage, value in stages.around(share).items()}
            for share in SHARES
        },
    }


def _percentiles_ms(seconds: np.ndarray) -> dict[str, float | None]:
    if not len(seconds):
        return {f"p{round(share * 100)}": None for share in SHARES}
    return {f"p{round(share * 100)}": _rounded(percentile(seconds, share) * 1000.0) for share in SHARES}


def _component(one: Component) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "cores_mean": _rounded(one.cores_mean()),
        "cores_peak": _peak(one.cores),
        "resident_bytes_peak": _peak(one.resident_bytes),
        "resident_bytes_last": _last(one.resident_bytes),
        "threads_peak": _peak(one.threads),
        "written_bytes": _last(one.written_bytes),
    }


def _etcd(one: Etcd) -> dict[str, Any]:
    return {
        "wal_bytes": _last(one.wal_bytes),
        "wal_metric_bytes": _last(one.wal_metric_bytes),
        "db_bytes_last": _last(one.db_bytes),
        "db_in_use_bytes_last": _last(one.db_in_use_bytes),
        "fsyncs": one.fsync.count,
        "fsync_p99_ms": _rounded(one.fsync.quantile(0.99) * 1000.0),
    }


def _latency(one: ApiLatency) -> dict[str, Any]:
    return {
        "server": one.server,
        "verb": one.verb,
        "resource": one.resource,
        "calls": one.calls,
        "p50_ms": _rounded(one.p50_s * 1000.0),
        "p90_ms": _rounded(one.p90_s * 1000.0),
        "p99_ms": _rounded(one.p99_s * 1000.0),
        "limit_ms": one.limit_s * 1000.0,
        "met": one.met,
    }


def _peak(values: np.ndarray) -> float | None:
    found = quiet(values)
    return _rounded(float(found.max())) if len(found) else None


def _last(values: np.ndarray) -> float | None:
    found = quiet(values)
    return _rounded(float(found[-1])) if len(found) else None


def _rounded(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
