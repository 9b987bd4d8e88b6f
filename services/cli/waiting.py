"""Waiting for something outside this process: ask, pause, ask again, until a deadline of the system's clock."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable

from services.base.clock import Clock, SystemClock

_NEVER = threading.Event()


def until(check: Callable[[], object], within_s: float, *, pause_s: float = 0.05, clock: Clock | None = None) -> bool:
    """Whether ``check`` became true in time; it is asked at least once."""
    time = clock or SystemClock()
    deadline = time.monotonic() + within_s
    while not check():
        if time.monotonic() >= deadline:
            return False
        _NEVER.wait(pause_s)
    return True


async def until_async(
    check: Callable[[], Awaitable[object]], within_s: float, *, pause_s: float = 0.05, clock: Clock | None = None
) -> bool:
    """The same within an event loop."""
    time = clock or SystemClock()
    deadline = time.monotonic() + within_s
    while not await check():
        if time.monotonic() >= deadline:
            return False
        await time.sleep(pause_s)
    return True
