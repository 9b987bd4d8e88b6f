"""Writes to nodes: one that came too late holds up no other, and is not repeated before the news is there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import grpc
import pytest

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.clientset import Outcome
from services.client.informer import Change
from services.controllers.nodes.config import NodesConfig
from services.controllers.nodes.facts import read_node
from services.controllers.nodes.monitor import NodeMonitor
from services.controllers.nodes.writer import REFUSED_PAUSE_S, NodeWriter
from services.rpc.status import StatusError

NODES = 12


class Nodes:
    """Takes batches of updates; ``refused`` by name."""

    def __init__(self) -> None:
        self.refused: dict[str, StatusError] = {}
        self.asked: list[str] = []

    async def batch_update(self, objs: Iterable[Node], *, timeout_s: float | None = None) -> Sequence[Outcome]:
        await asyncio.sleep(0)
        names = [one.metadata.name for one in objs]
        self.asked += names
        return [Outcome(self.refused.get(name), name, "", 0) for name in names]

    async def batch_update_status(self, objs: Iterable[Node], *, timeout_s: float | None = None) -> Sequence[Outcome]:
        raise AssertionError("nobody is lost")


def seen(monitor: NodeMonitor, version: int, *names: str) -> None:
    for name in names:
        made = Node()
        made.metadata.name, made.metadata.uid, made.metadata.resource_version = name, name, version
        made.status.conditions.add(type="Ready", status="True")
        fact = read_node(made.SerializeToString())
        monitor.nodes_changed([Change(name, monitor.table.facts.get(name), fact, "rp-1")], 0.0)


@pytest.mark.parametrize("code", [grpc.StatusCode.ABORTED, grpc.StatusCode.NOT_FOUND])
async def test_a_write_that_came_too_late_waits_for_the_news_and_the_others_for_nothing(code: grpc.StatusCode) -> None:
    clock, api, config = FakeClock(), Nodes(), NodesConfig(batch_nodes=2)
    monitor = NodeMonitor(config)
    names = [f"n{number:02d}" for number in range(NODES)]
    late = names[::2]
    api.refused = dict.fromkeys(late, StatusError(code, "Conflict", "it has changed"))
    seen(monitor, 1, *names)
    writer = NodeWriter(api, monitor, config, clock=clock, rand=Rand(1))
    async with Supervisor() as tasks:
        tasks.start(writer.run(), name="writer")
        await clock.advance(0.05)
        assert api.asked == names, "each once, and no pause in between"
        api.refused.clear()
        seen(monitor, 2, *late)
        writer.wake()
        await clock.advance(0.05)
        assert api.asked == names + late


async def test_what_fails_otherwise_is_tried_again() -> None:
    clock, api, config = FakeClock(), Nodes(), NodesConfig()
    monitor = NodeMonitor(config)
    api.refused["a"] = StatusError(grpc.StatusCode.UNAVAILABLE, "Unavailable", "no quorum")
    seen(monitor, 1, "a", "b")
    async with Supervisor() as tasks:
        tasks.start(NodeWriter(api, monitor, config, clock=clock, rand=Rand(1)).run(), name="writer")
        await clock.advance(3)
        assert api.asked[:2] == ["a", "b"] and 2 < api.asked.count("a") < 20 and api.asked.count("b") == 1


async def test_a_node_that_can_never_be_written_holds_up_no_other() -> None:
    clock, api, config = FakeClock(), Nodes(), NodesConfig(batch_nodes=2)
    monitor = NodeMonitor(config)
    names = [f"n{number:02d}" for number in range(NODES)]
    api.refused["n00"] = StatusError(grpc.StatusCode.INVALID_ARGUMENT, "Invalid", "annotations: too long")
    seen(monitor, 1, *names)
    async with Supervisor() as tasks:
        tasks.start(NodeWriter(api, monitor, config, clock=clock, rand=Rand(1)).run(), name="writer")
        await clock.advance(0.05)
        assert api.asked == names, "each once, and no pause in between"
        await clock.advance(REFUSED_PAUSE_S - 1)
        assert api.asked == names
        api.refused.clear()
        await clock.advance(2)
        assert api.asked == [*names, "n00"]
