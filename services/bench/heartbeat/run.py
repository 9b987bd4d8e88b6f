"""The run: a cluster without nodes, nodes that join, and then nothing but their heartbeats."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from services.base.clock import Clock, SystemClock
from services.base.tasks import Supervisor
from services.bench import cluster
from services.bench.heartbeat import figures, hosts, witness
from services.bench.heartbeat.parameters import HeartbeatParameters
from services.bench.heartbeat.progress import Progress, Pulse
from services.bench.heartbeat.renewals import ACKNOWLEDGED, Counted, Counting
from services.bench.heartbeat.window import Window
from services.bench.heartbeat.witness import Witness
from services.bench.observe import Observations, Observer
from services.bench.observe.components import Roster
from services.bench.observe.scraping import Scraper
from services.bench.player.display import Display
from services.bench.report import Report
from services.client.clientset import Clientset
from services.rpc.channel import make_channel

TICK_S = 1.0


class JoinFailed(cluster.ClusterFailed):
    """Not all nodes became Ready in time; the message ends with what the kubelet hosts said."""


@dataclass(frozen=True)
class Results:
    """The report, and what was observed."""

    report: Report
    observations: Observations


async def run(parameters: HeartbeatParameters, display: Display) -> Results:
    """Raises ``cluster.ClusterFailed``, ``OSError``."""
    clock = SystemClock()
    options = [
        f"--tenant-partitions={parameters.tenant_partitions}",
        f"--resource-partitions={parameters.resource_partitions}",
        # One node of the one-box's own in each partition: its kubelet process shows what one without nodes takes.
        "--nodes=1",
    ]
    display.say(f"starting {parameters.tenant_partitions} TP / {parameters.resource_partitions} RP")
    display.step("starting the cluster", 1)
    async with cluster.running(options) as started:
        servers = started.endpoints("resource")
        home = pathlib.Path(tempfile.mkdtemp(prefix="ursa-heartbeat-", dir=started.home))
        seen = Witness(parameters.nodes)
        async with Observer(started, clock=clock) as observer:
            observer.mark("first kubelet starts")
            seen.begin(clock.monotonic())
            async with _followed(seen, servers, clock), hosts.running(parameters, servers, home) as kubelets:
                for kubelet in kubelets:
                    observer.add_process(kubelet.name, kubelet.pid, kind="kubelet")
                readers = [Scraper(kubelet.metrics, (ACKNOWLEDGED,)) for kubelet in kubelets]
                progress = Progress(display, seen, Pulse(readers, parameters.renew_seconds, clock), observer)
                await _joined(seen, parameters, clock, progress, home)
                observer.mark("all nodes Ready")
                await _settled(parameters, clock, progress)
                counted, window = await _held(seen, started, parameters, observer, kubelets, clock, progress)
        observations = observer.observations()
        shutil.rmtree(home, ignore_errors=True)
        report = figures.evaluate(
            parameters,
            seen,
            counted,
            Window(observations, *window),
            kubelets,
            started.machine(),
        )
        return Results(report, observations)


@contextlib.asynccontextmanager
async def _followed(seen: Witness, servers: Mapping[str, str], clock: Clock) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(Supervisor())
        synced = {name: asyncio.Event() for name in servers}
        for name, endpoint in servers.items():
            channel = await stack.enter_async_context(make_channel([endpoint]))
            tasks.start(witness.follow(seen, name, Clientset(channel), synced[name], clock), name=f"watch-{name}")
        for event in synced.values():
            await event.wait()
        try:
            yield
        finally:
            tasks.cancel_all()


async def _joined(
    seen: Witness, parameters: HeartbeatParameters, clock: Clock, progress: Progress, home: pathlib.Path
) -> None:
    deadline = clock.monotonic() + parameters.join_timeout_seconds
    progress.step("nodes join", parameters.nodes)
    while not seen.all_ready.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TICK_S):
                await seen.all_ready.wait()
        await progress.show(seen.ready, deadline - clock.monotonic())
        if clock.monotonic() > deadline and not seen.all_ready.is_set():
            raise JoinFailed(
                f"{seen.ready} of {parameters.nodes} nodes became Ready within {parameters.join_timeout_seconds} s\n"
                + await hosts.log_ends(home)
            )


async def _settled(parameters: HeartbeatParameters, clock: Clock, progress: Progress) -> None:
    progress.step("settling", parameters.settle_seconds)
    ends = clock.monotonic() + parameters.settle_seconds
    while (left := ends - clock.monotonic()) > 0:
        await progress.show(parameters.settle_seconds - left, left)
        await clock.sleep(min(TICK_S, max(0.0, ends - clock.monotonic())))


async def _held(
    seen: Witness,
    started: cluster.BenchCluster,
    parameters: HeartbeatParameters,
    observer: Observer,
    kubelets: list[hosts.KubeletHost],
    clock: Clock,
    progress: Progress,
) -> tuple[Counted, tuple[float, float]]:
    roster = Roster(started.home).now().values()
    counting = Counting(
        [one.metrics for one in roster if one.kind == "resource-partition"],
        [kubelet.metrics for kubelet in kubelets],
        [one.metrics for one in roster if one.is_etcd and one.name.startswith("etcd-rp-")],
        clock,
    )
    await counting.begin()
    from_s = observer.now()
    await observer.look()
    seen.hold()
    observer.mark("holding begins")
    seconds = parameters.minutes * 60.0
    ends = clock.monotonic() + seconds
    progress.step("holding", seconds)
    while (left := ends - clock.monotonic()) > 0:
        await clock.sleep(min(TICK_S, left))
        left = ends - clock.monotonic()
        await progress.show(seconds - left, left)
        if len(seen.violations) > parameters.nodes:
            break  # Nothing to be held any more.
    await observer.look()
    to_s = observer.now()
    counted = await counting.end()
    observer.mark("holding ends")
    return counted, (from_s, to_s)
