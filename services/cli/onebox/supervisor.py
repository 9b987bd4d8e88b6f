"""The detached process that runs a one-box: starts every component, restarts what crashed, ends them in order.

``python -m services.cli.onebox.supervisor --home DIR`` reads ``DIR/run/plan.json``. A lock in ``DIR/run`` makes it the
only one for its directory; when it dies, the kernel ends its children.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import logging
import os
import pathlib
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from services.base.backoff import Backoff
from services.base.clock import Clock, SystemClock
from services.base.rand import Rand
from services.base.tasks import Supervisor, first_of, run_process
from services.cli.onebox import control, logfiles, processes, readiness
from services.cli.onebox.etcd_binary import clean_environment
from services.cli.onebox.home import Home, write_atomically
from services.cli.onebox.plan import Component
from services.cli.onebox.state import ComponentState, Phase, SupervisorState, dump

log = logging.getLogger("ursa.supervisor")

BACKOFF_INITIAL_S = 0.2
BACKOFF_MAXIMUM_S = 15.0
# A component that was ready for this long has recovered: its next crash is restarted at once again.
HEALTHY_AFTER_S = 10.0
POLL_STARTING_S = 0.2
POLL_READY_S = 1.0


class Runner:
    """One component's life: start, wait for its end, pause, start again."""

    def __init__(
        self, component: Component, log_path: pathlib.Path, changed: Callable[[], None], clock: Clock, rand: Rand
    ) -> None:
        self.component = component
        self._log_path = log_path
        self._changed = changed
        self._clock = clock
        self._backoff = Backoff(rand, initial_s=BACKOFF_INITIAL_S, maximum_s=BACKOFF_MAXIMUM_S, jitter=0.2)
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._kicked = asyncio.Event()
        self._ended = asyncio.Event()
        self._ready_since: float | None = None
        self.state = ComponentState(
            component.name, component.kind, component.partition, ports=component.ports, since=clock.time()
        )

    async def run(self) -> None:
        """Until ``stop``: keep the component alive."""
        try:
            while not self._stopping.is_set():
                exit_text = await self._run_once()
                if self._stopping.is_set():
                    break
                pause_s = self._pause(exit_text)
                self._kicked.clear()
                await first_of(self._clock.sleep(pause_s), self._stopping.wait(), self._kicked.wait())
        finally:
            self._set("stopped", pid=0, started=0, ready=False, detail="")
            self._ended.set()

    def _pause(self, exit_text: str) -> float:
        """Record the end and choose the pause before the next start: none after a restart that was asked for."""
        healthy = self._ready_since is not None and self._clock.monotonic() - self._ready_since >= HEALTHY_AFTER_S
        if healthy or self._kicked.is_set():
            self._backoff.reset()
        pause_s = 0.0 if self._kicked.is_set() else self._backoff.next()
        self._ready_since = None
        restarts = self.state.restarts + 1
        detail = f"ended ({exit_text}); starting again in {pause_s:.1f} s"
        self._set("backoff", pid=0, started=0, ready=False, restarts=restarts, last_exit=exit_text, detail=detail)
        log.warning("%s %s", self.component.name, detail)
        return pause_s

    async def _run_once(self) -> str:
        """Start the process and wait for its end; how it ended, in words."""
        try:
            process = await self._start()
        except OSError as failure:
            return f"cannot be started: {failure}"
        self._process = process
        started = processes.start_ticks(process.pid) or 0
        self._set("starting", pid=process.pid, started=started, ready=False, detail="")
        log.info("%s started, pid %d", self.component.name, process.pid)
        if self._stopping.is_set():  # asked to stop while the process was being made
            self._signal(signal.SIGTERM)
        code = await process.wait()
        self._process = None
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    async def _start(self) -> asyncio.subprocess.Process:
        with logfiles.open_for(self._log_path) as output:
            return await asyncio.create_subprocess_exec(
                *self.component.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=clean_environment() | self.component.env,
                start_new_session=True,
                preexec_fn=processes.die_with(os.getpid()),
            )

    async def poll(self) -> None:
        """Ask for readiness once and record the answer."""
        if self._process is None:
            return
        pid = self._process.pid
        answer = await readiness.ask(self.component.ready_url)
        if self._process is None or self._process.pid != pid or self._stopping.is_set():
            return
        if answer.ready:
            self._ready_since = self._ready_since if self._ready_since is not None else self._clock.monotonic()
            self._set("running", ready=True, detail="")
        else:
            self._ready_since = None
            self._set(self.state.phase, ready=False, detail=answer.detail)

    async def watch_readiness(self) -> None:
        """Poll: often while it starts, seldom once it is ready."""
        while True:
            await self.poll()
            logfiles.trim(self._log_path)
            await self._clock.sleep(POLL_READY_S if self.state.ready else POLL_STARTING_S)

    def restart(self) -> None:
        """End the process so that it is started again at once."""
        self._kicked.set()
        self._signal(signal.SIGTERM)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL after the component's deadline; returns when it is gone."""
        self._stopping.set()
        if self._process is not None:
            self._set("stopping", ready=False)
            self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self.component.stop_deadline_s):
                await self._ended.wait()
        except TimeoutError:
            log.warning("%s did not end in %.0f s: SIGKILL", self.component.name, self.component.stop_deadline_s)
            self._signal(signal.SIGKILL)
            await self._ended.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            processes.signal_group(self.state.pid, self.state.started, number)

    def _set(self, phase: Phase, **fields: Any) -> None:
        since = self.state.since if phase == self.state.phase else self._clock.time()
        new = replace(self.state, phase=phase, since=since, **fields)
        if new != self.state:
            self.state = new
            self._changed()


