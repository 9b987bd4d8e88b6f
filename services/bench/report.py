"""The one object that every benchmark prints, and its table for people.

``{"benchmark", "commit", "machine", "parameters", "figures": {"<name>": {"value", "unit", "reference"?, "ratio"?}}}``
"""

from __future__ import annotations

import json
import os
import pathlib
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Figure:
    """A measured value. ``reference``: what it is held against, same unit; ``reference_source`` says whose it is."""

    value: float
    unit: str
    reference: float | None = None
    reference_source: str = ""

    def to_json(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"value": round(self.value, 4), "unit": self.unit}
        if self.reference is not None:
            entry["reference"] = self.reference
            entry["ratio"] = round(self.value / self.reference, 4) if self.reference else None
        if self.reference_source:
            entry["reference_source"] = self.reference_source
        return entry


@dataclass
class Report:
    """A benchmark's result. ``invalid``: why the run does not count; empty if it does (exit code 0). ``extra``: what
    else its JSON object says."""

    benchmark: str
    parameters: Mapping[str, Any]
    figures: dict[str, Figure] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    invalid: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "benchmark": self.benchmark,
            "commit": commit(),
            "machine": machine() | self.machine,
            "parameters": dict(self.parameters),
            "figures": {name: figure.to_json() for name, figure in self.figures.items()},
            **self.extra,
        }
        if self.invalid:
            document["invalid"] = self.invalid
        return document

    def dumps(self) -> str:
        return json.dumps(self.to_json(), indent=2)


def percentile(values: np.ndarray, share: float) -> float:
    """The value at index ceil(n·share) − 1 of the sorted values (Kubernetes' scheduler_perf rule); 0 if empty."""
    if not len(values):
        return 0.0
    ordered = np.sort(values)
    return float(ordered[max(0, int(np.ceil(len(ordered) * share)) - 1)])


def latency_figures(name: str, seconds: np.ndarray) -> dict[str, Figure]:
    """``<name>_p50|p90|p99`` in ms."""
    return {
        f"{name}_p{round(share * 100)}": Figure(percentile(seconds, share) * 1000.0, "ms") for share in (0.5, 0.9, 0.99)
    }


def commit() -> str:
    """The checkout's commit, with ``-dirty`` when it has uncommitted changes; ``unknown`` outside a checkout."""
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return described.stdout.strip()


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu_model": _cpu_model(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def filesystem(directory: pathlib.Path) -> str:
    """The type of the file system that ``directory`` is on ("ext4", "tmpfs"), "unknown" if it cannot be told: etcd's
    writes wait for it."""
    try:
        mounts = [line.split() for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    # The longest path that leads there; of two at the same place the one that was mounted last.
    above = [(len(at), order, kind) for order, (_, at, kind, *_) in enumerate(mounts) if directory.is_relative_to(at)]
    return max(above, default=(0, 0, "unknown"))[2]


def _cpu_model() -> str:
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()
