"""The look before a deletion, at a resource partition that is slow."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.base.clock import FakeClock
from services.controllers.nodes.config import NodesConfig
from services.controllers.nodes.guard import READS_AT_ONCE, NodeGuard, Reading
from services.controllers.nodes.monitor import NodeMonitor
from services.placement.tolerations import NO_EXECUTE
from services.rpc import status
from services.rpc.status import StatusError

CONFIRMED_FOR_S = 3.0


class Slow:
    """Answers each read after ``takes_s``; ``never``: one that it does not answer in time."""

    def __init__(self, clock: FakeClock, takes_s: float, never: frozenset[str] = frozenset()) -> None:
        self.clock = clock
        self.takes_s = takes_s
        self.never = never

    async def get(self, name: str, *, timeout_s: float | None = None) -> Node:
        assert timeout_s is not None
        if name in self.never:
            await self.clock.sleep(timeout_s)
            raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "Timeout", "no answer")
        await self.clock.sleep(self.takes_s)
        node = Node()
        node.metadata.name = name
        node.spec.taints.add(key="maintenance", effect=NO_EXECUTE)
        return node


async def reading_of(clock: FakeClock, nodes: Slow, names: list[str]) -> tuple[NodeGuard, Reading]:
    guard = NodeGuard(nodes, NodeMonitor(NodesConfig()), clock, confirmed_for_s=CONFIRMED_FOR_S)
    reading = asyncio.ensure_future(guard.read(names))
    while not reading.done():
        await clock.advance(0.05)
    return guard, reading.result()


async def test_each_node_counts_from_its_own_read() -> None:
    clock = FakeClock()
    names = [f"n{number:03d}" for number in range(256)]
    guard, reading = await reading_of(clock, Slow(clock, 0.4), names)  # 16 rounds: 6.4 s
    justified = [name for name in names if guard.taints(reading, name)]
    # Those of the last three seconds.
    assert 6 * READS_AT_ONCE <= len(justified) <= 8 * READS_AT_ONCE
    assert justified == names[-len(justified) :]
    assert not guard.is_fresh(reading)


async def test_one_read_without_an_answer_spoils_no_other() -> None:
    clock = FakeClock()
    names = [f"n{number}" for number in range(20)]
    _, reading = await reading_of(clock, Slow(clock, 0.1, frozenset({"n19"})), names)
    assert set(reading.nodes) == set(names) - {"n19"}


async def test_a_partition_that_answers_nothing_is_told_from_nodes_that_are_gone() -> None:
    clock = FakeClock()

    class Gone(Slow):
        async def get(self, name: str, *, timeout_s: float | None = None) -> Node:
            raise status.not_found("nodes", name)

    _, reading = await reading_of(clock, Gone(clock, 0.1), ["a", "b"])
    assert reading.nodes == {}
    with pytest.raises(StatusError, match="no answer"):
        await reading_of(clock, Slow(clock, 0.1, frozenset({"a", "b"})), ["a", "b"])
