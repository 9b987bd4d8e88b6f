"""The stages of a pod's way and how long each took: timed by the client, and as the schedulers export them."""

from __future__ import annotations

from services.bench import histograms
from services.bench.report import percentile
from services.bench.scheduler.measuring import Measured
from services.bench.svg import Spread

# Labels that tell stages apart; all others are merged.
_LABELS = ("extension_point", "stage", "phase", "result")
ROWS_MAX = 14


def spreads(measured: Measured) -> list[Spread]:
    """The client's stages, then every histogram of seconds that the schedulers export and that moved."""
    rows = []
    for name, seconds in measured.stages.items():
        p50, p90, p99 = (percentile(seconds, share) * 1000.0 for share in (0.5, 0.9, 0.99))
        rows.append(Spread(name, p50, p90, p99, "client"))
    for metric, by_labels in sorted(measured.latencies.items()):
        if not metric.endswith("_seconds"):
            continue
        for labels, histogram in sorted(histograms.grouped(by_labels, _LABELS).items()):
            if histogram.count:
                p50, p90, p99 = (histogram.quantile(share) * 1000.0 for share in (0.5, 0.9, 0.99))
                rows.append(Spread(_text(metric, dict(labels)), p50, p90, p99, "server"))
    return rows[:ROWS_MAX]


def _text(metric: str, labels: dict[str, str]) -> str:
    """``scheduler_scheduling_attempt_duration_seconds`` is "scheduling attempt"."""
    name = metric.removeprefix("ursa_").removeprefix("scheduler_").removesuffix("_seconds").removesuffix("_duration")
    name = name.replace("framework_extension_point", "").replace("_", " ").strip()
    return " ".join(part for part in (name, *labels.values()) if part)
