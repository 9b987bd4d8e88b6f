"""One run: start the processes and all clients, let things go wrong, let them come to rest, and keep the record."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from services.base.clock import SystemClock
from services.base.rand import Rand
from services.client.partitions import Connection
from tests.robustness import cluster as clusters
from tests.robustness.board import Board, some_selection
from tests.robustness.calling import TIMEOUTS
from tests.robustness.cluster import Cluster, Settings
from tests.robustness.faults import Faults
from tests.robustness.followers import Follower
from tests.robustness.history import Begun, Incident, Recorder
from tests.robustness.readers import Reader
from tests.robustness.watchers import Watcher
from tests.robustness.watching_etcd import TruthKeeper
from tests.robustness.writers import Writer

_REST_S = 2.0
_REST_S_MAX = 45.0


@dataclass(frozen=True)
class Load:
    """``pause_s``: mean pause of a writer or reader between two calls. ``fault_pause_s``: between two faults."""

    writers: int = 8
    readers: int = 4
    watchers: int = 24
    followers: int = 6
    pause_s: float = 0.06
    fault_pause_s: tuple[float, float] = (0.5, 6.0)


@dataclass(frozen=True)
class Plan:
    """Everything that chance does not decide while it runs. ``faults``: which, by a regular expression; "": all."""

    seed: int
    seconds: float
    settings: Settings
    load: Load = Load()
    faults: str = ""


def plan_of(
    seed: int, seconds: float, load: Load | None = None, faults: str = "", *, members: int = 1, binary: str = ""
) -> Plan:
    """The seed chooses the shape of the cluster, too, but for etcd's ``members`` and ``binary``."""
    rand = Rand(seed)
    settings = Settings(
        servers=rand.choice((1, 1, 2)),
        off=rand.choice(((), (), (), ("pods",), ("leases",))),
        window=rand.choice((10, 40, 150, 1000)),
        request_timeout_s=rand.choice((1.0, 3.0, 5.0)),
        members=members,
        binary=binary,
    )
    return Plan(seed, seconds, settings, load or Load(), faults)


class Activity:
    """When an event was last delivered to anybody."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def note(self, events: int) -> None:
        if events:
            self.last = time.monotonic()


async def run(plan: Plan, directory: pathlib.Path) -> tuple[pathlib.Path, dict[str, int]]:
    """Run ``plan``; the history's path, and how often each fault was injected. ``directory`` takes logs and data."""
    path = directory / "history.jsonl"
    with Recorder(path) as recorder:
        async with clusters.running(plan.settings, directory) as cluster, asyncio.TaskGroup() as background:
            truth = TruthKeeper([member.endpoint for member in cluster.members], recorder)
            faults = Faults(
                cluster, truth, recorder, Rand(plan.seed + 1), pause_s=plan.load.fault_pause_s, only=plan.faults
            )
            upkeep = [background.create_task(truth.run()), background.create_task(faults.monitor())]
            recorder.add(Begun(plan.seed, await truth.current(), {"settings": str(plan.settings)}))
            async with _connections(cluster, plan.seed) as connections:
                await _clients(plan, cluster, connections, truth, faults, recorder)
            for task in upkeep:
                task.cancel()
        for line in _crashes(cluster):
            recorder.add(Incident(time.monotonic(), line))
    return path, faults.counts


@contextlib.asynccontextmanager
async def _connections(cluster: Cluster, seed: int) -> AsyncIterator[list[Connection]]:
    """Two clients of each server: their calls and watches share nothing but the link."""
    clock = SystemClock()
    connections = [
        Connection("tp-1", (link.endpoint,), clock, Rand(seed + 10 + number), timeouts=TIMEOUTS)
        for number, link in enumerate((*cluster.links, *cluster.links))
    ]
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(connection.run()) for connection in connections]
        yield connections
        for task in running:
            task.cancel()


async def _clients(
    plan: Plan,
    cluster: Cluster,
    connections: list[Connection],
    truth: TruthKeeper,
    faults: Faults,
    recorder: Recorder,
) -> None:
    load, board, activity = plan.load, Board(), Activity()
    stop_faults, stop_calls, resting, stop_watches = (asyncio.Event() for _ in range(4))
    clientsets = [connection.clientset for connection in connections]
    writers = [
        Writer(f"w{n}", clientsets, board, recorder, Rand(plan.seed * 1000 + n), load.pause_s)
        for n in range(load.writers)
    ]
    readers = [
        Reader(f"r{n}", clientsets, board, recorder, Rand(plan.seed * 1000 + 100 + n), load.pause_s)
        for n in range(load.readers)
    ]
    watchers = _watchers(plan, connections, recorder, activity)
    followers = _followers(plan, connections, recorder)
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(writer.run(stop_calls)) for writer in writers]
        calls += [tasks.create_task(reader.run(stop_calls)) for reader in readers]
        for watcher in watchers:
            tasks.create_task(watcher.run(resting, stop_watches))
        injecting = tasks.create_task(faults.run(stop_faults))
        await asyncio.sleep(plan.seconds)
        stop_faults.set()
        await injecting
        cluster.heal()
        if not await cluster.ready():
            recorder.add(Incident(time.monotonic(), "the servers do not recover after the last fault"))
        await asyncio.sleep(1.0)  # a while of writing without faults
        stop_calls.set()
        await asyncio.gather(*calls)
        resting.set()
        await _rest(watchers, followers, activity, recorder)
        recorder.add(await truth.finish())
        for follower in followers:
            follower.finish()
        stop_watches.set()


def _watchers(plan: Plan, connections: list[Connection], recorder: Recorder, activity: Activity) -> list[Watcher]:
    rand = Rand(plan.seed * 1000 + 200)
    return [
        Watcher(
            f"v{number}",
            connections,
            some_selection(rand),
            recorder,
            Rand(plan.seed * 1000 + 300 + number),
            typed=number % 2 == 0,
            slow=number % 4 == 0,
            noted=activity.note,
        )
        for number in range(plan.load.watchers)
    ]


def _followers(plan: Plan, connections: list[Connection], recorder: Recorder) -> list[Follower]:
    rand = Rand(plan.seed * 1000 + 400)
    return [
        Follower(f"i{number}", rand.choice(connections), some_selection(rand), recorder)
        for number in range(plan.load.followers)
    ]


async def _rest(watchers: list[Watcher], followers: list[Follower], activity: Activity, recorder: Recorder) -> None:
    """Wait until every watch stands and nothing has been delivered for a while. A client that stays away is noted."""
    begun = activity.last = time.monotonic()
    while True:
        away = [watcher.name for watcher in watchers if not watcher.standing]
        away += [follower.name for follower in followers if not follower.informer.connected]
        if away:
            activity.last = time.monotonic()
        elif time.monotonic() - activity.last > _REST_S:
            return
        if time.monotonic() - begun > _REST_S_MAX:
            why = f"{', '.join(away)} did not come back" if away else "events went on and on"
            recorder.add(Incident(time.monotonic(), f"no rest {_REST_S_MAX} s after the last fault: {why}"))
            return
        await asyncio.sleep(0.1)


def _crashes(cluster: Cluster) -> list[str]:
    """Tracebacks and errors in the servers' logs: nothing that a fault does may be unforeseen."""
    found: list[str] = []
    for server in cluster.servers:
        lines = server.log.read_text(errors="replace").splitlines()
        bad = (line for line in lines if "Traceback (most recent call last)" in line or '"level": "error"' in line)
        found.extend(f"{server.name}: {line[:2000]}" for line in bad)
    return found[:10]
