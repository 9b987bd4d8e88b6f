"""How a benchmark's result is printed: a table for people, or one JSON object."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.bench.report import Report

if TYPE_CHECKING:
    from services.bench.observe import Observations, Stages
    from services.bench.player.options import Files


class Output(StrEnum):
    """How the result is printed."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("-o", "--output", help="table, or json: one object on standard output.")]


def write_files(
    files: Files, report: Report, observations: Observations | None, stages: Stages | None = None
) -> dict[str, Any]:
    """The page, the result and perf-dash's file, as far as they are asked for; gives back the result's object. Raises
    ``OSError``."""
    from services.bench import observe

    document = observe.document(report, observations, stages)
    if files.json is not None:
        files.json.write_text(json.dumps(document, indent=2) + "\n")
    if files.data_items is not None:
        files.data_items.write_text(json.dumps(observe.perfdash(report, observations, stages), indent=2) + "\n")
    if files.html is not None:
        files.html.write_text(observe.page(report, observations, stages))
    return document


def print_table(report: Report) -> None:
    """Figures with their references and, where there are any, targets; on standard output."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from services.bench.targets import target_of

    document = report.to_json()
    table = Table(title=f"ursa bench {report.benchmark}", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("figure")
    for column in ("value", "reference", "ratio"):
        table.add_column(column, justify="right")
    table.add_column("unit")
    targets = {name: target_of(name, figure.reference) for name, figure in report.figures.items()}
    if any(targets.values()):
        for column in ("must", "aim", "reached"):
            table.add_column(column, justify="right")
    for name, figure in document["figures"].items():
        cells = [_number(figure[key]) if figure.get(key) is not None else "" for key in ("value", "reference", "ratio")]
        target = targets[name]
        bounds = [_number(target.must), _number(target.aim), target.verdict(figure["value"])] if target else []
        table.add_row(name, *cells, figure["unit"], *bounds)
    console = Console()
    # A narrow terminal may wrap a row, but no number is cut short.
    console.width = max(console.width, console.measure(table, options=console.options.update(width=1000)).maximum)
    console.print(table)
    machine = document["machine"]
    console.print(f"commit {document['commit']}; {machine['cpus']} CPUs, {machine['cpu_model']}", highlight=False)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
