"""The result for people: a row per window, then what could not be run, what failed, and what to know."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.bench.report import Report, percentile
from services.bench.scheduler import results, sampling
from services.bench.scheduler.aims import aim_of
from services.bench.scheduler.measuring import CREATED_TO_BOUND, Measured
from services.bench.scheduler.reader import TestCase
from services.bench.scheduler.run import CLIENT, Outcome

_NUMBERS = ("pods", "s", "pods/s", "sampled", "threshold", "ratio", "must", "aim", "reached", "p50 ms", "p99 ms")
_USED = {
    "scheduler": "scheduler-",
    "TP": "tp-",
    "RP": "rp-",
    "controllers": "controller-",
    "etcd": "etcd-",
    "client": CLIENT,
}


def show(report: Report, outcomes: Sequence[Outcome], *, batched: bool, console: Console | None = None) -> None:
    """Print everything. A narrow terminal may wrap a row, but no number is cut short."""
    console = console or Console()
    parts: list[RenderableType] = [_table(outcomes, batched)]
    for title, result in (("Not supported", "not supported"), ("Failed", "failed")):
        parts += _list(title, [(one.workload.full_name, _reason(one)) for one in outcomes if _is(one, result)])
    parts += _list("Notes", [(one.workload.full_name, note) for one in outcomes for note in dict.fromkeys(one.notes)])
    parts += _list("At most", [bound for one in outcomes for bound in _bounds(one)])
    windows = [window for outcome in outcomes for window in results.named(outcome)]
    if short := [name for name, measured in windows if not measured.samples]:
        parts.append(Text(f"{results.TOO_SHORT.capitalize()}: {', '.join(short)}"))
    if any(measured.others_share > results.OTHERS_SHARE_SAID for _, measured in windows):
        parts.append(
            Text("others: what processes that are not the benchmark's took of all cores; rates suffer from it.")
        )
    if any(outcome.workload.gates for outcome in outcomes):
        parts.append(Text("Feature gates of the files are kube-scheduler's and were ignored."))
    drift = report.figures.get("calibration_drift")
    machine = report.to_json()["machine"]
    tail = f"commit {report.to_json()['commit']}; {machine['cpus']} CPUs, {machine['cpu_model']}"
    parts.append(Text(tail + (f"; calibration drift {drift.value:.1%}" if drift else "")))
    page = Group(*parts)
    console.width = max(console.width, console.measure(page, options=console.options.update(width=1000)).maximum)
    console.print(page, highlight=False)


def _bounds(outcome: Outcome) -> list[tuple[str, str]]:
    return [
        (name, f"{number(value)} (must {number(target.must)}, aim {number(target.aim)}): {target.verdict(value)}")
        for name, value, target in results.held_against(outcome)
    ]


def _is(outcome: Outcome, result: str) -> bool:
    return results.result_of(outcome) == result


def _reason(outcome: Outcome) -> str:
    return outcome.lacks or results.problem_of(outcome).removeprefix(f"{outcome.workload.full_name}: ")


def _table(outcomes: Sequence[Outcome], batched: bool) -> Table:
    table = Table(title="ursa bench scheduler", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("workload")
    for column in (*_NUMBERS, *(f"{name} CPU-s" for name in _USED), "others"):
        table.add_column(column, justify="right")
    for outcome in outcomes:
        for name, measured in results.named(outcome):
            table.add_row(name, *_cells(outcome, measured, batched))
    return table


def _cells(outcome: Outcome, measured: Measured, batched: bool) -> list[str]:
    workload, rate = outcome.workload, measured.pods_per_second
    sampled = sampling.summary(measured.samples).get("Average")
    aim = aim_of(workload.full_name, workload.threshold, batched=batched)
    stage = measured.stages[CREATED_TO_BOUND]
    return [
        f"{measured.pods:,}",
        f"{measured.seconds:.2f}",
        number(rate),
        number(sampled) if sampled is not None else "–",
        number(workload.threshold) if workload.threshold else "",
        f"{rate / workload.threshold:.1f}" if workload.threshold else "",
        *([number(aim.must), number(aim.aim), aim.verdict(rate)] if aim else ["", "", ""]),
        *(number(percentile(stage, share) * 1000.0) for share in (0.5, 0.99)),
        *(number(_cpu_s(measured, prefix)) for prefix in _USED.values()),
        f"{measured.others_share:.0%}",
    ]


def _cpu_s(measured: Measured, prefix: str) -> float:
    return sum(used.cpu_s for name, used in measured.used.items() if name.startswith(prefix))


def _list(title: str, entries: Sequence[tuple[str, str]]) -> list[RenderableType]:
    if not entries:
        return []
    lines = [Text(f"{title}:"), *(Text(f"  {name}: {text}") for name, text in entries), Text("")]
    return list(lines)


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def show_list(cases: Sequence[TestCase], console: Console | None = None) -> None:
    """Every workload of the files: labels, threshold, and why it cannot be run if that is so."""
    from services.bench.scheduler.errors import BenchError

    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for column in ("workload", "labels", "threshold", "not supported"):
        table.add_column(column)
    for case in cases:
        for workload in case.workloads:
            try:
                workload.operations()
                reason = ""
            except BenchError as failure:
                reason = str(failure).removeprefix(f"{workload.full_name}: ")
            threshold = number(workload.threshold) if workload.threshold else ""
            table.add_row(workload.full_name, ", ".join(sorted(workload.labels)), threshold, reason)
    console.width = max(console.width, console.measure(table, options=console.options.update(width=1000)).maximum)
    console.print(table)
