"""The parts of the page that show what was observed: events, API latencies, processes, etcds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from services.bench import svg
from services.bench.histograms import Histogram
from services.bench.observe import objectives, plots
from services.bench.observe.objectives import ApiLatency
from services.bench.observe.observations import Component, Etcd, Mark, Observations, quiet, rate
from services.bench.observe.plots import Line, bytes_text
from services.bench.svg import Spread, duration

KINDS = ("etcd", "tenant-partition", "resource-partition", "scheduler", "controllers", "kubelet", "bench")
API_ROWS_MAX = 18


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """``heads`` are text, cells are markup."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def events(marks: Sequence[Mark]) -> str:
    items = "".join(
        f"<li><b>{number}</b>{svg.short(round(mark.at_s, 1))} s · {escape(mark.text)}</li>"
        for number, mark in enumerate(marks, 1)
    )
    return f'<section class="card"><h2>Events</h2><ol class="events">{items}</ol></section>'


# The API.


def api(observations: Observations) -> str:
    rows = objectives.over_servers(observations.api)
    if not rows:
        return ""
    met = all(row.met for row in rows)
    verdict = '<span class="pill must">met</span>' if met else '<span class="pill miss">missed</span>'
    spreads = [
        Spread(
            f"{row.verb} {row.resource}",
            row.p50_s * 1e3,
            row.p90_s * 1e3,
            row.p99_s * 1e3,
            _css(row),
            row.limit_s * 1e3,
        )
        for row in rows[:API_ROWS_MAX]
    ]
    more = len(rows) - len(spreads)
    left_out = f'<p class="soft">{more} more, each further from its objective, in the table below.</p>' if more else ""
    by_server = objectives.latencies(observations.api)
    plot = plots.over_time(
        _api_lines(observations),
        observations.seconds,
        "p99 of API calls over time",
        unit="ms",
        limit=objectives.CALL_P99_S * 1e3,
        events=observations.marks,
    )
    return (
        f'<section class="card"><div class="head"><h2>API latencies against their objectives</h2>{verdict}</div>'
        '<p class="soft">As the servers time them. Red: the objective for the p99 (1 s; lists 30 s; renewals 10 s).</p>'
        '<div class="plots"><div><h3>p50 to p99, notch at p90<span class="key client">mutating</span>'
        '<span class="key server">reads and lists</span></h3>'
        f"{svg.spreads(spreads, 'API latencies')}{left_out}</div>"
        f"<div><h3>p99 over time, all servers</h3>{plot}</div></div>"
        f"<details><summary>{len(by_server)} rows by server, verb and resource</summary>"
        f'<div class="wide">{table(_API_HEADS, [_api_row(row) for row in by_server])}</div></details>'
        f"{_refused(observations.refused)}</section>"
    )


_API_HEADS = ("server", "verb", "resource", "calls", "p50", "p90", "p99", "objective", "")


def _api_row(row: ApiLatency) -> list[str]:
    verdict = "must" if row.met else "miss"
    return [
        escape(row.server),
        escape(row.verb),
        escape(row.resource),
        f"{row.calls:,.0f}",
        *(duration(float(f"{value * 1e3:.3g}")) for value in (row.p50_s, row.p90_s, row.p99_s)),
        duration(row.limit_s * 1e3),
        f'<span class="pill {verdict}">{"met" if row.met else "missed"}</span>',
    ]


def _refused(refused: Mapping[tuple[str, str, str, str], float]) -> str:
    if not refused:
        return ""
    rows = [[*map(escape, key), f"{count:,.0f}"] for key, count in sorted(refused.items())]
    return (
        f"<details><summary>{sum(refused.values()):,.0f} calls ended otherwise than OK</summary>"
        f'<div class="wide">{table(("server", "verb", "resource", "code", "calls"), rows)}</div></details>'
    )


def _css(row: ApiLatency) -> str:
    return "client" if row.kind in ("mutating", "renewal") else "server"


def _api_lines(observations: Observations) -> list[Line]:
    lines = []
    for number, kind in enumerate(("mutating", "read", "list", "renewal")):
        found: list[tuple[float, Histogram]] = [
            ((one.from_s + one.to_s) / 2, objectives.of_kind(one.latencies, kind)) for one in observations.api_over_time
        ]
        at = np.array([moment for moment, _ in found], dtype=np.float64)
        values = [one.quantile(objectives.SHARE) * 1e3 if one.count else np.nan for _, one in found]
        lines.append(Line(kind, at, np.array(values, dtype=np.float64), number))
    return lines


# Processes.


