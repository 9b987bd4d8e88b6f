"""From parameters to a run, and from a run to what is printed and written."""

from __future__ import annotations

import asyncio
import gc
import json
import pathlib
import signal
import sys

from services.base.clock import SystemClock
from services.base.rand import Rand
from services.bench.cluster import ClusterFailed
from services.bench.output import print_table, write_files
from services.bench.player import density, load, parameters, recording, results, site
from services.bench.player.display import Display
from services.bench.player.options import Common
from services.bench.player.pacing import places
from services.bench.player.parameters import Parameters, chosen, pods_of
from services.bench.player.recording import Recording, RecordingError
from services.bench.player.requests import Scenario
from services.bench.player.run import Result, Settings, Write, run
from services.bench.report import Report
from services.rpc.status import StatusError

_DEFAULTS = {
    "density": (parameters.DENSITY, parameters.DENSITY_QUICK),
    "load": (parameters.LOAD, parameters.LOAD_QUICK),
}


def execute(benchmark: str, common: Common, asked: Parameters) -> int:
    """Run it; the exit code. ``benchmark``: density or load. Raises ``Impossible``."""
    import uvloop

    try:
        replayed = recording.read(common.files.replay) if common.files.replay else None
        if replayed is not None and replayed.header.benchmark != benchmark:
            made_by = replayed.header.benchmark
            raise RecordingError(f"{common.files.replay}:1: benchmark: it was made by `ursa bench {made_by}`")
    except (RecordingError, OSError) as wrong:
        return _fail(str(wrong))
    values = _values(benchmark, common, asked, replayed)
    clock, rand = SystemClock(), Rand(values["seed"])
    # Whoever ends it by a signal has no cluster left over either; what a script has in its background ignores SIGINT.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    write = _replaying(replayed, common.speed) if replayed else _writing(benchmark, values, rand)
    try:
        with Display(clock) as display, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            # What is there now stays: no collection looks at it again while requests are due.
            gc.collect()
            gc.freeze()
            result, scenario = runner.run(run(write, _settings(values, common), display, clock, rand))
    except (ClusterFailed, StatusError, OSError, TimeoutError) as failure:
        return _fail(str(failure) or type(failure).__name__)
    except RecordingError as wrong:
        return _fail(str(wrong))
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    return _finish(benchmark, common, values, result, scenario, replayed)


def _values(benchmark: str, common: Common, asked: Parameters, replayed: Recording | None) -> Parameters:
    defaults, quick = _DEFAULTS[benchmark]
    recorded = replayed.header.parameters if replayed else {}
    return chosen(defaults, quick if common.quick else None, recorded, asked)


def _settings(values: Parameters, common: Common) -> Settings:
    return Settings(
        nodes=values["nodes"],
        tenant_partitions=values["tenant_partitions"],
        resource_partitions=values["resource_partitions"],
        hollow_hosts=values["hollow_hosts"],
        start_delay_ms=values["start_delay_ms"],
        seed=values["seed"],
        at_once=values["creators"],
        timeout_s=values["timeout_s"],
        up_timeout_s=values["up_timeout_s"],
        base_port=common.base_port,
        log_level=common.log_level,
        home=common.home.absolute() if common.home else None,
        keep=common.keep,
        keep_logs=common.keep_logs,
    )


def _writing(benchmark: str, values: Parameters, rand: Rand) -> Write:
    def write(nodes: site.Nodes, partitions: list[str]) -> Scenario:
        where = places(partitions, values["tenants"], values["namespaces"])
        pods = pods_of(values)
        if benchmark == "load":
            return load.scenario(
                load.LoadParameters(
                    pods=pods,
                    workloads=load.Workloads(values["workloads"]),
                    rate=values["rate"],
                    create_batch=values["create_batch"],
                    services=values["services"],
                    short_lived=values["short_lived"],
                    lifetime_s=values["lifetime_s"],
                    hold_s=values["hold_s"],
                    delete=values["delete"],
                ),
                where,
                rand,
            )
        return density.scenario(
            density.DensityParameters(
                pods=pods,
                rate=values["rate"],
                create_batch=values["create_batch"],
                hold_s=values["hold_s"],
                latency_pods=min(values["latency_pods"], len(nodes.names)),
                latency_rate=values["latency_rate"],
                latency_cpu=nodes.more_than_half,
                short_lived=values["short_lived"],
                lifetime_s=values["lifetime_s"],
                delete=values["delete"],
            ),
            where,
            rand,
        )

    return write


def _replaying(replayed: Recording, speed: float) -> Write:
    def write(nodes: site.Nodes, partitions: list[str]) -> Scenario:
        unknown = sorted({place.partition for place in replayed.header.places} - set(partitions))
        if unknown:
            raise RecordingError(f"places: the recording has tenants on {', '.join(unknown)}, the cluster has not")
        return recording.scenario(replayed, speed)

    return write


def _finish(
    benchmark: str, common: Common, values: Parameters, result: Result, scenario: Scenario, replayed: Recording | None
) -> int:
    files = common.files
    shown = values | ({"replay": str(files.replay), "speed": common.speed} if replayed else {})
    if replayed is not None:
        result.figures = results.compared(replayed.footer.figures, result.figures)
    report = Report(benchmark, shown, result.figures, result.machine, "; ".join(result.problems))
    try:
        if files.record is not None:
            _record(files.record, benchmark, values, result, scenario)
        document = write_files(files, report, result.observations, result.stages)
    except OSError as failure:
        return _fail(f"{failure.filename}: {failure.strerror}")
    if common.as_json:
        print(json.dumps(document, indent=2))
    else:
        print_table(report)
    if common.keep and common.home is None and result.home is not None:
        _say(f"the cluster stays up in {result.home}; end it with `ursa down --home {result.home}`")
    return _fail(f"this run does not count: {report.invalid}") if report.invalid else 0


def _record(path: pathlib.Path, benchmark: str, values: Parameters, result: Result, scenario: Scenario) -> None:
    head = recording.header(benchmark, values["seed"], values, scenario)
    figures = {name: (round(figure.value, 4), figure.unit) for name, figure in result.figures.items()}
    recording.write(
        path, Recording(head, result.requests, recording.Footer(len(result.requests), result.pods_left, figures))
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _fail(text: str) -> int:
    _say(f"error: {text}")
    return 1
