"""Waiters for a revision: woken when it comes, forgotten when they no longer wait."""

from __future__ import annotations

import asyncio

import pytest

from services.base.clock import FakeClock
from services.base.rand import Rand
from services.storage.errors import ResourceVersionTooLarge
from services.storage.memory import MemoryBackend
from services.storage.testing.world import attributes_of
from services.storage.watchcache import CachedStore
from services.storage.watchcache.progress import Progress

PREFIX = "/ursa/pods/"
FAR_AHEAD = 1 << 60


async def test_a_revision_wakes_its_own_waiters_and_those_below() -> None:
    progress = Progress()
    waits = [asyncio.ensure_future(progress.at_least(revision)) for revision in (3, 1, 2, 4)]
    await asyncio.sleep(0)
    progress.reached(3)
    await asyncio.gather(*waits[:3])
    assert not waits[3].done()
    progress.reached(4)
    await waits[3]


async def test_who_waited_in_vain_is_forgotten_and_the_others_are_not() -> None:
    progress, clock = Progress(), FakeClock()
    patient = asyncio.ensure_future(progress.at_least(FAR_AHEAD))
    in_vain = [asyncio.ensure_future(progress.within(1.0, FAR_AHEAD, clock)) for _ in range(100)]
    cancelled = [asyncio.ensure_future(progress.at_least(FAR_AHEAD)) for _ in range(100)]
    await asyncio.sleep(0)
    for wait in cancelled:
        wait.cancel()
    await clock.advance(2.0)
    assert await asyncio.gather(*in_vain) == [False] * 100
    assert len(progress._waiting) <= 2
    progress.reached(FAR_AHEAD)
    await patient
    assert not progress._waiting


async def test_reads_of_a_revision_far_ahead_leave_nothing_behind() -> None:
    clock = FakeClock()
    backing = MemoryBackend(clock=clock).store(PREFIX, attributes_of)
    store = CachedStore(backing, prefix=PREFIX, attributes_of=attributes_of, clock=clock, rand=Rand(1))
    async with store.running():
        await store.wait_ready()
        reads = [asyncio.ensure_future(store.get(PREFIX + "x", FAR_AHEAD)) for _ in range(50)]
        await clock.advance(1.0)
        assert len(store._progress._waiting) == 50  # one each, however often they asked for progress
        await clock.advance(3.0)
        for read in reads:
            with pytest.raises(ResourceVersionTooLarge):
                await read
        assert not store._progress._waiting
