"""What a watch costs whose reader never reads: a position in the window, however much happens."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

from services.api.selectors import EVERYTHING
from services.base.clock import FakeClock
from services.storage.backing import FeedEntry
from services.storage.interface import WatchQuery
from services.storage.testing.world import attributes_of, pod
from services.storage.watchcache.ring import WindowBounds
from services.storage.watchcache.view import View

PREFIX = "/ursa/pods/"
WATCHES = 2_000
CHANGES = 500
BYTES_PER_WATCH = 1_000


async def held_bytes(watches: int) -> int:
    """What a view with its whole window full holds more than it did when empty; nobody reads."""
    gc.collect()
    tracemalloc.start()
    try:
        view = View(PREFIX, attributes_of, None, WindowBounds(low=CHANGES, high=CHANGES), FakeClock())
        kept = [view.watch(WatchQuery(PREFIX, EVERYTHING, initial_events=False)) for _ in range(watches)]
        for watcher in kept:
            assert watcher.take() is None
        for number in range(1, CHANGES + 1):
            value = pod(f"p-{number}", note="x" * 1_000)
            view.apply(number, [FeedEntry(f"{PREFIX}a/n/p-{number}", value, number)])
            await asyncio.sleep(0)  # one turn of the loop: dispatch may begin a round
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


async def test_memory_of_a_parked_watch_does_not_grow_with_what_it_has_yet_to_see() -> None:
    without, beside = await held_bytes(0), await held_bytes(WATCHES)
    # 500 changes of 1 kB are yet to be seen by each.
    assert (beside - without) / WATCHES < BYTES_PER_WATCH
