"""One self-contained HTML page of a run: a table, and per window its throughput over time and its stages."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from services.bench.report import Report
from services.bench.scheduler import results, sampling, stages, svg
from services.bench.scheduler.aims import aim_of
from services.bench.scheduler.measuring import Measured
from services.bench.scheduler.run import Outcome

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2433; --soft: #667085; --line: #e4e7ec; --card: #fff; --page: #f5f6f8;
  --blue: #2f6fde; --teal: #0f9b8e; --red: #c8372d; --amber: #b7791f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #98a2b3; --line: #2c3340; --card: #171c26;
  --page: #0f131a; --blue: #6ea0ff; --teal: #3fc9b9; --red: #ff7b72; --amber: #e3b341; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -.01em; } h2 { font-size: 18px; margin: 0; }
h3 { font-size: 13px; font-weight: 600; margin: 0 0 6px; color: var(--soft); }
h3.under { margin-top: 14px; } .soft { color: var(--soft); } p { margin: 4px 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 20px 22px;
  margin-top: 20px; }
.head { display: flex; justify-content: space-between; align-items: baseline; flex-wrap: wrap; gap: 4px 24px; }
.rate { font-size: 24px; font-weight: 650; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 18px 28px; margin-top: 14px; }
.wide { overflow-x: auto; } svg { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th { text-align: right; color: var(--soft); font-weight: 500; white-space: nowrap; }
td { text-align: right; white-space: nowrap; } th:first-child, td:first-child { text-align: left; }
th, td { padding: 6px 10px; border-bottom: 1px solid var(--line); } tr:last-child td { border-bottom: 0; }
.pill { border-radius: 9px; padding: 1px 8px; font-size: 12px; font-weight: 600; border: 1px solid currentColor; }
.aim, .must { color: var(--teal); } .miss, .failed { color: var(--red); }
ul { margin: 8px 0 0; padding-left: 20px; } li { margin: 3px 0; overflow-wrap: anywhere; }
.grid { stroke: var(--line); } .axis { stroke: var(--soft); } .tick { fill: var(--soft); font-size: 11px; }
.row { fill: var(--ink); font-size: 11.5px; } .name { fill: var(--soft); font-size: 11px; }
.area { fill: var(--blue); opacity: .16; } .edge { fill: none; stroke: var(--blue); stroke-width: 1.5; }
.mark { stroke-width: 1.4; stroke-dasharray: 5 4; } .average { stroke: var(--blue); } .threshold { stroke: var(--red); }
text.average, text.threshold { stroke: none; } text.average { fill: var(--blue); } text.threshold { fill: var(--red); }
.bar.client { fill: var(--blue); opacity: .8; } .bar.server { fill: var(--teal); opacity: .8; }
.notch { stroke: var(--card); stroke-width: 2; }
.key { white-space: nowrap; margin-left: 12px; font-weight: 500; }
.key::before { content: ""; display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 5px; }
.key.client::before { background: var(--blue); } .key.server::before { background: var(--teal); }
"""


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
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>ursa bench scheduler</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )


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
