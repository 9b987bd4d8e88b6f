"""Every task has an owner. ``Supervisor`` is the owner of a process' long-lived tasks.

Retry with backoff lives inside a task; an exception that leaves a task is a bug, and the supervisor lets it crash the
process with its trace (the process manager restarts it). A cancelled task leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")


class Supervisor:
    """An ``asyncio.TaskGroup`` whose tasks can be stopped by name, singly or all at once.

    >>> async with Supervisor() as tasks:
    ...     tasks.start(loop.run(), name="scheduler-loop")
    ...     await stopping.wait()
    ...     # on leaving the block every task is cancelled and awaited
    """

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Supervisor:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *failure: Any) -> None:
        self.cancel_all()
        await self._group.__aexit__(*failure)

    def start(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run ``work`` as a task of this supervisor. Cancel the returned task to stop it alone."""
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel_all(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()


async def stop_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it is gone."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def first_of(*waits: Awaitable[Any]) -> None:
    """Return when the first of ``waits`` is done; the others are cancelled and awaited."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def run_process(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run ``main(stopping)`` on uvloop. SIGTERM and SIGINT set ``stopping``; a second one ends the process at once."""

    async def entry() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            if stopping.is_set():
                raise SystemExit(130)
            stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        await main(stopping)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(entry())
