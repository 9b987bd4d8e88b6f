"""Ramp: how many watches one server carries. Their number doubles until something breaks, and what broke is said.

A step holds when, at a steady rate of writes, every watch got every event of its own in order, 99 % of the deliveries
came within ``late_s_max`` of their acknowledgement, the writes kept their rate, and the server's memory its bound.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from services.bench import crew, http2, partition, trial, usage, workload
from services.bench.cluster import ClusterFailed
from services.bench.report import Figure, Report, percentile
from services.bench.trial import Progress
from services.bench.watch import check, latencies
from services.bench.watchers import DISTINCT_LABELS, NODE_NAMES, OWN_STREAMS, WatchLoad, node_name, sampled
from services.bench.workload import Pods, Wrong

# What is looked for lies beyond the limits that a server has by default.
_NO_LIMITS = """
[overload]
typed_watches_max = 1000000
multiplexed_watches_max = 1000000
"""
_RATE_KEPT = 0.9
_GRACE_S = 5.0
_STREAMS_PER_CONNECTION = 250


@dataclass(frozen=True)
class Ladder:
    """``first``: watches of the first step. ``most``: those of the last, should nothing break before. ``budget_s``: no
    step begins that would not end within it."""

    name: str
    mode: str
    first: int
    most: int
    budget_s: float


@dataclass(frozen=True)
class RampParameters:
    """``first``, ``most``: watches of the first and the last step; 25 times as many where each is of one node.
    ``write_seconds``: of each step. ``sample``: so many of the watches are timed, all are counted and checked."""

    first: int = 1000
    most: int = 64_000
    writes_per_second: float = 100.0
    write_seconds: float = 4.0
    pod_bytes: int = 600
    sample: int = 100
    late_s_max: float = 1.0
    memory_mb_max: float = 2048.0
    budget_s: float = 280.0

    def quick(self) -> RampParameters:
        return RampParameters(first=250, most=1000, write_seconds=2.0, budget_s=50.0)

    def ladders(self) -> tuple[Ladder, ...]:
        return (
            Ladder("own_streams", OWN_STREAMS, self.first, self.most, self.budget_s * 0.4),
            Ladder("multiplexed", DISTINCT_LABELS, self.first, self.most, self.budget_s * 0.25),
            Ladder("node_watches", NODE_NAMES, 25 * self.first, 25 * self.most, self.budget_s * 0.35),
        )


@dataclass(frozen=True)
class Step:
    """What was measured with ``watches``. ``broke``: why it does not hold, empty if it does."""

    watches: int
    p99_s: float = 0.0
    memory_mb: float = 0.0
    server_share: float = 0.0
    broke: str = ""


async def run(parameters: RampParameters, progress: Progress) -> Report:
    """Start a partition and climb every ladder. Raises ``cluster.ClusterFailed``."""
    async with trial.started("ramp", parameters, progress, configuration=_NO_LIMITS) as started:
        for ladder in parameters.ladders():
            climb = Climb(parameters, started, ladder)
            await started.run(climb.figures)
            # What broke one kind of watch must not weigh on the next.
            await started.partition.kill_server()
            await started.partition.start_server()
    return started.report


class Climb:
    """One ladder, step by step."""

    def __init__(self, parameters: RampParameters, started: trial.Trial, ladder: Ladder) -> None:
        self._parameters = parameters
        self._trial = started
        self._partition = started.partition
        self._ladder = ladder
        self._tries = 0
        self._padding = 0

    async def figures(self) -> dict[str, Figure]:
        """The last step that held, held against the first that did not."""
        name, steps = self._ladder.name, await self._steps()
        held = [step for step in steps if not step.broke]
        broken = next((step for step in steps if step.broke), None)
        last = held[-1] if held else Step(0)
        why = f"broke: {broken.broke}" if broken else "nothing broke within the time"
        return {
            f"ramp_{name}": Figure(float(last.watches), "watches", float(broken.watches) if broken else None, why),
            f"ramp_{name}_p99": Figure(last.p99_s * 1000.0, "ms"),
            f"ramp_{name}_memory": Figure(last.memory_mb, "MB"),
            f"ramp_{name}_server_cpu_share": Figure(last.server_share, "cores"),
        }

    async def _steps(self) -> list[Step]:
        began, took_s = time.perf_counter(), 0.0
        steps: list[Step] = []
        watches = self._ladder.first
        while watches <= self._ladder.most:
            if time.perf_counter() - began + 2.0 * took_s > self._ladder.budget_s:
                break
            step_began = time.perf_counter()
            step = await self._step(watches)
            if step.broke:
                # Once may be somebody else's doing: the machine is shared.
                self._trial.progress(f"{self._ladder.name}: {watches} watches again: {step.broke}")
                step_began = time.perf_counter()
                first, step = step, await self._step(watches)
                if step.broke:
                    step = replace(step, broke=f"{first.broke}; again: {step.broke}")
            steps.append(step)
            took_s = time.perf_counter() - step_began
            self._trial.progress(
                f"{self._ladder.name}: {watches} watches, p99 {step.p99_s * 1000:,.0f} ms, {step.memory_mb:,.0f} MB"
                + (f"; broke: {step.broke}" if step.broke else "")
            )
            if step.broke:
                break
            watches *= 2
        return steps

    async def _step(self, watches: int) -> Step:
        try:
            connection = await http2.connect(self._partition.endpoint)
            try:
                return await self._measured(watches, connection)
            finally:
                connection.close()
        except (Wrong, http2.CallFailed, ClusterFailed, OSError) as failure:
            return Step(watches, memory_mb=self._memory_mb(), broke=str(failure).splitlines()[0])

    async def _measured(self, watches: int, connection: http2.Connection) -> Step:
        parameters = self._parameters
        pods = await self._pods(connection, watches)
        writes = round(parameters.writes_per_second * parameters.write_seconds)
        requests = [pods.create(index, node=node_name(index * 7919 % watches)) for index in range(writes)]
        load = await self._load(connection, pods, watches)
        file = self._partition.home / "ramp.npy"
        async with crew.worker(load, self._partition.home) as worker:
            meter = self._trial.meter(worker.pid)
            rate = parameters.writes_per_second
            done = await workload.paced(connection, workload.CREATE, requests, rate, in_flight=64)
            each = 1 if self._ladder.mode == NODE_NAMES else watches
            patience_s = parameters.late_s_max + _GRACE_S
            seen = await worker.ask(do="expect", events=done.items * each, timeout_s=patience_s)
            used, memory_mb = meter.stop(), self._memory_mb()
            check(seen, done.items * each, None, each == 1 or seen["fewest"] == seen["most"])
            await worker.ask(do="save", file=str(file))
        late = latencies(file, done.at)
        file.unlink()
        expected = done.items * (1 if each == 1 else len(range(0, watches, sampled(load))))
        if len(late) != expected:
            raise Wrong(f"{len(late)} of {expected} deliveries were timed")
        p99_s, share = percentile(late, 0.99), used.cpu_s["server"] / used.wall_s
        return Step(watches, p99_s, memory_mb, share, fault(parameters, p99_s, memory_mb, done.per_second))

    async def _pods(self, connection: http2.Connection, watches: int) -> Pods:
        self._tries += 1
        prefix = f"ramp-{self._ladder.name.replace('_', '-')}-{watches}-{self._tries}"
        return await workload.sized(connection, prefix, self._parameters.pod_bytes)

    async def _load(self, connection: http2.Connection, pods: Pods, watches: int) -> WatchLoad:
        # Of watches of one node each a few see an event: all are timed.
        everyone = self._ladder.mode == NODE_NAMES
        return WatchLoad(
            endpoint=self._partition.endpoint,
            mode=self._ladder.mode,
            watches=watches,
            revision=await workload.current_revision(connection),
            tenant=partition.TENANT,
            namespace=partition.NAMESPACE,
            app=pods.prefix,
            connections=max(8, watches // _STREAMS_PER_CONNECTION),
            recorded=watches if everyone else self._parameters.sample,
        )

    def _memory_mb(self) -> float:
        return usage.resident_bytes(self._partition.server_pid) / 1e6


def fault(parameters: RampParameters, p99_s: float, memory_mb: float, writes_per_second: float) -> str:
    """What a step with these figures broke; empty if it holds."""
    if memory_mb > parameters.memory_mb_max:  # first: what is out of room is also late
        return f"memory {memory_mb:,.0f} MB"
    if p99_s > parameters.late_s_max:
        return f"p99 {p99_s:.2f} s"
    if writes_per_second < _RATE_KEPT * parameters.writes_per_second:
        return f"writes fell to {writes_per_second:.0f}/s"
    return ""
