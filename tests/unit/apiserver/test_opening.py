"""Places of opening watches come back: once opened, when a reader takes too long, when the stream ends."""

from __future__ import annotations

import asyncio

import pytest

from services.apiserver.opening import Openings
from services.rpc.lanes import Budget, Lane, place_in

pytestmark = pytest.mark.asyncio


def lane(at_once_max: int) -> Lane:
    return Lane(
        "watches", at_once_max=at_once_max, waiting_max=8, wait_s_max=30.0, retry_after_s=1.0, budget=Budget(1 << 20)
    )


async def test_whoever_waits_gets_the_place_of_a_reader_that_never_reads() -> None:
    one = lane(1)
    openings = Openings(patience_s=0.01)
    openings.hold(await place_in(one))
    async with asyncio.timeout(10):
        assert await one.wait()


async def test_every_place_comes_back_in_turn() -> None:
    two = lane(2)
    openings = Openings(patience_s=0.01)
    for _ in range(2):
        openings.hold(await place_in(two))
    async with asyncio.timeout(10):
        assert await asyncio.gather(two.wait(), two.wait()) == [True, True]


async def test_a_watch_that_has_opened_leaves_once() -> None:
    one = lane(1)
    openings = Openings(patience_s=0.01)
    place = await place_in(one)
    openings.hold(place)
    openings.leave(place)
    openings.leave(place)
    assert one.running == 0
    openings.close()
    assert one.running == 0


async def test_the_end_of_a_stream_leaves_all() -> None:
    three = lane(3)
    openings = Openings(patience_s=60.0)
    for _ in range(3):
        openings.hold(await place_in(three))
    openings.close()
    assert three.running == 0
