"""Lanes: who gets in, who waits, who is turned away, and that no place is ever lost."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from services.rpc.lanes import Budget, Lane, place_in
from services.rpc.status import StatusError


def lane(at_once: int = 1, waiting: int = 1, wait_s: float = 5.0) -> Lane:
    return Lane(
        "writes", at_once_max=at_once, waiting_max=waiting, wait_s_max=wait_s, retry_after_s=2.0, budget=Budget(100)
    )


async def test_places_then_a_line_then_refusal() -> None:
    tried = lane()
    assert tried.enter()
    assert not tried.enter()
    async with asyncio.TaskGroup() as tasks:
        second = tasks.create_task(tried.wait())
        await asyncio.sleep(0)
        assert (tried.running, tried.waiting) == (1, 1)
        assert not await tried.wait(), "the line is full"
        assert tried.refused == 1
        tried.leave()
    assert second.result()
    assert (tried.running, tried.waiting) == (1, 0)
    tried.leave()
    assert tried.running == 0


async def test_whoever_waits_too_long_is_refused_and_blocks_nobody() -> None:
    tried = lane(waiting=2, wait_s=0.01)
    assert tried.enter()
    assert not await tried.wait()
    assert tried.waiting == 0
    tried.leave()
    assert tried.running == 0
    assert tried.enter()


@pytest.mark.parametrize("given_first", [True, False])
async def test_a_cancelled_waiter_loses_no_place(given_first: bool) -> None:
    tried = lane(waiting=5)
    assert tried.enter()
    waiter = asyncio.get_running_loop().create_task(tried.wait())
    await asyncio.sleep(0)
    if given_first:
        tried.leave()  # the place is handed over before the waiter knows
        waiter.cancel()
    else:
        waiter.cancel()
        await asyncio.sleep(0)
        tried.leave()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert (tried.running, tried.waiting) == (0, 0)


async def test_a_thousand_who_gave_up_are_forgotten() -> None:
    tried = lane(waiting=10_000, wait_s=0.001)
    assert tried.enter()
    results = await asyncio.gather(*(tried.wait() for _ in range(1000)))
    assert not any(results)
    assert tried.waiting == 0
    assert not await tried.wait()
    assert len(tried._line) == 1
    tried.leave()
    assert tried.running == 0


async def test_a_place_is_left_once_and_a_refusal_says_when_to_come_again() -> None:
    tried = lane(waiting=0)
    place = await place_in(tried)
    with pytest.raises(StatusError) as caught:
        await place_in(tried)
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TooManyRequests")
    assert caught.value.retry_after_s == 2.0
    place.leave()
    place.leave()
    assert tried.running == 0


def test_a_budget_is_shared_and_one_large_request_may_have_it_all() -> None:
    budget = Budget(100)
    assert budget.take(60)
    assert not budget.take(41)
    assert budget.take(40)
    budget.give(60)
    budget.give(40)
    assert budget.take(1000)
    assert not budget.take(1)
