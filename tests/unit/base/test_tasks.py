"""Tasks end with their owner, whatever they do while they end; a process ends when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from services.base.tasks import Supervisor, first_end, stop_task


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_what_a_task_starts_while_the_block_is_left_is_cancelled_before_it_begins() -> None:
    begun: list[str] = []

    async def late() -> None:
        begun.append("late")
        await forever()

    async def starts_another_at_its_end(tasks: Supervisor) -> None:
        try:
            await forever()
        finally:
            tasks.start(late(), name="late")

    async with asyncio.timeout(5.0):
        async with Supervisor() as tasks:
            tasks.start(starts_another_at_its_end(tasks), name="early")
            await asyncio.sleep(0)
    assert begun == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_failed_task_ends_the_others_and_what_they_start_then() -> None:
    begun: list[str] = []

    async def late() -> None:
        begun.append("late")

    async def starts_another_at_its_end(tasks: Supervisor) -> None:
        try:
            await forever()
        finally:
            tasks.start(late(), name="late")

    async def fails() -> None:
        raise ValueError("a bug")

    with pytest.raises(BaseExceptionGroup) as raised:
        async with asyncio.timeout(5.0), Supervisor() as tasks:
            tasks.start(starts_another_at_its_end(tasks), name="early")
            await asyncio.sleep(0)
            tasks.start(fails(), name="fails")
            await forever()
    assert raised.value.subgroup(ValueError) is not None
    assert begun == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_stopping_a_task_does_not_hide_that_the_caller_was_cancelled() -> None:
    ends = asyncio.Event()

    async def slow_to_end() -> None:
        try:
            await forever()
        finally:
            await ends.wait()

    slow = asyncio.create_task(slow_to_end())
    await asyncio.sleep(0)
    stopper = asyncio.create_task(stop_task(slow))
    await asyncio.sleep(0)
    stopper.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopper
    ends.set()
    await stop_task(slow)
    assert slow.cancelled()


async def test_stopping_a_task_raises_what_it_raised() -> None:
    async def fails() -> None:
        try:
            await forever()
        finally:
            raise ValueError("at its end")

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="at its end"):
        await stop_task(task)


def process(main: str, patience: str = "0.2") -> subprocess.Popen[str]:
    """One that prints a line when it has begun."""
    program = f"""
        import asyncio
        from services.base import logs
        from services.base.tasks import run_process

        async def main(stopping):
            {main}

        logs.configure("info", service="test", partition="")
        run_process(main, stop_patience_s={patience})
    """
    argv = [sys.executable, "-c", textwrap.dedent(program)]
    running = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    assert running.stdout is not None
    assert running.stdout.readline() == "begun\n"
    return running


def test_a_process_ends_when_it_is_told_to() -> None:
    running = process("print('begun', flush=True); await stopping.wait(); print('ended')")
    running.send_signal(signal.SIGTERM)
    output, _ = running.communicate(timeout=20)
    assert (running.returncode, output) == (0, "ended\n")


def test_a_process_whose_start_never_looks_at_the_signal_ends_all_the_same_and_says_what_it_waited_for() -> None:
    running = process("print('begun', flush=True); await asyncio.sleep(1000)")
    began = time.monotonic()
    running.send_signal(signal.SIGTERM)
    _, errors = running.communicate(timeout=20)
    assert running.returncode == 0
    assert time.monotonic() - began < 10
    assert "still stopping after 0.2 s" in errors
    assert " main > " in errors and errors.rstrip().endswith('sleep"}}'), errors


def test_a_second_signal_ends_a_process_at_once() -> None:
    running = process(
        "print('begun', flush=True); await stopping.wait(); print('told', flush=True); await asyncio.sleep(99)", "None"
    )
    running.send_signal(signal.SIGTERM)
    assert running.stdout is not None
    assert running.stdout.readline() == "told\n"
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=20)
    assert running.returncode == 130


async def test_a_cancellation_at_the_moment_of_a_failure_is_not_lost() -> None:
    failing = asyncio.Event()

    async def fails() -> None:
        await failing.wait()
        raise ValueError("the end of one")

    async def goes_on_after_failures() -> None:
        while True:
            with contextlib.suppress(ValueError):
                await first_end(fails(), forever())
            failing.clear()

    task = asyncio.ensure_future(goes_on_after_failures())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    failing.set()
    for _ in range(5):
        await asyncio.sleep(0)
        if not failing.is_set():
            break
    failing.set()
    await asyncio.sleep(0)
    async with asyncio.timeout(5.0):
        await stop_task(task)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_first_end_raises_what_ended_it_and_cancels_the_others() -> None:
    async def fails() -> None:
        raise ValueError("the end")

    with pytest.raises(ValueError, match="the end"):
        await first_end(forever(), fails())
    assert asyncio.all_tasks() == {asyncio.current_task()}
