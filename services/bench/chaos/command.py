"""``ursa bench chaos`` as a command."""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.bench.output import Output, OutputOption, print_table, write_files
from services.bench.player import options
from services.bench.player.options import Files

if TYPE_CHECKING:
    from services.bench.chaos.parameters import ChaosParameters
    from services.bench.chaos.run import Results
    from services.bench.player.display import Display


def register(app: typer.Typer) -> None:
    app.command()(chaos)


def _option(what: str, *, least: float = 0.0, most: float | None = None) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(help=what, show_default=False, min=least, max=most)
    return found


def chaos(
    nodes: Annotated[int | None, _option("Hollow nodes in all, over two resource partitions (200).", least=4)] = None,
    minutes: Annotated[float | None, _option("How long faults are begun (10); at least one round is finished.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Every fault once, with short times: some minutes.")] = False,
    faults: Annotated[str | None, typer.Option(help="Names, with commas (all).", show_default=False)] = None,
    rate: Annotated[float | None, _option("Short batch pods per second (20).")] = None,
    workloads: Annotated[int | None, _option("Long-running workloads per tenant partition (10).", least=1)] = None,
    replicas: Annotated[int | None, _option("Pods of each (8).", least=1)] = None,
    death_share: Annotated[
        str | None, typer.Option(help="Of the nodes that die, e.g. 1% or 0.01 (1%).", show_default=False)
    ] = None,
    grace: Annotated[
        float | None, _option("Seconds a node may be silent (50); heartbeats and looks follow it.", least=5)
    ] = None,
    toleration: Annotated[float | None, _option("Seconds that pods bear an unreachable node (300).")] = None,
    seed: Annotated[int | None, typer.Option(help="Of targets and times; a new one if not given.")] = None,
    base_port: Annotated[int, typer.Option(min=0, max=65_000, help="First of the ports; 0: free ones are found.")] = 0,
    keep: Annotated[pathlib.Path | None, typer.Option(help="Keep history and logs there.", show_default=False)] = None,
    judge: Annotated[
        pathlib.Path | None, typer.Option(help="Run nothing: judge this history again.", show_default=False)
    ] = None,
    html: options.Html = None,
    json: options.Json = None,
    data_items: options.DataItems = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Kill, freeze and cut off nodes and processes of a cluster under load, and judge what everybody saw.

    Exit code 0 only if no guarantee was violated (docs/robustness.md, "Chaos"); a violation prints the seed, where the
    history is, and the whole story of the pod or node that it is about.
    """
    from services.base.rand import Rand
    from services.bench.chaos import run
    from services.bench.chaos.parameters import ChaosParameters

    asked: dict[str, Any] = {
        "nodes": nodes,
        "minutes": minutes,
        "faults": tuple(filter(None, (name.strip() for name in faults.split(",")))) if faults else None,
        "rate": rate,
        "workloads": workloads,
        "replicas": replicas,
        "death_share": _share(death_share) if death_share else None,
        "grace_s": grace,
        "toleration_s": toleration,
        "seed": seed if seed is not None else Rand().integer(1, 1_000_000),
        "base_port": base_port,
    }
    full = ChaosParameters()
    parameters = dataclasses.replace(
        full.quick() if quick else full, **{name: value for name, value in asked.items() if value is not None}
    )
    try:
        run.check(parameters)
    except run.UnknownFault as failure:
        raise typer.BadParameter(str(failure), param_hint="--faults") from failure
    files = Files(html, json, data_items)
    files.check()
    _execute(parameters, keep, judge, output, files)


def _share(text: str) -> float:
    """``1%`` or ``0.01``."""
    try:
        share = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        share = 0.0
    if not 0.0 < share <= 0.5:
        raise typer.BadParameter(f"{text!r}: want a share above 0 and at most 50%", param_hint="--death-share")
    return share


def _execute(
    parameters: ChaosParameters,
    keep: pathlib.Path | None,
    judged: pathlib.Path | None,
    output: Output,
    files: Files,
) -> None:
    import msgspec

    from services.base.clock import SystemClock
    from services.bench.chaos.actions import NotDone
    from services.bench.cluster import ClusterFailed
    from services.bench.player.display import Display
    from services.rpc.status import StatusError

    report = None
    try:
        with Display(SystemClock()) as display:
            results = _results(parameters, keep, judged, display)
        write_files(files, results.report, results.observations)
        report = results.report
    except* (ClusterFailed, StatusError, NotDone, OSError, ValueError, msgspec.DecodeError) as failures:
        for failure in _leaves(failures):
            print(f"error: {failure}", file=sys.stderr)
    # Not in the handler: what is raised there becomes part of a group.
    if report is None:
        raise typer.Exit(1)
    if output is Output.JSON:
        print(report.dumps())
    else:
        print_table(report)
    if report.invalid:
        print(f"error: {report.invalid}", file=sys.stderr)
        raise typer.Exit(1)


def _results(
    parameters: ChaosParameters, keep: pathlib.Path | None, judged: pathlib.Path | None, display: Display
) -> Results:
    import uvloop

    from services.bench.chaos import history, run

    if judged is not None:
        return run.Results(run.judge(history.read(judged), parameters, display))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run.run(parameters, display, keep))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for failure in group.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            yield from _leaves(failure)
        else:
            yield failure
