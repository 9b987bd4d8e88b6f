"""One run of ``ursa hollow``: the process started, shown until it is interrupted, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator

from services.base.clock import SystemClock
from services.cli.context import Context
from services.cli.errors import CliError
from services.cli.hollow import figures
from services.cli.hollow.plan import Options, configuration
from services.cli.onebox.processes import die_with
from services.cli.onebox.progress import Progress

LOOPBACK = "127.0.0.1"
PERIOD_S = 1.0
# Where nobody looks at a live line, one is printed this often.
PLAIN_PERIOD_S = 10.0
# Deleting tens of thousands of nodes takes its time.
STOP_DEADLINE_S = 10.0
DELETE_DEADLINE_S = 300.0
LINES_SHOWN = 12


def run(options: Options, context: Context, progress: Progress) -> None:
    """Until Ctrl-C or SIGTERM. Raises ``CliError`` when the process ends by itself."""
    metrics, listen = f"{LOOPBACK}:{free_port()}", options.listen or f"{LOOPBACK}:{free_port()}"
    text = configuration(options, context, metrics_listen=metrics, listen=listen)
    with _directory() as directory, _interruptions() as stopping:
        process = _start(directory, text)
        progress.done(f"{options.nodes} hollow nodes {options.name_prefix}*; they can be disturbed at {listen}")
        try:
            _show(process, metrics, options.nodes, progress, stopping)
        finally:
            _end(process, progress, options, stopping)
        if not stopping.is_set():
            raise CliError(f"the nodes' process ended with code {process.returncode}:\n{_said(directory)}")


@contextlib.contextmanager
def _directory() -> Iterator[pathlib.Path]:
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ursa-hollow-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _interruptions() -> Iterator[threading.Event]:
    """Set by the first SIGINT or SIGTERM; a second SIGINT raises ``KeyboardInterrupt``."""
    stopping = threading.Event()

    def on_signal(number: int, _frame: object) -> None:
        if stopping.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopping.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(directory: pathlib.Path, text: str) -> subprocess.Popen[bytes]:
    config = directory / "hollow.toml"
    config.write_text(text)
    root = str(pathlib.Path(__file__).resolve().parents[3])
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "services.kubelet", "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C is for this command, which then asks the process to stop.
            start_new_session=True,
            preexec_fn=die_with(os.getpid()),
            env=os.environ | {"PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])},
        )


def _show(
    process: subprocess.Popen[bytes], metrics: str, nodes: int, progress: Progress, stopping: threading.Event
) -> None:
    clock, began = SystemClock(), SystemClock().monotonic()
    before: figures.Figures | None = None
    before_s = printed_s = began
    announced = False
    while process.poll() is None and not stopping.wait(PERIOD_S):
        now = figures.read(metrics)
        if now is None:
            continue
        now_s = clock.monotonic()
        line = now.line(nodes, before, now_s - before_s)
        if not announced and now.ready >= nodes and now.synced:
            announced = True
            progress.done(f"all {nodes} nodes Ready after {now_s - began:.1f} s")
        if progress.live or now_s - printed_s >= PLAIN_PERIOD_S:
            progress.now(line)
            printed_s = now_s
        before, before_s = now, now_s


def _end(process: subprocess.Popen[bytes], progress: Progress, options: Options, stopping: threading.Event) -> None:
    if process.poll() is not None:
        return
    progress.now("deleting the nodes" if options.delete_on_exit else "ending")
    process.terminate()
    try:
        process.wait(DELETE_DEADLINE_S if options.delete_on_exit and stopping.is_set() else STOP_DEADLINE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()
        progress.warn("the nodes' process did not end in time and was killed")
        return
    left = "deleted" if options.delete_on_exit else "left behind; the same --name-prefix takes them up again"
    progress.done(f"ended; the nodes are {left}")


def _said(directory: pathlib.Path) -> str:
    """The end of the log: its messages and their causes."""
    lines = []
    for line in (directory / "log").read_text(errors="replace").splitlines()[-LINES_SHOWN:]:
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and "message" in entry:
                line = ": ".join(str(entry[key]) for key in ("message", "cause") if entry.get(key))
        lines.append(f"  {line}")
    return "\n".join(lines)


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
