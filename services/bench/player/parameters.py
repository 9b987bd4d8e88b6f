"""All the parameters of a run by name: defaults, those of ``--quick``, a recording's, and what was asked for, in that
order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Parameters = dict[str, Any]

_CLUSTER: Parameters = {
    "nodes": 200,
    "tenant_partitions": 2,
    "resource_partitions": 2,
    "hollow_hosts": 1,
    "start_delay_ms": 0,
    "seed": 1,
    "creators": 30,
    "timeout_s": 120.0,
    "up_timeout_s": 300.0,
    "tenants": 1,
    "namespaces": 1,
    "pods": 0,
    "create_batch": 1,
    "short_lived": 0.0,
    "hold_s": 0.0,
}
DENSITY: Parameters = _CLUSTER | {
    "pods_per_node": 30.0,
    "rate": 0.0,
    "duration_s": 0.0,
    "lifetime_s": 30.0,
    "latency_pods": 100,
    "latency_rate": 10.0,
    "delete": False,
}
DENSITY_QUICK: Parameters = {"nodes": 100, "pods_per_node": 10.0, "latency_pods": 50, "latency_rate": 25.0}
LOAD: Parameters = _CLUSTER | {
    "pods_per_node": 30.0,
    "namespaces": 2,
    "rate": 50.0,
    "duration_s": 0.0,
    "lifetime_s": 10.0,
    "workloads": "replicasets",
    "services": False,
    "delete": True,
}
LOAD_QUICK: Parameters = {"nodes": 100, "pods_per_node": 10.0, "rate": 100.0}


class Impossible(Exception):
    """Parameters that contradict each other. ``name``: the option."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def chosen(
    defaults: Parameters, quick: Parameters | None, recorded: Mapping[str, Any], asked: Parameters
) -> Parameters:
    """``asked``: None where not given. Raises ``Impossible``."""
    found = defaults | (quick or {})
    found |= {name: value for name, value in recorded.items() if name in found}
    found |= {name: value for name, value in asked.items() if value is not None}
    for name in ("tenant_partitions", "resource_partitions", "nodes"):
        if not isinstance(found[name], int) or found[name] < 1:
            raise Impossible(name, f"{found[name]!r} is no number of {name.replace('_', ' ')}")
    if found["nodes"] % found["resource_partitions"]:
        message = f"must be a multiple of the {found['resource_partitions']} resource partitions"
        raise Impossible("nodes", message)
    if found["duration_s"] and not found["rate"]:
        raise Impossible("duration", "needs --rate: so many pods a second for so long")
    return found


def pods_of(parameters: Parameters) -> int:
    """How many pods in all: as many as asked for, or those of a rate and a duration, or so many per node."""
    if parameters["pods"]:
        return int(parameters["pods"])
    if parameters["duration_s"]:
        return max(1, round(float(parameters["rate"]) * float(parameters["duration_s"])))
    return max(1, round(float(parameters["nodes"]) * float(parameters["pods_per_node"])))
