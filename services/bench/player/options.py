"""The options that both players have, as the command line knows them, and what they amount to. Light to import.

The files that a run may leave are those of heartbeat and chaos, too."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import Annotated, Any

import typer

CLUSTER, PODS, PACE, RESULT, AGAIN = "The cluster", "What is made", "How fast", "What is shown", "Once more"


def option(what: str, panel: str, *names: str, least: float | None = None, most: float | None = None) -> Any:
    """An option that says its default itself, as that depends on others (``--quick``, ``--replay``)."""
    return typer.Option(*names, help=what, show_default=False, min=least, max=most, rich_help_panel=panel)


def flag(what: str, panel: str, name: str) -> Any:
    return typer.Option(name, help=what, show_default=False, rich_help_panel=panel)


Quick = Annotated[bool, flag("A small run that takes less than a minute.", PACE, "--quick")]
Nodes = Annotated[int | None, option("Hollow nodes in all, spread over the resource partitions.", CLUSTER, least=1)]
TenantPartitions = Annotated[int | None, option("How many (2).", CLUSTER, least=1, most=16)]
ResourcePartitions = Annotated[int | None, option("How many (2).", CLUSTER, least=1, most=16)]
HollowHosts = Annotated[int | None, option("Processes that share the hollow nodes (1).", CLUSTER, least=1, most=5)]
StartDelay = Annotated[int | None, option("What a hollow container takes to start, in ms (0).", CLUSTER, least=0)]
Tenants = Annotated[int | None, option("Tenants on each tenant partition (1).", PODS, least=1, most=1000)]
Namespaces = Annotated[int | None, option("Namespaces of each tenant.", PODS, least=1, most=1000)]
PodsPerNode = Annotated[float | None, option("Pods for each node, on average.", PODS, least=0.001, most=1000)]
Pods = Annotated[int | None, option("Pods in all, instead of --pods-per-node.", PODS, least=1)]
CreateBatch = Annotated[int | None, option("Pods a request; 1: each by itself (1).", PODS, least=1, most=1000)]
ShortLived = Annotated[
    float | None, option("Share of batch jobs: pods that end by themselves (0).", PODS, least=0, most=1)
]
Lifetime = Annotated[float | None, option("Mean seconds that a batch job runs, exponential.", PODS, least=0.1)]
Creators = Annotated[int | None, option("Open calls a partition where nothing is paced (30).", PACE, least=1)]
Hold = Annotated[float | None, option("Seconds to rest while everything runs (0).", PACE, least=0)]
Seed = Annotated[int | None, option("Of sizes, lifetimes and orders (1).", AGAIN)]
Timeout = Annotated[
    float | None, option("Seconds a step may take to settle after its last request (120).", PACE, least=1)
]
UpTimeout = Annotated[float | None, option("Seconds the cluster may take until all nodes are Ready (300).", CLUSTER)]
BasePort = Annotated[int, option("First of the ports; 0: free ones are found (0).", CLUSTER, least=0, most=65_000)]
LogLevel = Annotated[str, option("Of the cluster's processes (warning).", CLUSTER)]
Home = Annotated[
    pathlib.Path | None, option("Use the cluster that `ursa up --home DIR` started; it stays up.", CLUSTER)
]
Keep = Annotated[bool, flag("Leave the run's own cluster up, and say where it is.", CLUSTER, "--keep")]
KeepLogs = Annotated[pathlib.Path | None, option("Copy the processes' logs to this directory.", RESULT)]
Html = Annotated[pathlib.Path | None, option("Write a page with plots.", RESULT)]
Json = Annotated[pathlib.Path | None, option("Write the result, everything observed included.", RESULT)]
DataItems = Annotated[pathlib.Path | None, option("Write the file that Kubernetes' perf-dash reads.", RESULT)]
Record = Annotated[pathlib.Path | None, option("Write every request with its time, for --replay.", AGAIN)]
Replay = Annotated[
    pathlib.Path | None, option("Send what a recording holds at the same times; compare the figures.", AGAIN)
]
Speed = Annotated[float, option("Of a replay: 2 is twice as fast (1).", AGAIN, least=0.01, most=100)]


@dataclass(frozen=True)
class Files:
    """Where a run writes to besides standard output, and what it reads."""

    html: pathlib.Path | None = None
    json: pathlib.Path | None = None
    data_items: pathlib.Path | None = None
    record: pathlib.Path | None = None
    replay: pathlib.Path | None = None

    def check(self) -> None:
        """Before a run that may take an hour. Raises ``typer.BadParameter`` naming the option."""
        for name in ("html", "json", "data_items", "record"):
            file = getattr(self, name)
            if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
                problem = "is a directory" if file.is_dir() else f"{file.absolute().parent} is no directory"
                raise typer.BadParameter(f"{file}: {problem}", param_hint=f"--{name.replace('_', '-')}")
        if self.replay is not None and not self.replay.is_file():
            raise typer.BadParameter(f"{self.replay}: there is no such file", param_hint="--replay")


@dataclass(frozen=True)
class Common:
    """What was given on the command line and is no parameter of a scenario."""

    files: Files
    quick: bool
    as_json: bool
    speed: float
    base_port: int
    log_level: str
    home: pathlib.Path | None
    keep: bool
    keep_logs: pathlib.Path | None