def processes(observations: Observations) -> str:
    components = sorted(observations.components.values(), key=lambda one: (_rank(one.kind), one.name))
    if not components:
        return ""
    seconds = observations.seconds
    cores = [
        _summed(kind, [(one.at_s[1:], one.cores) for one in of], number) for kind, of, number in _by_kind(components)
    ]
    memory = [
        _summed(kind, [(one.at_s, one.resident_bytes) for one in of], number)
        for kind, of, number in _by_kind(components)
    ]
    heads = ("process", "cores", "peak", "CPU over time", "resident", "peak", "memory over time", "threads", "written")
    own = f"{observations.observer_cpu_s / seconds:.2%} of a core" if seconds > 0 else "–"
    marks = observations.marks
    return (
        '<section class="card"><h2>Processes</h2>'
        f'<p class="soft">{len(components)} processes, {svg.short(round(seconds, 1))} s; observing took {own}.</p>'
        f'<div class="plots"><div><h3>CPU by kind of process</h3>'
        f"{plots.over_time(cores, seconds, 'cores by kind', unit='cores', stacked=True, events=marks)}</div>"
        f"<div><h3>Resident memory by kind of process</h3>"
        f"{plots.over_time(memory, seconds, 'memory by kind', unit='B', stacked=True, events=marks)}</div></div>"
        f'<h3 class="under">Each process</h3><div class="wide">'
        f"{table(heads, [_process_row(one, seconds) for one in components])}</div></section>"
    )


def _process_row(one: Component, seconds: float) -> list[str]:
    cores, resident, threads, written = (
        quiet(values) for values in (one.cores, one.resident_bytes, one.threads, one.written_bytes)
    )
    colour = _rank(one.kind)
    return [
        f'<span class="key swatch s{colour}" style="margin-left:0">{escape(one.name)}</span>',
        f"{one.cores_mean():.3f}",
        f"{cores.max():.2f}" if len(cores) else "–",
        plots.spark(one.at_s[1:], one.cores, seconds, colour, f"CPU of {one.name}"),
        bytes_text(resident[-1]) if len(resident) else "–",
        bytes_text(resident.max()) if len(resident) else "–",
        plots.spark(one.at_s, one.resident_bytes, seconds, colour, f"memory of {one.name}"),
        f"{threads.max():.0f}" if len(threads) else "–",
        bytes_text(written[-1]) if len(written) else "–",
    ]


def _rank(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def _by_kind(components: Sequence[Component]) -> list[tuple[str, list[Component], int]]:
    found: dict[str, list[Component]] = {}
    for one in components:
        found.setdefault(one.kind, []).append(one)
    return [(kind, of, _rank(kind) % plots.COLOURS) for kind, of in found.items()]


def _summed(text: str, series: Sequence[tuple[np.ndarray, np.ndarray]], colour: int) -> Line:
    """The sum of several series at the times of the longest; what is no number counts as nothing."""
    at = max((at for at, _ in series), key=len)
    total = np.zeros(len(at))
    for times, values in series:
        if len(times):
            known = np.where(np.isfinite(values), values, 0.0)
            total += np.interp(at, times, known, left=0.0, right=0.0)
    return Line(text, at, total, colour)


# etcds.


def etcd(observations: Observations) -> str:
    etcds = sorted(observations.etcds.values(), key=lambda one: one.name)
    if not etcds:
        return ""
    seconds, marks = observations.seconds, observations.marks
    sizes = [Line(one.name, one.metrics_at_s, one.db_bytes, number) for number, one in _numbered(etcds)]
    wal = [Line(one.name, one.at_s[1:], rate(one.at_s, one.wal_bytes), number) for number, one in _numbered(etcds)]
    written = [
        Line(one.name, component.at_s[1:], rate(component.at_s, component.written_bytes), number)
        for number, one in _numbered(etcds)
        if (component := observations.components.get(one.name)) is not None
    ]
    heads = ("etcd", "log written", "to disk", "database", "in use", "fsyncs", "fsync p50", "fsync p99")
    return (
        '<section class="card"><h2>etcd</h2><div class="plots">'
        f"<div><h3>Database file</h3>{plots.over_time(sizes, seconds, 'etcd database', unit='B', events=marks)}</div>"
        f"<div><h3>Log written (growth of its files)</h3>"
        f"{plots.over_time(wal, seconds, 'etcd log', unit='B/s', events=marks)}</div>"
        f"<div><h3>Written to disk (pages, all files)</h3>"
        f"{plots.over_time(written, seconds, 'etcd disk', unit='B/s', events=marks)}</div></div>"
        f'<div class="wide">{table(heads, [_etcd_row(one, observations) for one in etcds])}</div></section>'
    )


def _numbered(etcds: Sequence[Etcd]) -> list[tuple[int, Etcd]]:
    return [(number % plots.COLOURS, one) for number, one in enumerate(etcds)]


def _etcd_row(one: Etcd, observations: Observations) -> list[str]:
    component = observations.components.get(one.name)
    written = quiet(component.written_bytes) if component is not None else np.empty(0)
    return [
        escape(one.name),
        *(_last_bytes(values) for values in (one.wal_bytes, written, one.db_bytes, one.db_in_use_bytes)),
        f"{one.fsync.count:,.0f}",
        *(duration(float(f"{one.fsync.quantile(share) * 1e3:.3g}")) for share in (0.5, 0.99)),
    ]


def _last_bytes(values: np.ndarray) -> str:
    known = quiet(values)
    return bytes_text(float(known[-1])) if len(known) else "–"
