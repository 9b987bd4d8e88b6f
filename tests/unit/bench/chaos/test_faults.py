"""What each fault does, and what it says it did: the validators excuse exactly that."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence

import pytest

from services.base.clock import FakeClock
from services.base.rand import Rand
from services.bench.chaos.actions import Disturbance, NotDone
from services.bench.chaos.facts import Fault
from services.bench.chaos.faults import NAMES, Faults
from services.bench.chaos.parameters import ChaosParameters

QUICK = ChaosParameters().quick()
NODES = {"rp-1": ["rp-1/a", "rp-1/b"], "rp-2": ["rp-2/c", "rp-2/d"]}
PROCESSES = {
    "resource-partition": ["rp-1", "rp-2"],
    "tenant-partition": ["tp-1", "tp-2"],
    "etcd": ["etcd-rp-1", "etcd-rp-2", "etcd-tp-1", "etcd-tp-2"],
    "scheduler": ["scheduler-tp-1"],
    "controllers": ["controller-rp-1", "controller-tp-1"],
    "kubelet": ["hollow"],
}


class FakeLink:
    def __init__(self, done: list[tuple[str, object]]) -> None:
        self._done = done

    def stall(self) -> None:
        self._done.append(("broken", "stall"))

    def sever(self) -> None:
        self._done.append(("broken", "sever"))

    def heal(self) -> None:
        self._done.append(("healed", ""))


class FakeActions:
    def __init__(self) -> None:
        self.done: list[tuple[str, object]] = []
        self.links = {("rp-1", "tp-2"): FakeLink(self.done)}
        self.comes_back = True

    def components(self, kind: str) -> list[str]:
        return PROCESSES[kind]

    def pid(self, name: str) -> int:
        return 7

    def send(self, name: str, number: signal.Signals) -> None:
        self.done.append((number.name, name))

    async def until_anew(self, name: str, before: int, within_s: float) -> bool:
        assert before == 7
        return self.comes_back

    async def disturb(self, kind: Disturbance, nodes: Sequence[str]) -> None:
        self.done.append((kind.name, tuple(nodes)))

    async def restore(self, nodes: Sequence[str]) -> None:
        self.done.append(("RESTORE", tuple(nodes)))


class World:
    def __init__(self) -> None:
        self.actions = FakeActions()
        self.clock = FakeClock()
        self.faults = Faults(self.actions, QUICK, lambda: NODES, self.clock, Rand(3), lambda _: None)  # type: ignore[arg-type]

    async def bring_about(self, name: str) -> list[Fault]:
        running = asyncio.get_running_loop().create_task(self.faults.catalogue()[name]())  # type: ignore[arg-type]
        for _ in range(20):
            await self.clock.advance(10.0)
            if running.done():
                return running.result()
        raise AssertionError(f"{name} never ends")


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("name", ["rp-kill", "tp-kill", "etcd-kill"])
async def test_a_killed_server_answers_nobody_and_excuses_no_node(world: World, name: str) -> None:
    [fault] = await world.bring_about(name)

    assert world.actions.done == [("SIGKILL", fault.target)]
    assert fault.partitions == (fault.target.removeprefix("etcd-"),)
    assert not fault.silent and not fault.dead and not fault.unmanaged


async def test_killed_controllers_leave_a_partition_unmanaged(world: World) -> None:
    [fault] = await world.bring_about("controller-kill")

    assert fault.unmanaged == (fault.target.removeprefix("controller-"),) and not fault.partitions


async def test_what_does_not_come_back_is_said(world: World) -> None:
    world.actions.comes_back = False

    [fault] = await world.bring_about("scheduler-kill")

    assert "not ready" in fault.detail


async def test_a_killed_kubelet_host_silences_its_nodes_whose_containers_run_on(world: World) -> None:
    [fault] = await world.bring_about("kubelet-kill")

    assert set(fault.silent) == set(fault.restarted) == {"rp-1/a", "rp-1/b", "rp-2/c", "rp-2/d"}
    assert not fault.dead


@pytest.mark.parametrize("name", ["rp-pause", "etcd-pause", "controller-pause"])
async def test_what_is_frozen_goes_on_after_more_than_the_grace(world: World, name: str) -> None:
    [fault] = await world.bring_about(name)

    assert world.actions.done == [("SIGSTOP", fault.target), ("SIGCONT", fault.target)]
    assert fault.ended - fault.began > QUICK.grace_s
    assert "tp-" not in fault.target, "only resource partitions evict"


@pytest.mark.parametrize(("name", "kind"), [("node-death", "DEATH"), ("node-cut", "CUT")])
async def test_nodes_are_away_until_their_pods_must_be_gone(world: World, name: str, kind: str) -> None:
    [fault] = await world.bring_about(name)

    assert world.actions.done == [(kind, fault.silent), ("RESTORE", fault.silent)]
    assert {node.partition("/")[0] for node in fault.silent} == {"rp-1", "rp-2"}
    assert fault.ended - fault.began > QUICK.eviction_s
    assert fault.dead == (fault.silent if kind == "DEATH" else ())
    assert not world.faults.away


async def test_crashed_kubelets_are_silent_for_no_time(world: World) -> None:
    [fault] = await world.bring_about("kubelet-crash")

    assert world.actions.done == [("CRASH", fault.restarted)] and not fault.silent


async def test_a_dark_tenant_partition_returns_before_the_nodes_do(world: World) -> None:
    dark, death = await world.bring_about("tp-dark")

    assert [what for what, _ in world.actions.done] == ["DEATH", "SIGSTOP", "SIGCONT", "RESTORE"]
    assert dark.partitions == (dark.target,) and not dark.silent
    assert death.dead == death.silent and dark.ended < death.ended
    assert dark.ended - death.began > QUICK.eviction_s


async def test_a_cut_link_is_healed(world: World) -> None:
    [fault] = await world.bring_about("link-cut")

    assert [what for what, _ in world.actions.done] == ["broken", "healed"]
    assert fault.partitions == ("tp-2",) and fault.ended - fault.began > QUICK.grace_s


async def test_nodes_that_are_away_are_not_taken_again(world: World) -> None:
    world.faults.away.update(node for nodes in NODES.values() for node in nodes)

    with pytest.raises(NotDone, match="no node"):
        await world.bring_about("node-death")


def test_every_name_has_its_fault(world: World) -> None:
    assert set(world.faults.catalogue()) == set(NAMES)
