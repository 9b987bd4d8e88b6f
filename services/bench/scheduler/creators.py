"""Parallel creators of pods: unary calls as upstream's (30 at a time), or batches.

Upstream's client is limited to 5,000 creates/s; this one is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.api.kinds import PODS
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.meta.v1.meta_pb2 import BatchResponse
from services.base.clock import Clock
from services.bench.http2 import CallFailed
from services.bench.scheduler.access import TenantAccess
from services.bench.scheduler.binds import BindLog, Key
from services.bench.scheduler.errors import WorkloadFailed
from services.bench.scheduler.pod_source import PodSource
from services.bench.workload import one_failure
from services.rpc import methods

CREATE = methods.path(PODS, "Create")
BATCH_CREATE = methods.path(PODS, "BatchCreate")

Job = tuple[TenantAccess, range]
"""Where, and which of the pods."""


@dataclass(frozen=True)
class Creators:
    """``parallel`` calls at a time, each of ``batch`` pods; 1: unary creates."""

    parallel: int
    batch: int


def jobs(tenants: Sequence[TenantAccess], count: int, batch: int) -> Iterator[Job]:
    """``count`` pods spread evenly over the tenants, in turn."""
    for number, first in enumerate(range(0, count, batch)):
        yield tenants[number % len(tenants)], range(first, min(first + batch, count))


async def create(
    creators: Creators, tenants: Sequence[TenantAccess], namespace: str, source: PodSource, count: int,
    log: BindLog, clock: Clock,
) -> list[Key]:  # fmt: skip
    """Create the pods and return when the last call is answered. Raises ``WorkloadFailed``."""
    # With several tenants a large batch must not leave one of them with more than its share.
    batch = max(1, min(creators.batch, count // len(tenants)))
    work = jobs(tenants, count, batch)
    made: list[Key] = []

    async def line() -> None:
        for target, indices in work:
            parts = [source.framed(target.tenant, index) for index in indices]
            request = b"".join(part for part, _ in parts)
            began = clock.monotonic()
            if batch == 1:
                names = [name_of(await target.load.call(CREATE, request))]
            else:
                names = _names(await target.load.call(BATCH_CREATE, request))
            answered = clock.monotonic()
            for name, (_, shape) in zip(names, parts, strict=True):
                key = (target.tenant, namespace, name)
                log.create((key,), began, answered, shape)
                made.append(key)

    try:
        async with one_failure(), asyncio.TaskGroup() as group:
            for _ in range(min(creators.parallel, count)):
                group.create_task(line())
    except CallFailed as failure:
        raise WorkloadFailed(f"creating pods in {namespace}: {failure}") from failure
    return made


def name_of(answer: bytes) -> str:
    """The name of a served pod: the first field of its first field, in canonical bytes."""
    if len(answer) > 4 and answer[0] == 0x0A:
        start = 2 if answer[1] < 0x80 else 3
        if answer[start] == 0x0A and answer[start + 1] < 0x80:
            return answer[start + 2 : start + 2 + answer[start + 1]].decode()
    return Pod.FromString(answer).metadata.name


def _names(answer: bytes) -> list[str]:
    outcomes = BatchResponse.FromString(answer).outcomes
    for outcome in outcomes:
        if outcome.HasField("status"):
            raise WorkloadFailed(f"a pod was not created: {outcome.status.message}")
    return [outcome.name for outcome in outcomes]