class OneBox:
    """All components of one home."""

    def __init__(self, home: Home, components: Sequence[Component], clock: Clock, rand: Rand) -> None:
        self._home = home
        self._runners = [Runner(one, home.log(one.name), self._write, clock, rand) for one in components]
        self._clock = clock
        self._stopped = asyncio.Event()
        self._stopping = False
        self._started = processes.start_ticks(os.getpid()) or 0

    def state(self) -> SupervisorState:
        states = tuple(runner.state for runner in self._runners)
        return SupervisorState(os.getpid(), self._started, states, stopping=self._stopping)

    async def run(self, stopping: asyncio.Event) -> None:
        """Until ``stopping`` is set or a stop was asked for over the socket."""
        listener = control.listen(self._home.socket_file)
        server = await asyncio.start_unix_server(self._serve, sock=listener)
        try:
            async with Supervisor() as tasks:
                for runner in self._runners:
                    tasks.start(runner.run(), name=f"run-{runner.component.name}")
                    tasks.start(runner.watch_readiness(), name=f"poll-{runner.component.name}")
                await first_of(stopping.wait(), self._stopped.wait())
                await self.stop()
        finally:
            server.close()
            self._home.socket_file.unlink(missing_ok=True)

    async def stop(self) -> None:
        """End everything: users of the data first, the data last."""
        self._stopping = True
        for order in sorted({runner.component.stop_order for runner in self._runners}):
            group = [runner for runner in self._runners if runner.component.stop_order == order]
            async with asyncio.TaskGroup() as ending:
                for runner in group:
                    ending.create_task(runner.stop())
        self._write()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = msgspec.json.decode(await reader.readline(), type=control.Request)
        except (msgspec.DecodeError, ValueError, ConnectionError):
            writer.close()
            return
        answer = await self._answer(request)
        try:
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
            if request.command == "stop":  # only now, or the process would end before the answer is out
                self._stopped.set()

    async def _answer(self, request: control.Request) -> object:
        match request.command:
            case "status":
                if request.fresh:
                    async with asyncio.TaskGroup() as asking:
                        for runner in self._runners:
                            asking.create_task(runner.poll())
                return self.state()
            case "restart":
                for runner in self._runners:
                    if runner.component.name == request.name:
                        runner.restart()
                        return {"restarted": request.name}
                known = ", ".join(runner.component.name for runner in self._runners)
                return {"error": f"there is no component {request.name!r}; components: {known}"}
            case "stop":
                await self.stop()
                return self.state()

    def _write(self) -> None:
        write_atomically(self._home.state_file, dump(self.state()))


def take_lock(home: Home) -> int | None:
    """The descriptor that holds the home's lock for the life of this process; None when another supervisor has it."""
    descriptor = os.open(home.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 after an orderly stop, 1 when another supervisor runs, 2 for a plan that cannot be read."""
    parser = argparse.ArgumentParser(prog="ursa-supervisor")
    parser.add_argument("--home", type=pathlib.Path, required=True)
    home = Home(parser.parse_args(arguments).home.absolute())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if take_lock(home) is None:
        log.error("another supervisor runs for %s", home.root)
        return 1
    try:
        components = msgspec.json.decode(home.plan_file.read_bytes(), type=tuple[Component, ...])
    except (OSError, msgspec.DecodeError) as failure:
        log.error("%s cannot be used: %s", home.plan_file, failure)
        return 2
    # However long its components take: each has a deadline of its own.
    run_process(OneBoxProcess(home, components), stop_patience_s=None)
    return 0


class OneBoxProcess:
    """The body of the process, for ``run_process``."""

    def __init__(self, home: Home, components: Sequence[Component]) -> None:
        self._home = home
        self._components = components

    async def __call__(self, stopping: asyncio.Event) -> None:
        log.info("supervisor of %s, pid %d", self._home.root, os.getpid())
        await OneBox(self._home, self._components, SystemClock(), Rand()).run(stopping)
        log.info("all components have ended")


if __name__ == "__main__":
    sys.exit(main())
