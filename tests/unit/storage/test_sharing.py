"""Shared quorum reads: nobody gets the answer of a call that began before the question."""

from __future__ import annotations

import asyncio

import pytest

from services.storage.watchcache.sharing import NextCall


class Calls:
    """A call that is answered by hand; the answer is the call's number."""

    def __init__(self) -> None:
        self.gates: list[asyncio.Future[None]] = []

    async def __call__(self) -> int:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        number = len(self.gates)
        await gate
        return number


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_those_who_ask_during_a_call_share_the_next_one() -> None:
    calls = Calls()
    shared = NextCall(calls)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(shared())
        await _settle()
        others = [tasks.create_task(shared()) for _ in range(5)]
        await _settle()
        assert len(calls.gates) == 1
        calls.gates[0].set_result(None)
        await _settle()
        assert first.result() == 1
        assert len(calls.gates) == 2
        calls.gates[1].set_result(None)
    assert [task.result() for task in others] == [2] * 5


async def test_a_cancelled_caller_does_not_take_the_others_along() -> None:
    calls = Calls()
    shared = NextCall(calls)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(shared())
        await _settle()
        leader = tasks.create_task(shared())
        await _settle()
        follower = tasks.create_task(shared())
        await _settle()
        leader.cancel()
        await _settle()
        calls.gates[0].set_result(None)
        await _settle()
        calls.gates[1].set_result(None)
    assert (first.result(), follower.result()) == (1, 2)
    assert leader.cancelled()


async def test_a_failure_reaches_all_who_shared_the_call() -> None:
    calls = Calls()
    shared = NextCall(calls)
    first = asyncio.gather(shared(), shared(), return_exceptions=True)
    await _settle()
    calls.gates[0].set_exception(ValueError("no quorum"))
    await _settle()
    if len(calls.gates) > 1:
        calls.gates[1].set_exception(ValueError("no quorum"))
    assert [type(outcome) for outcome in await first] == [ValueError, ValueError]
    again = asyncio.gather(shared())
    await _settle()
    calls.gates[-1].set_result(None)
    assert await again == [len(calls.gates)]


async def test_a_single_failure_is_raised_to_its_caller() -> None:
    async def fail() -> int:
        raise ValueError("down")

    with pytest.raises(ValueError, match="down"):
        await NextCall(fail)()
