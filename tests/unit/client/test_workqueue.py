"""The work queue: one key, one worker, growing pauses."""

from __future__ import annotations

import asyncio

from services.base.clock import FakeClock
from services.base.rand import Rand
from services.client.workqueue import WorkQueue


def make(clock: FakeClock) -> WorkQueue[str]:
    return WorkQueue(clock, Rand(1), retry_initial_s=1.0, retry_max_s=8.0, jitter=0.0)


async def test_a_key_is_queued_once_and_in_order() -> None:
    queue = make(FakeClock())
    for key in ("a", "b", "a"):
        queue.add(key)
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 0


async def test_a_key_added_while_worked_on_comes_again_after_done() -> None:
    queue = make(FakeClock())
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await queue.get() == "a"


async def test_pauses_grow_to_a_limit_and_start_again_after_success() -> None:
    queue = make(FakeClock())
    assert [queue.retry("a") for _ in range(5)] == [1.0, 2.0, 4.0, 8.0, 8.0]
    queue.forget("a")
    assert queue.retry("a") == 1.0


async def test_a_delayed_key_wakes_a_worker_at_its_time() -> None:
    clock = FakeClock()
    queue = make(clock)
    queue.add_after("slow", 10.0)
    queue.add_after("soon", 5.0)
    queue.add_after("soon", 2.0)
    got: list[tuple[float, str]] = []

    async def work() -> None:
        while True:
            key = await queue.get()
            got.append((clock.monotonic(), key))
            queue.done(key)

    async with asyncio.TaskGroup() as group:
        worker = group.create_task(work())
        await clock.advance(1.9)
        assert got == []
        await clock.advance(20)
        worker.cancel()
    assert got == [(2.0, "soon"), (10.0, "slow")]


async def test_two_workers_never_hold_one_key() -> None:
    clock = FakeClock()
    queue = make(clock)
    held: set[str] = set()
    served: list[str] = []

    async def work() -> None:
        while True:
            key = await queue.get()
            assert key not in held
            held.add(key)
            await clock.sleep(0.1)
            held.discard(key)
            served.append(key)
            queue.done(key)

    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(work()) for _ in range(3)]
        for _ in range(5):
            for key in ("a", "b", "c", "d"):
                queue.add(key)
            await clock.advance(0.05)
        await clock.advance(2)
        for worker in workers:
            worker.cancel()
    assert set(served) == {"a", "b", "c", "d"}
    assert 4 <= len(served) <= 20
