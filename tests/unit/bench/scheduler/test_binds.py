"""What a BindLog makes of watch events."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.bench.scheduler.binds import BindLog, Change

ADDED, MODIFIED, DELETED = 1, 2, 3


def event(kind: int, name: str, node: str = "") -> Any:
    pod = Pod()
    pod.metadata.tenant, pod.metadata.namespace, pod.metadata.name = "t", "ns", name
    pod.spec.node_name, pod.spec.resource_partition = node, "rp-1" if node else ""
    return SimpleNamespace(type=kind, object=pod)


def test_a_pod_counts_once_from_its_bind_to_its_end() -> None:
    log = BindLog()

    log.take([event(ADDED, "a")], 1.0)
    log.take([event(MODIFIED, "a", "n1"), event(MODIFIED, "a", "n1")], 2.0)
    bound = log.scheduled["ns"]
    log.take([event(DELETED, "a", "n1")], 3.0)

    key = ("t", "ns", "a")
    assert bound == 1
    assert log.scheduled["ns"] == 0
    assert log.changes == [Change(2.0, key, 1), Change(3.0, key, -1)]
    assert log.bound == {key: 2.0}
    assert not log.violations


def test_a_pod_that_goes_unbound_was_never_counted() -> None:
    log = BindLog()

    log.take([event(ADDED, "a"), event(DELETED, "a")], 1.0)

    assert not log.changes


def test_a_pod_that_moves_is_a_violation() -> None:
    log = BindLog()

    log.take([event(MODIFIED, "a", "n1"), event(MODIFIED, "a", "n2")], 1.0)

    assert log.violations == ["t/ns/a was bound to rp-1/n1 and then to rp-1/n2"]


async def test_waiting_ends_with_what_was_waited_for_or_with_the_time() -> None:
    log = BindLog()

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(log.until(lambda: log.scheduled["ns"] == 1, 30.0))
        await asyncio.sleep(0)
        log.take([event(MODIFIED, "a", "n1")], 1.0)

    assert waiting.result() is True
    assert await log.until(lambda: log.scheduled["ns"] == 2, 0.01) is False


async def test_waiting_ends_at_once_when_a_watch_has_ended() -> None:
    log = BindLog()

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(log.until(lambda: False, 30.0))
        await asyncio.sleep(0)
        log.end("the watch of tp-1 ended: gone")

    assert waiting.result() is False
    assert log.broken == "the watch of tp-1 ended: gone"
