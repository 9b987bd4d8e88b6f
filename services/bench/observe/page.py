"""One self-contained HTML page of a run: figures, start-up by stage, throughput, API latencies, processes, etcd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from services.bench import style, svg
from services.bench.observe import plots, sections
from services.bench.observe.objectives import POD_STARTUP_P99_S
from services.bench.observe.observations import Observations
from services.bench.observe.plots import Line
from services.bench.observe.stages import MEANINGS, STAGES, Stages
from services.bench.report import Report, percentile
from services.bench.svg import duration
from services.bench.targets import target_of

SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def page(
    report: Report,
    observations: Observations | None,
    stages: Stages | None = None,
    *,
    throughput: Mapping[str, np.ndarray] | None = None,
) -> str:
    """The page. ``throughput``: moments of events by name, seconds of CLOCK_MONOTONIC; without it and with ``stages``,
    creates and starts. What was not measured has no place on it."""
    document = report.to_json()
    parts = [_header(report, document), _figures(report)]
    if observations is not None and observations.marks:
        parts.append(sections.events(observations.marks))
    if stages is not None:
        parts.append(_startup(stages))
    if observations is not None:
        shown = throughput if throughput is not None else _moments(stages)
        if shown:
            parts.append(_throughput(shown, observations))
        parts += [sections.api(observations), sections.processes(observations), sections.etcd(observations)]
    return style.html(f"ursa bench {report.benchmark}", "".join(parts))


def _header(report: Report, document: Mapping[str, object]) -> str:
    machine = report.to_json()["machine"]
    facts = [
        f"commit {document['commit']}",
        f"{machine['cpus']} CPUs, {machine['cpu_model']}",
        f"{machine['memory_bytes'] / 2**30:.0f} GiB",
        f"etcd {machine['etcd']}" if machine.get("etcd") else "",
        *(f"{key.replace('_', ' ')} {_plain(value)}" for key, value in report.parameters.items() if _is_plain(value)),
    ]
    verdict = '<span class="pill failed">does not count</span>' if report.invalid else ""
    why = f'<p class="failed">{escape(report.invalid)}</p>' if report.invalid else ""
    return (
        f'<header><div class="head"><h1>ursa bench {escape(report.benchmark)}</h1>{verdict}</div>'
        f'<p class="soft">{" · ".join(map(escape, filter(None, facts)))}</p>{why}</header>'
    )


def _is_plain(value: object) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool) and value != ""


def _plain(value: object) -> str:
    return svg.short(value) if isinstance(value, int | float) else str(value)


def _figures(report: Report) -> str:
    if not report.figures:
        return ""
    targets = {name: target_of(name, figure.reference) for name, figure in report.figures.items()}
    with_targets, with_references = any(targets.values()), any(f.reference is not None for f in report.figures.values())
    heads = ["figure", "value", "unit", *(["reference"] if with_references else [])]
    heads += ["must", "aim", ""] if with_targets else []
    rows = []
    for name, figure in report.figures.items():
        cells = [escape(name.replace("_", " ")), f"<b>{_short(figure.value)}</b>", escape(figure.unit)]
        if with_references:
            source = f' title="{escape(figure.reference_source)}"' if figure.reference_source else ""
            cells.append(f"<span{source}>{_short(figure.reference)}</span>" if figure.reference is not None else "")
        if with_targets:
            target = targets[name]
            verdict = target.verdict(figure.value) if target else ""
            cells += [_short(target.must), _short(target.aim)] if target else ["", ""]
            cells.append(f'<span class="pill {verdict}">{verdict}</span>' if verdict else "")
        rows.append(cells)
    return f'<section class="card wide">{sections.table(heads, rows)}</section>'


def _short(value: float) -> str:
    return svg.short(float(f"{value:.4g}")) if abs(value) < 1000 else f"{value:,.0f}"


def _startup(stages: Stages) -> str:
    total = stages.total_s()
    if not len(total):
        return '<section class="card"><h2>Pod start-up</h2><p class="soft">No pod was seen Running.</p></section>'
    steps, reached = stages.steps_s(), stages.reached_s()
    whole = int(stages.whole().sum())
    values = {name: percentile(total, share) for name, share in SHARES.items()}
    verdict = "must" if values["p99"] <= POD_STARTUP_P99_S else "miss"
    numbers = "".join(
        f"<div><small>{name}</small>{duration(_three(value * 1000))}</div>" for name, value in values.items()
    )
    keys = "".join(
        f'<span class="key swatch s{number}">{escape(MEANINGS[stage])}</span>' for number, stage in enumerate(STAGES)
    )
    around = {
        name: {MEANINGS[stage]: seconds for stage, seconds in stages.around(share).items()}
        for name, share in SHARES.items()
    }
    rows = [[escape(MEANINGS[stage]), *_three_of(steps[stage]), *_three_of(reached[stage])] for stage in STAGES]
    heads = ["stage", "p50", "p90", "p99", "until then: p50", "p90", "p99"]
    missing = "" if whole == len(total) else f" · stages of {whole:,} that have every one"
    return (
        f'<section class="card"><div class="head"><h2>Pod start-up, created to Running as the client sees it</h2>'
        f'<span class="pill {verdict}">p99 {"≤" if verdict == "must" else ">"} 5 s</span></div>'
        f'<p class="soft">{len(total):,} of {len(stages.uids):,} pods{missing}</p><div class="numbers">{numbers}</div>'
        f'<h3 class="under">What the pods at each percentile spent their time on (mean of those next to it)</h3>'
        f'<div class="wide">{plots.stacked_stages(around, "stages of pods at each percentile")}</div>'
        f'<div class="legend">{keys}</div>'
        f'<h3 class="under">Each stage by itself, and from the create until its end</h3>'
        f'<div class="wide">{sections.table(heads, rows)}</div></section>'
    )


def _three_of(seconds: np.ndarray) -> list[str]:
    return [duration(_three(percentile(seconds, share) * 1000)) if len(seconds) else "–" for share in SHARES.values()]


def _three(value: float) -> float:
    return float(f"{value:.3g}")


def _moments(stages: Stages | None) -> Mapping[str, np.ndarray]:
    if stages is None:
        return {}
    found = {"created": stages.at_s["created"], "Running": stages.at_s["watched"]}
    return {name: times[np.isfinite(times)] for name, times in found.items()}


def _throughput(moments: Mapping[str, np.ndarray], observations: Observations) -> str:
    seconds = max(
        [observations.seconds, *(float(t.max()) - observations.began_monotonic_s for t in moments.values() if len(t))]
    )
    lines: Sequence[Line] = [
        _per_second(name, times - observations.began_monotonic_s, seconds, number)
        for number, (name, times) in enumerate(moments.items())
        if len(times)
    ]
    plot = plots.over_time(lines, seconds, "events per second", unit="1/s", events=observations.marks)
    return f'<section class="card"><h2>Throughput</h2><h3>Per second</h3><div class="half">{plot}</div></section>'


def _per_second(name: str, at_s: np.ndarray, seconds: float, number: int) -> Line:
    values, width_s = svg.rates(at_s, max(seconds, 0.1), bins=120)
    middles = (np.arange(len(values)) + 0.5) * width_s
    return Line(name, middles, values, number % plots.COLOURS)
