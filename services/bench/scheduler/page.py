"""One self-contained HTML page of a run: a table, and per window its throughput over time and its stages."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from services.bench import style, svg
from services.bench.report import Report
from services.bench.scheduler import results, sampling, stages
from services.bench.scheduler.aims import aim_of
from services.bench.scheduler.measuring import Measured
from services.bench.scheduler.run import Outcome


def render(report: Report, outcomes: Sequence[Outcome], *, batched: bool) -> str:
    """The page. ``batched``: the pods were created in batches, which have aims of their own."""
    document = report.to_json()
    machine = document["machine"]
    windows = [(name, outcome, one) for outcome in outcomes for name, one in results.named(outcome)]
    drift = report.figures.get("calibration_drift")
    facts = [
        f"commit {document['commit']}",
        f"{machine['cpus']} CPUs, {machine['cpu_model']}",
        f"etcd {machine['etcd']}" if machine.get("etcd") else "",
        f"calibration drift {drift.value:.1%}" if drift else "",
        ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in document["parameters"].items() if _shown(value)),
    ]
    body = [
        "<header><h1>ursa bench scheduler</h1>",
        f'<p class="soft">{" · ".join(map(escape, filter(None, facts)))}</p></header>',
        _table(windows, batched),
        *(_window(name, outcome, one) for name, outcome, one in windows),
        _list("Failed", "failed", [results.problem_of(one) for one in outcomes if results.problem_of(one)]),
        _list("Not supported", "", [f"{one.workload.full_name}: {one.lacks}" for one in outcomes if one.lacks]),
        _list("Notes", "", [f"{one.workload.full_name}: {note}" for one in outcomes for note in results.notes_of(one)]),
    ]
    return style.html("ursa bench scheduler", "".join(body))


def _shown(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _table(windows: Sequence[tuple[str, Outcome, Measured]], batched: bool) -> str:
    heads = ("workload", "pods", "seconds", "pods/s", "sampled", "threshold", "ratio", "must", "aim", "")
    rows = []
    for name, outcome, one in windows:
        workload, rate = outcome.workload, one.pods_per_second
        average = sampling.summary(one.samples).get("Average")
        aim = aim_of(workload.full_name, workload.threshold, batched=batched)
        verdict = aim.verdict(rate) if aim else ""
        cells = [
            escape(name),
            f"{one.pods:,}",
            f"{one.seconds:.2f}",
            f"<b>{svg.short(rate)}</b>",
            svg.short(average) if average is not None else "–",
            svg.short(workload.threshold) if workload.threshold else "",
            f"{rate / workload.threshold:.1f}×" if workload.threshold else "",
            svg.short(aim.must) if aim else "",
            svg.short(aim.aim) if aim else "",
            f'<span class="pill {verdict}">{verdict}</span>' if verdict else "",
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    if not rows:
        return '<section class="card">Nothing was measured.</section>'
    head = "".join(f"<th>{text}</th>" for text in heads)
    return f'<section class="card wide"><table><tr>{head}</tr>{"".join(rows)}</table></section>'


def _window(name: str, outcome: Outcome, measured: Measured) -> str:
    threshold = outcome.workload.threshold
    marks = [svg.Mark(measured.pods_per_second, f"average {svg.short(measured.pods_per_second)}", "average")]
    if threshold:
        marks.append(svg.Mark(threshold, f"threshold {svg.short(threshold)}", "threshold"))
    values, width_s = svg.rates(measured.bound_at, measured.seconds)
    return (
        f'<section class="card"><div class="head"><h2>{escape(name)}</h2>'
        f'<div class="rate">{svg.short(measured.pods_per_second)} pods/s</div></div>'
        f'<p class="soft">{measured.pods:,} pods in {measured.seconds:.2f} s, first create to last bind</p>'
        f'<div class="plots"><div><h3>Pods bound per second</h3>'
        f"{svg.over_time(values, width_s, marks, f'pods bound per second, {name}')}</div>"
        "<div><h3>Stages, p50 to p99"
        '<span class="key client">client, per pod</span>'
        '<span class="key server">scheduler\'s metrics</span></h3>'
        f"{svg.spreads(stages.spreads(measured), f'stages, {name}')}</div></div>"
        f'<h3 class="under">Processes during the window</h3><div class="wide">{_used(measured)}</div></section>'
    )


def _used(measured: Measured) -> str:
    names = list(measured.used)
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    cpu = "".join(f"<td>{measured.used[name].cpu_s:.2f}</td>" for name in names)
    memory = "".join(f"<td>{measured.used[name].resident_bytes / 1e6:,.0f}</td>" for name in names)
    return f"<table><tr><th></th>{head}</tr><tr><td>CPU-s</td>{cpu}</tr><tr><td>resident MB</td>{memory}</tr></table>"


def _list(title: str, css: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<section class="card"><h2 class="{css}">{title}</h2><ul>{items}</ul></section>'
