"""Processes that a benchmark starts by command line: they end with it, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import pathlib
import signal
from collections.abc import AsyncIterator, Callable, Sequence

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: the child between fork and exec must not import or allocate more than it has to.
_LIBC = ctypes.CDLL(None, use_errno=True)
_STOP_DEADLINE_S = 10.0

Process = asyncio.subprocess.Process


def die_with(parent: int) -> Callable[[], None]:
    """For ``preexec_fn``: the kernel ends the child when ``parent`` is gone, even by SIGKILL (prctl(2))."""

    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


async def start(argv: Sequence[str], log: pathlib.Path, *, piped: bool = False) -> Process:
    """Start a process whose errors (and output, unless ``piped``) go to ``log``. Raises ``OSError``."""
    pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=pipe if piped else nowhere,
            stdout=pipe if piped else output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with(os.getpid()),
            limit=1 << 26,
        )


async def stop(process: Process) -> None:
    """SIGTERM, SIGKILL if that takes long; returns when the process is gone."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_DEADLINE_S):
            await process.wait()
    except TimeoutError:
        await kill(process)


async def kill(process: Process) -> None:
    """SIGKILL; returns when the process is gone."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


@contextlib.asynccontextmanager
async def running(argv: Sequence[str], log: pathlib.Path) -> AsyncIterator[Process]:
    """A process for the time of the block."""
    process = await start(argv, log)
    try:
        yield process
    finally:
        await asyncio.shield(stop(process))
