"""A partition comes back and a hundred clients with it: first from where they were, and not all in one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from services.api.kinds import NODES
from services.api.pb.ursa.watch.v1 import watch_pb2
from services.base.clock import FakeClock
from services.client.informer import Informer
from tests.support.client_world import connected, node, until
from tests.support.fake_partition import FakePartition

CLIENTS = 100
OBJECTS = 20
# How much of all that come back may do so within a tenth of a second.
SHARE_MAX = 0.4


@dataclass(frozen=True)
class Opening:
    """``after``: the resource version that a watch goes on from; None: it lists."""

    at_s: float
    after: int | None


class Watched(FakePartition):
    """A partition that notes when watches are opened, and from where."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__("rp-1", clock=clock)
        self._own_clock = clock
        self.openings: list[Opening] = []

    def begin_watch(self, stream: Any, create: watch_pb2.CreateWatch) -> None:
        request = create.selection
        after = None if request.send_initial_events else request.resource_version
        self.openings.append(Opening(self._own_clock.monotonic(), after))
        super().begin_watch(stream, create)


def crowd(openings: list[Opening]) -> float:
    """The largest share of ``openings`` within a tenth of a second."""
    times = sorted(opening.at_s for opening in openings)
    return max(sum(start <= at < start + 0.1 for at in times) for start in times) / len(times)


@pytest.mark.parametrize("outage_s", [1.0, 60.0])
async def test_they_resume_from_their_last_version_and_nobody_lists(outage_s: float) -> None:
    clock = FakeClock()
    partition = Watched(clock)
    for number in range(OBJECTS):
        partition.put(NODES, node(f"n-{number}"))
    async with connected(*[partition] * CLIENTS, clock=clock) as (_, connections):
        informers = [Informer[Any](connection.mux, NODES).start() for connection in connections]
        await until(clock, lambda: all(informer.connected for informer in informers))
        known = partition.resource_version
        partition.go_down()
        partition.openings.clear()
        partition.put(NODES, node("missed"))
        await clock.advance(outage_s)
        partition.come_back()
        await until(clock, lambda: all(informer.connected for informer in informers), step_s=0.02)
        await clock.advance(0)
        assert {opening.after for opening in partition.openings} == {known}
        assert len(partition.openings) == CLIENTS
        assert crowd(partition.openings) <= SHARE_MAX
        assert all(len(informer.store) == OBJECTS + 1 for informer in informers)


async def test_where_history_is_gone_each_lists_once_after_it_has_tried_to_resume() -> None:
    clock = FakeClock()
    partition = Watched(clock)
    partition.put(NODES, node("first"))
    async with connected(*[partition] * CLIENTS, clock=clock) as (_, connections):
        informers = [Informer[Any](connection.mux, NODES).start() for connection in connections]
        await until(clock, lambda: all(informer.connected for informer in informers))
        partition.go_down()
        partition.openings.clear()
        partition.put(NODES, node("missed"))
        partition.compact()
        await clock.advance(60.0)
        partition.come_back()
        await until(clock, lambda: all(informer.connected for informer in informers), step_s=0.02)
        lists = [opening for opening in partition.openings if opening.after is None]
        resumed = [opening for opening in partition.openings if opening.after is not None]
        assert (len(resumed), len(lists)) == (CLIENTS, CLIENTS)
        assert crowd(lists) <= SHARE_MAX
        assert all(len(informer.store) == 2 for informer in informers)
