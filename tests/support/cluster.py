"""A running cluster as a test sees it: the ``ursa`` command, its status, and the processes that may be killed."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
URSA = str(pathlib.Path(sys.executable).with_name("ursa"))


@dataclass
class Cluster:
    """``arguments`` tell the command which cluster is meant; ``environment`` is added to the process' own."""

    arguments: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str, stdin: str | None = None, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """``ursa <words>`` whatever its exit code."""
        return subprocess.run(
            [URSA, *self.arguments, *words],
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**os.environ, **self.environment, "COLUMNS": "250", "NO_COLOR": "1"},
        )

    def ursa(self, *words: str, stdin: str | None = None, timeout_s: float = 120.0) -> str:
        """The standard output of ``ursa <words>``, which must succeed."""
        done = self.run(*words, stdin=stdin, timeout_s=timeout_s)
        assert done.returncode == 0, f"ursa {' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.ursa(*words, "-o", "json"))

    def items(self, *words: str) -> list[dict[str, Any]]:
        """The items of ``ursa get <words> -o json``."""
        document = self.json("get", *words)
        return list(document["items"]) if "items" in document else [document]

    def status(self) -> dict[str, Any]:
        done = self.run("status", "-o", "json")
        assert done.stdout, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document


def eventually(check: Callable[[], Any], *, within_s: float, what: str, pause_s: float = 0.2) -> Any:
    """The first true value of ``check``; fails with the last one (or its assertion) after ``within_s`` seconds."""
    deadline = time.monotonic() + within_s
    last: Any = None
    while True:
        try:
            last = check()
            if last:
                return last
        except AssertionError as failure:
            last = failure
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}; last: {last}")
        time.sleep(pause_s)


class OneBox(Cluster):
    """A one-box cluster of its own: data in ``home``, ports from a free base port, ended by ``close``."""

    def __init__(self, home: pathlib.Path, *options: str, base_port: int | None = None) -> None:
        super().__init__(environment={"URSA_HOME": str(home)})
        self.home = home
        self.base_port = base_port or free_port_range()
        self.options = options

    def up(self, *extra: str) -> str:
        return self.ursa("up", "--base-port", str(self.base_port), *self.options, *extra, timeout_s=240.0)

    def down(self) -> str:
        return self.ursa("down")

    def component(self, name: str) -> dict[str, Any]:
        return next(entry for entry in self.status()["components"] if entry["name"] == name)

    def kill(self, name: str) -> int:
        """SIGKILL a component, by the process id that its supervisor reports; returns that id."""
        pid = int(self.component(name)["pid"])
        os.kill(pid, signal.SIGKILL)
        return pid

    def logs(self, name: str) -> list[dict[str, Any]]:
        """The component's structured log lines."""
        lines: list[dict[str, Any]] = []
        for path in sorted((self.home / "logs").glob(f"{name}.log*")):
            for line in path.read_text(errors="replace").splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    lines.append(json.loads(line))
        return lines


@contextlib.contextmanager
def onebox(home: pathlib.Path, *options: str) -> Iterator[OneBox]:
    """A running one-box cluster; on leaving, every process of it has ended."""
    box = OneBox(home, *options)
    try:
        print(box.up())
        yield box
    finally:
        stopped = box.run("down")
        assert stopped.returncode == 0, stopped.stderr


def free_port_range(size: int = 110) -> int:
    """A base port with ``size`` free ports from it on, on loopback, below the ephemeral range.

    They are free until somebody takes them: who looks from another process at the same time begins elsewhere.
    """
    bases = range(18000, 30000, size)
    first = os.getpid() % len(bases)
    for base in (*bases[first:], *bases[:first]):
        if all(_free(base + offset) for offset in range(size)):
            return base
    raise AssertionError("no free port range")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
