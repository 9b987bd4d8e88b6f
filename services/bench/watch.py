"""Watch: how fast events reach a thousand watchers, how late, and what a watch costs while nothing happens.

Every watcher must get every event exactly once and in order, or the run does not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import statistics
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np

from services.bench import crew, http2, partition, trial, usage, workload
from services.bench.report import Figure, Report, latency_figures, percentile
from services.bench.trial import Progress
from services.bench.watchers import DISTINCT_LABELS, NODE_NAMES, OWN_STREAMS, WatchLoad, node_name
from services.bench.workload import Acknowledged, Pods, Wrong

PEER = "kube-apiserver 1.32, 2 cores, 1,000 watchers of one namespace, 2,000 creates"
PEER_EVENTS_PER_SECOND = 120_000.0
PEER_CREATES_PER_SECOND = 154.0

IN_FLIGHT = 64
_BATCH = 100
_NODE_BATCH = 20
_DELIVERY_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class WatchParameters:
    """``creates``: pods per throughput phase; unary ones stop at ``creates_seconds_max``. ``latency_seconds``: of each
    of the latency phases. ``latency_turns``: how often those without and with the reader that never reads take turns
    (the order alternates, so that a drift of the machine touches both alike). The ratio is that of the medians of the
    turns' p99: one disturbance decides the p99 of everything together, and a ratio of two single turns.
    ``node_turns``: how often few and many watches of a node take turns; the medians count."""

    watchers: int = 1000
    few_watchers: int = 10
    connections: int = 8
    creates: int = 2000
    creates_seconds_max: float = 30.0
    pod_bytes: int = 600
    writes_per_second: float = 200.0
    latency_seconds: float = 6.0
    latency_turns: int = 12
    node_watches: int = 25_000
    node_events: int = 5000
    node_events_per_second: float = 1000.0
    node_turns: int = 3
    idle_watches: int = 10_000
    idle_seconds: float = 15.0

    def quick(self) -> WatchParameters:
        return WatchParameters(
            creates=600,
            creates_seconds_max=8.0,
            latency_seconds=2.0,
            latency_turns=3,
            node_events=1200,
            node_turns=1,
            idle_seconds=10.0,
            node_watches=self.node_watches,
        )


async def run(parameters: WatchParameters, progress: Progress) -> Report:
    """Start a partition, run every phase, report. Raises ``cluster.ClusterFailed``."""
    async with trial.started("watch", parameters, progress) as started:
        bench = Bench(parameters, started, await http2.connect(started.partition.endpoint))
        await bench.prepare()
        await started.run(
            bench.own_streams,
            bench.latency_many,
            bench.latency_few,
            bench.multiplexed,
            bench.second_server,
            # Before the other one: what closing 25,000 watches leaves to do is nothing that idle watches cost.
            bench.idle,
            bench.node_watches,
        )
    return started.report


class Bench:
    """The phases. Each returns figures, or raises ``Wrong`` when something was lost."""

    def __init__(self, parameters: WatchParameters, started: trial.Trial, connection: http2.Connection) -> None:
        self._parameters = parameters
        self._partition = started.partition
        self._connection = connection
        self._progress = started.progress
        self._meter = started.meter
        self._meter_of = started.meter_of
        self._padding = 0

    async def prepare(self) -> None:
        self._padding = (await workload.sized(self._connection, "watch", self._parameters.pod_bytes)).padding

    # -- throughput

    async def own_streams(self) -> dict[str, Figure]:
        count, creates = self._parameters.watchers, self._parameters.creates
        self._progress(f"{count} watchers, each its own stream: {creates} pods created in batches")
        async with self._watchers(OWN_STREAMS, count) as worker:
            meter = self._meter(worker.pid)
            bulk = await self._create_in_batches(self._pods("fanout"), creates)
            seen = await self._delivered(worker, creates, bulk, count)
            rate, used = count * creates / (seen - bulk.began), meter.stop()
            self._progress(f"{rate:,.0f} events/s; now {creates} unary creates")
            meter = self._meter(worker.pid)
            pods = self._pods("watched")
            requests = [pods.create(index) for index in range(creates)]
            unary = await workload.calls(
                [self._connection],
                workload.CREATE,
                requests,
                IN_FLIGHT,
                revisions=True,
                within_s=self._parameters.creates_seconds_max,
            )
            last = await self._delivered(worker, creates + unary.items, unary, count)
            used_unary = meter.stop()
        return {
            "watch_events_per_second": Figure(rate, "events/s", PEER_EVENTS_PER_SECOND, PEER),
            "watch_batch_creates_per_second": Figure(bulk.per_second, "pods/s"),
            "watched_creates_per_second": Figure(unary.per_second, "pods/s", PEER_CREATES_PER_SECOND, PEER),
            "watched_creates_events_per_second": Figure(
                count * unary.items / (last - unary.began), "events/s", PEER_EVENTS_PER_SECOND, PEER
            ),
            **latency_figures("watched_create", unary.latency_s()),
            **used.figures("watch_events"),
            **used_unary.figures("watched_creates"),
        }

    async def multiplexed(self) -> dict[str, Figure]:
        count, creates = self._parameters.watchers, self._parameters.creates
        self._progress(f"{count} watches with distinct selections on one multiplexed stream")
        pods = self._pods("mux")
        async with self._watchers(DISTINCT_LABELS, count, app=pods.prefix) as worker:
            meter = self._meter(worker.pid)
            bulk = await self._create_in_batches(pods, creates)
            last = await self._delivered(worker, creates, bulk, count)
            used = meter.stop()
        return {
            "multiplexed_events_per_second": Figure(count * creates / (last - bulk.began), "events/s"),
            **used.figures("multiplexed"),
        }

    # -- latency

    async def latency_many(self) -> dict[str, Figure]:
        count = self._parameters.watchers
        self._progress(f"latency of {count} watchers, without and with a reader that never reads")
        samples: dict[bool, list[np.ndarray]] = {False: [], True: []}
        rates: list[float] = []
        shares: dict[str, Figure] = {}
        for number in range(self._parameters.latency_turns):
            for unread in (False, True) if number % 2 == 0 else (True, False):
                name = f"many-{number}-{'un' if unread else ''}read"
                found, rate, used = await self._latency(count, name, unread=unread)
                samples[unread].append(found)
                rates.append(rate)
                if not unread:
                    shares = used.figures("watch_latency")
        middle = {kind: statistics.median(percentile(turn, 0.99) for turn in turns) for kind, turns in samples.items()}
        ratio = middle[True] / middle[False]
        return {
            **latency_figures("watch_latency", np.concatenate(samples[False])),
            **latency_figures("watch_latency_unread", np.concatenate(samples[True])),
            "watch_latency_unread_ratio": Figure(ratio, "ratio"),
            "watch_latency_writes_per_second": self._achieved(min(rates)),
            **shares,
        }

    async def latency_few(self) -> dict[str, Figure]:
        self._progress(f"latency of {self._parameters.few_watchers} watchers")
        found, rate, used = await self._latency(self._parameters.few_watchers, "few", unread=False)
        return {
            **latency_figures("watch_latency_few", found),
            "watch_latency_few_writes_per_second": self._achieved(rate),
            **used.figures("watch_latency_few"),
        }

    def _achieved(self, per_second: float) -> Figure:
        """A latency counts at its rate only: was it kept up?"""
        return Figure(per_second, "1/s", self._parameters.writes_per_second, "the rate that was asked for")

    async def _latency(self, count: int, name: str, *, unread: bool) -> tuple[np.ndarray, float, usage.Interval]:
        """Seconds from acknowledgement to delivery, of every event at every watcher (0 if it came before); writes/s."""
        parameters = self._parameters
        writes = round(parameters.writes_per_second * parameters.latency_seconds)
        pods = self._pods(name)
        requests = [pods.create(index) for index in range(writes)]
        file = self._partition.home / f"{name}.npy"
        async with contextlib.AsyncExitStack() as stack:
            if unread:
                await stack.enter_async_context(self._watchers(OWN_STREAMS, 1, unread=True))
            worker = await stack.enter_async_context(self._watchers(OWN_STREAMS, count, record=True))
            meter = self._meter(worker.pid)
            done = await workload.paced(
                self._connection, workload.CREATE, requests, parameters.writes_per_second, in_flight=IN_FLIGHT
            )
            await self._delivered(worker, done.items, done, count)
            used = meter.stop()
            await worker.ask(do="save", file=str(file))
        late = latencies(file, done.at)
        file.unlink()
        if len(late) != count * done.items:
            raise Wrong(f"{len(late)} arrivals of {done.items} events at {count} watchers")
        return late, done.per_second, used

    # -- cost

    async def second_server(self) -> dict[str, Figure]:
        """Where the watches are whose cost is measured: whoever writes uses the first."""
        await self._partition.start_server(self._partition.second_endpoint)
        return {}

    async def node_watches(self) -> dict[str, Figure]:
        few, many = self._parameters.few_watchers, self._parameters.node_watches
        # The first events of a server are dearer than those that follow.
        await self._node_cost("warm", few)
        costs: dict[int, list[float]] = {few: [], many: []}
        for turn in range(self._parameters.node_turns):
            for count in (few, many):
                cost, used = await self._node_cost(f"turn{turn}", count)
                costs[count].append(cost)
        cost_few, cost_many = statistics.median(costs[few]), statistics.median(costs[many])
        return {
            "node_watch_cpu_per_event": Figure(
                cost_many * 1e6, "us", cost_few * 1e6, f"{few} watches, same server, same run"
            ),
            "node_watch_cpu_per_event_few": Figure(cost_few * 1e6, "us"),
            "node_watch_cpu_ratio": Figure(cost_many / cost_few if cost_few else 0.0, "ratio"),
            **used.figures("node_watch"),
        }

    async def _node_cost(self, name: str, count: int) -> tuple[float, usage.Interval]:
        """CPU seconds per event of a server that only watches; another one takes the writes."""
        parameters = self._parameters
        events = parameters.node_events
        self._progress(f"{count} watches of spec.nodeName on one stream: {events} pods")
        pods = self._pods(f"nodes-{name}-{count}")
        batches = [
            # 7,919 is prime: neighbours in time are nowhere near each other among the nodes.
            pods.batch(indices, lambda index: node_name(index * 7919 % count))
            for indices in workload.chunks(events, _NODE_BATCH)
        ]
        async with self._watchers(NODE_NAMES, count, endpoint=self._partition.second_endpoint) as worker:
            meter = self._meter_of(self._partition.second_pid, worker.pid)
            period = _NODE_BATCH / parameters.node_events_per_second
            done = await workload.paced_batches(self._connection, batches, period)
            seen = await worker.ask(do="expect", events=events, timeout_s=_DELIVERY_TIMEOUT_S)
            used = meter.stop()
        check(seen, events, None, done.items == events)
        return used.cpu_s["server"] / events, used

    async def idle(self) -> dict[str, Figure]:
        """On the second server, which nobody else uses."""
        seconds, count = self._parameters.idle_seconds, self._parameters.idle_watches
        self._progress(f"idle for {seconds} s without and {seconds} s with {count} watches")
        without = await self._idle_share(seconds)
        async with self._watchers(NODE_NAMES, count, endpoint=self._partition.second_endpoint):
            share = await self._idle_share(seconds)
        return {
            "idle_watches_cpu_share": Figure(share, "cores", without, "the same server without watches"),
            "idle_watches_cpu_added": Figure(max(0.0, share - without), "cores"),
        }

    async def _idle_share(self, seconds: float) -> float:
        meter = usage.Meter({"server": (self._partition.second_pid,)})
        await asyncio.sleep(seconds)
        used = meter.stop()
        return used.cpu_s["server"] / used.wall_s

    # -- inside

    @contextlib.asynccontextmanager
    async def _watchers(
        self,
        mode: str,
        count: int,
        *,
        endpoint: str = "",
        app: str = "",
        record: bool = False,
        unread: bool = False,
    ) -> AsyncIterator[crew.Worker]:
        load = WatchLoad(
            endpoint=endpoint or self._partition.endpoint,
            mode=mode,
            watches=count,
            revision=await workload.current_revision(self._connection),
            tenant=partition.TENANT,
            namespace=partition.NAMESPACE,
            app=app,
            connections=self._parameters.connections,
            recorded=count if record else 0,
            unread=unread,
        )
        async with crew.worker(load, self._partition.home) as worker:
            yield worker

    def _pods(self, prefix: str) -> Pods:
        return Pods(prefix, self._padding)

    async def _create_in_batches(self, pods: Pods, count: int) -> Acknowledged:
        requests = [pods.batch(indices) for indices in workload.chunks(count, _BATCH)]
        return await workload.batch_creates(self._connection, iter(requests))

    async def _delivered(self, worker: crew.Worker, events: int, done: Acknowledged, watchers: int) -> float:
        """When the last event of all reached the last watcher. Raises ``Wrong``."""
        seen = await worker.ask(do="expect", events=events * watchers, timeout_s=_DELIVERY_TIMEOUT_S)
        newest = max(done.at) if done.at else None
        check(seen, events * watchers, newest, seen["fewest"] == seen["most"] == events)
        last: float = seen["last"]
        return last


def check(seen: dict[str, object], events: int, newest: int | None, each: bool) -> None:
    """Raises ``Wrong`` unless ``events`` arrived, each watcher has its part, and the last one seen is ``newest``."""
    if seen["problems"]:
        raise Wrong(f"watchers: {seen['problems']}")
    if seen["events"] != events or not each:
        raise Wrong(f"{seen['events']} of {events} events; {seen['fewest']} to {seen['most']} per watcher")
    if newest is not None and seen["lowest_revision"] != newest:
        raise Wrong(f"the last acknowledged resource version is {newest}, a watcher is at {seen['lowest_revision']}")


def latencies(file: pathlib.Path, acknowledged: dict[int, float]) -> np.ndarray:
    """Seconds from acknowledgement to arrival for every recorded arrival of an acknowledged resource version.

    The event may overtake the answer to its own writer; such a delivery took no time.
    """
    revisions, arrivals = np.load(file)
    order = np.array(sorted(acknowledged), dtype=np.float64)
    if not len(order):
        return np.zeros(0)
    times = np.array([acknowledged[int(revision)] for revision in order], dtype=np.float64)
    places = np.minimum(np.searchsorted(order, revisions), len(order) - 1)
    known = order[places] == revisions
    late: np.ndarray = np.maximum(arrivals[known] - times[places[known]], 0.0)
    return late
