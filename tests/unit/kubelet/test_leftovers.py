"""Containers of pods that their partition no longer has: ended once it has confirmed that, however it is reached."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import cast

import pytest

from services.api.kinds import PODS
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.base.tasks import stop_task
from services.kubelet.contact import Contact
from services.kubelet.containerkubelet import ContainerKubelet
from services.kubelet.health import HEALTHY, Health
from services.kubelet.leftovers import Leftovers
from services.kubelet.machine import Machine
from services.kubelet.podstatus import NodeFacts
from services.kubelet.runtime import ContainerRuntime, Leftover, RuntimeEvent, RuntimeEventType
from tests.support.client_world import fake_connection, until
from tests.support.client_world import pod as make_pod
from tests.support.fake_partition import FakePartition

LEFT = Leftover("uid-gone", "acme", "default", "gone", "tp-1", "rp-1/n1")


class Remains:
    """A container runtime that has something of one pod."""

    name, version = "remains", "1"

    def __init__(self) -> None:
        self.stopped: list[str] = []
        self.forgotten: list[str] = []

    def leftovers(self) -> Iterable[Leftover]:
        return [LEFT]

    def stop(self, uid: str, grace_s: float) -> None:
        self.stopped.append(uid)

    def forget(self, uid: str) -> None:
        self.forgotten.append(uid)

    def take_up(self, *_: object) -> None: ...

    def start_container(self, *_: object) -> None: ...

    async def health(self, now_s: float) -> Health:
        return HEALTHY

    def log_file(self, uid: str, container: str, *, previous: bool) -> pathlib.Path | None:
        return None

    def is_running(self, uid: str, container: str) -> bool:
        return False


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.partition = FakePartition("tp-1", clock=self.clock)
        self.connection = fake_connection(self.partition, self.clock)
        self.leftovers = Leftovers(self.clock, Rand(1))
        self.remains = Remains()
        facts = NodeFacts("n1", "rp-1", "127.0.0.1", "process")
        kubelet = ContainerKubelet(facts, {"cpu": 4000, "pods": 10}, Contact(40.0), self.clock)
        self.machine = Machine(0, kubelet, cast(ContainerRuntime, self.remains))

    def suspects(self) -> list[Leftover]:
        return self.leftovers.suspects(self.machine, "tp-1")


@contextlib.asynccontextmanager
async def _running(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        await stop_task(task)


async def test_a_pod_that_its_partition_does_not_have_is_ended_and_forgotten() -> None:
    world = World()
    await world.leftovers.settle(world.machine, world.suspects(), lambda: world.connection.clientset)
    assert world.remains.stopped == ["uid-gone"]
    assert world.leftovers.hear(RuntimeEvent(RuntimeEventType.STOPPED, "uid-gone"))
    assert world.remains.forgotten == ["uid-gone"]


@pytest.mark.parametrize("phase", ["Pending", "Running"])
async def test_a_pod_that_its_partition_still_has_here_runs_on(phase: str) -> None:
    world = World()
    there = make_pod("gone", node_name="n1")
    there.metadata.uid, there.status.phase = "uid-gone", phase
    world.partition.put(PODS, there)
    await world.leftovers.settle(world.machine, world.suspects(), lambda: world.connection.clientset)
    assert world.remains.stopped == []


async def test_a_partition_that_is_out_of_reach_is_asked_over_its_new_connection() -> None:
    world, elsewhere = World(), FakePartition("tp-1", clock=FakeClock())
    world.partition.go_down()
    supervised = world.leftovers.settle(world.machine, world.suspects(), lambda: world.connection.clientset)
    async with _running(supervised):
        await world.clock.advance(60)
        assert world.remains.stopped == [], "who does not answer confirms nothing"
        assert world.suspects() == [], "it is being asked about"
        world.connection = fake_connection(elsewhere, world.clock)
        await until(world.clock, lambda: world.remains.stopped == ["uid-gone"])


async def test_a_partition_that_was_left_before_it_answered_is_asked_when_it_is_back() -> None:
    world = World()
    world.partition.go_down()
    async with _running(world.leftovers.settle(world.machine, world.suspects(), lambda: world.connection.clientset)):
        await world.clock.advance(5)
    assert world.suspects() == [LEFT]
