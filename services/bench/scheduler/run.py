"""Workloads carried out, one after the other, each on a cluster of its own that is empty."""

from __future__ import annotations

import asyncio
import os
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.bench import http2
from services.bench.cluster import ClusterFailed
from services.bench.scheduler import access, capacity, processes, watching
from services.bench.scheduler.binds import BindLog
from services.bench.scheduler.creators import Creators
from services.bench.scheduler.errors import FileError, NotSupported, WorkloadFailed
from services.bench.scheduler.measuring import Measured
from services.bench.scheduler.opcodes import Operation
from services.bench.scheduler.reader import Workload
from services.bench.scheduler.world import World
from services.rpc.status import StatusError

CLIENT = "load client"
# Beyond the workload's own time: for what an operation that has run out of it still says and asks.
LAST_WORDS_S = 60.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """How workloads are run. ``timeout_s``: of each of them, from its first operation on. ``keep_logs``: where the
    processes' logs are copied, by workload."""

    tenant_partitions: int = 1
    resource_partitions: int = 1
    creators: int = 30
    create_batch: int = 1
    timeout_s: float = 600.0
    base_port: int = 0
    keep_logs: pathlib.Path | None = None


@dataclass
class Outcome:
    """What became of a workload: ``measured``, or why not: ``failure`` (it ran), ``lacks`` (it could not)."""

    workload: Workload
    measured: Sequence[Measured] = ()
    failure: str = ""
    lacks: str = ""
    notes: list[str] = field(default_factory=list)
    overcommitted: Sequence[str] = ()
    etcd_version: str = ""


async def run(workload: Workload, settings: Settings, clock: Clock, rand: Rand, say: Say) -> Outcome:
    """Everything that can go wrong with a workload is in its outcome."""
    outcome = Outcome(workload)
    try:
        operations = workload.operations()
    except NotSupported as reason:
        outcome.lacks = str(reason)
        return outcome
    except FileError as wrong:
        outcome.failure = str(wrong)
        return outcome
    logs = settings.keep_logs / workload.full_name.replace("/", "_") if settings.keep_logs else None
    shape = processes.Shape(settings.tenant_partitions, settings.resource_partitions, settings.base_port)
    say("starting processes")
    try:
        async with processes.running(shape, clock, logs) as started:
            outcome.etcd_version = started.etcd_version
            await _carry_out(operations, started, outcome, settings, clock, rand, say)
    except (WorkloadFailed, ClusterFailed, StatusError, http2.CallFailed, OSError, TimeoutError) as failure:
        outcome.failure = str(failure) or type(failure).__name__
    except BaseExceptionGroup as group:
        # A failed operation in the background, beside one that was cancelled for it.
        failures, rest = group.split((WorkloadFailed, ClusterFailed, StatusError, http2.CallFailed, OSError))
        if rest is not None or failures is None:
            raise
        outcome.failure = str(_first(failures))
    return outcome


async def _carry_out(
    operations: Sequence[Operation], started: processes.Processes, outcome: Outcome, settings: Settings,
    clock: Clock, rand: Rand, say: Say,
) -> None:  # fmt: skip
    log = BindLog()
    async with (
        access.opened(started.tenant_partitions, started.resource_partitions) as opened,
        Supervisor() as tasks,
    ):
        await access.place_tenants(opened)
        for target in opened.tenants:
            await watching.watch(target.watching, target.partition, log, clock)
        world = World(
            access=opened,
            log=log,
            tasks=tasks,
            clock=clock,
            rand=rand,
            creators=Creators(settings.creators, settings.create_batch),
            deadline=clock.monotonic() + settings.timeout_s,
            pids=started.pids | {CLIENT: os.getpid()},
            scheduler_metrics=started.scheduler_metrics,
            say=say,
        )
        try:
            await _operate(operations, world, settings.timeout_s)
            outcome.overcommitted = await capacity.overcommitted(opened, log)
        except (WorkloadFailed, StatusError, OSError) as failure:
            gone = "; ".join(f"{name} has ended: {started.log_end(name)}" for name in started.gone())
            raise WorkloadFailed(f"{failure}; {gone}" if gone else str(failure)) from failure
        finally:
            outcome.measured = tuple(world.measured)
            outcome.notes += world.notes
        if log.violations:
            raise WorkloadFailed("; ".join(log.violations))


async def _operate(operations: Sequence[Operation], world: World, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s + LAST_WORDS_S):
            for index, operation in enumerate(operations):
                if not world.left_s():
                    raise WorkloadFailed(f"its {timeout_s:g} s were over before operation {index} ({operation.opcode})")
                await operation.run(world, index)
    except TimeoutError as late:
        raise WorkloadFailed(f"it did not end within {timeout_s:g} s") from late


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
