"""Thousands of ends, one timer."""

from __future__ import annotations

import asyncio

from services.apiserver.wheel import Wheel


async def test_items_are_due_in_order_and_never_early() -> None:
    loop = asyncio.get_running_loop()
    seen: list[tuple[str, float]] = []
    late = asyncio.Event()

    def due(item: str) -> None:
        seen.append((item, loop.time()))
        if item == "late":
            late.set()

    wheel: Wheel[str] = Wheel(due, slot_s=0.01)
    began = loop.time()
    wheel.add("late", 0.08)
    wheel.add("early", 0.02)
    wheel.add("gone", 0.04)
    wheel.discard("gone")
    wheel.discard("never there")
    async with asyncio.timeout(10):
        await late.wait()
    assert [item for item, _ in seen] == ["early", "late"]
    assert seen[0][1] - began >= 0.019
    assert seen[1][1] - began >= 0.079


async def test_what_is_due_may_be_put_on_again() -> None:
    turns: list[str] = []
    done = asyncio.Event()

    def due(item: str) -> None:
        turns.append(item)
        if len(turns) < 3:
            wheel.add(item, 0.01)
        else:
            done.set()

    wheel: Wheel[str] = Wheel(due, slot_s=0.01)
    wheel.add("a", 0.0)
    async with asyncio.timeout(10):
        await done.wait()
    assert (turns, len(wheel)) == (["a"] * 3, 0)


async def test_nothing_is_kept_of_what_came_and_went() -> None:
    wheel: Wheel[int] = Wheel(lambda _: None)
    for item in range(10_000):
        wheel.add(item, 1800 + item % 1800)
        wheel.discard(item)
    assert (len(wheel), wheel._slots) == (0, {})
    wheel.close()
