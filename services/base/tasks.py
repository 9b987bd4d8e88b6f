"""Every task has an owner. ``Supervisor`` is the owner of a process' long-lived tasks.

Retry with backoff lives inside a task; an exception that leaves a task is a bug, and the supervisor lets it crash the
process with its trace (the process manager restarts it). A cancelled task leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")

_log = logging.getLogger(__name__)

# Less than whoever started the process waits before it kills it: the log then says why.
STOP_PATIENCE_S = 4.0


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
        self._closing = False

    async def __aenter__(self) -> Supervisor:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *failure: Any) -> None:
        self._closing = True
        self.cancel_all()
        try:
            await self._group.__aexit__(*failure)
        finally:
            while self._tasks:
                await asyncio.wait(self._tasks)

    def start(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run ``work`` as a task of this supervisor. Cancel the returned task to stop it alone.

        What a task starts while the block is being left (it heard of a new partition just then) is cancelled before it
        begins: nobody would end it any more, and the block would wait for it for ever.
        """
        task = self._late(work, name) if self._closing else self._begun(work, name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _begun(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        try:
            return self._group.create_task(work, name=name)
        except RuntimeError:  # Another task has failed, and the group takes no more.
            return self._late(work, name)

    @staticmethod
    def _late(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.cancel()
        return task

    def cancel_all(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()


async def stop_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it is gone. Raises what it raised; and ``CancelledError`` only for the caller."""
    task.cancel()
    # Not ``await task`` with its cancellation suppressed: the caller's own would be, too.
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def first_of(*waits: Awaitable[Any]) -> None:
    """Return when the first of ``waits`` is done; the others are cancelled and awaited."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def first_end(*works: Coroutine[Any, Any, None]) -> None:
    """Run ``works`` together until one ends; the others are cancelled and awaited. Raises what a work raised.

    Unlike Python 3.11's task group, it does not drop a cancellation that comes at the moment in which a work fails.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    for task, work in zip(tasks, works, strict=True):
        task.set_name(getattr(work, "__qualname__", "work"))
    await first_of(*tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


def run_process(
    main: Callable[[asyncio.Event], Coroutine[Any, Any, None]], *, stop_patience_s: float | None = STOP_PATIENCE_S
) -> None:
    """Run ``main(stopping)`` on uvloop. SIGTERM and SIGINT set ``stopping``; a second one ends the process at once.

    A process that has not ended ``stop_patience_s`` after the first (None: however long it takes) says in its log what
    every task waits for, and ``main`` is cancelled: something did not look at ``stopping``, or does not end.
    """

    async def entry() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None

        def on_signal() -> None:
            if stopping.is_set():
                raise SystemExit(130)
            stopping.set()
            if stop_patience_s is not None:
                loop.call_later(stop_patience_s, _insist, task, stop_patience_s)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        try:
            await main(stopping)
        except asyncio.CancelledError:
            if not stopping.is_set():
                raise

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(entry())


def _insist(main: asyncio.Task[Any], after_s: float) -> None:
    if main.done():
        return
    waiting = {task.get_name(): _stack(task) for task in asyncio.all_tasks() if not task.done()}
    _log.warning("still stopping after %s s: cancelled", after_s, extra={"tasks": waiting})
    main.cancel()


def _stack(task: asyncio.Task[Any]) -> str:
    """``file:line function`` of each frame that waits, the innermost last; ``Task.print_stack`` has the first only."""
    frames = []
    awaiting: Any = task.get_coro()
    while awaiting is not None:
        frame = getattr(awaiting, "cr_frame", None) or getattr(awaiting, "ag_frame", None)
        if frame is None:
            break
        code = frame.f_code
        frames.append(f"{code.co_filename}:{frame.f_lineno} {code.co_name}")
        awaiting = getattr(awaiting, "cr_await", None) or getattr(awaiting, "ag_await", None)
    return " > ".join(frames)
