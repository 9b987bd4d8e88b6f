"""The pod timeline: when each process saw or did what with each pod, as a file to be read after a measurement.

Off unless ``[telemetry] pod_timeline`` names a file; every process has one of its own. A line is
``<stage>\\t<uid>\\t<CLOCK_MONOTONIC ns>\\t<node>``: that clock is one for all processes of a machine, so that lines of
several files compare. Lines are kept in memory and written together, at least each second and when the process stops;
one that is killed loses at most the last second. Marks that cannot be written (the disk is full) are lost, and said to
be: no process ends because it is being measured. A mark costs about a microsecond, its writing included.
"""

from __future__ import annotations

import logging
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import NamedTuple

from services.base.clock import Clock

_log = logging.getLogger(__name__)

FLUSH_S = 1.0
# Formatting so many takes about two milliseconds: no longer is the event loop held up.
BUFFERED_MARKS_MAX = 4096


class Stage(StrEnum):
    """What happened to a pod, in the order of a start.

    Scheduler: ``SEEN`` (unbound, for the first time), ``SCHEDULED`` (a plan has a node for it), ``CLAIMED`` (the node's
    ledger holds its capacity), ``BOUND`` (the tenant partition has said so). Kubelet: ``NODE_SEEN`` (for the first
    time), ``STARTED`` (the runtime runs it), ``RUNNING`` (the status Running is acknowledged).

    ``RUN`` and ``END``: containers of the pod begin and end on a node, as its runtime has it; a pod that is adopted by
    another process of the same kubelet has a ``RUN`` again, without an ``END`` before.
    """

    SEEN = "seen"
    SCHEDULED = "scheduled"
    CLAIMED = "claimed"
    BOUND = "bound"
    NODE_SEEN = "node_seen"
    STARTED = "started"
    RUNNING = "running"
    RUN = "run"
    END = "end"


class Mark(NamedTuple):
    """``monotonic_ns``: nanoseconds of CLOCK_MONOTONIC. ``node``: ``<resource partition>/<name>``, "" where none is
    meant."""

    stage: Stage
    uid: str
    monotonic_ns: int
    node: str


class PodTimeline:
    """One that is off: it costs a call. ``on`` lets loops over many pods be left out."""

    on = False

    def mark(self, stage: Stage, uid: str, node: str = "") -> None:
        """It happened now."""

    def flush(self) -> None:
        """Hand what is in memory to the operating system."""

    def close(self) -> None:
        """Flush; later marks are dropped."""

    async def run(self, clock: Clock) -> None:
        """Flush now and then, until cancelled; and then once more."""


OFF = PodTimeline()


class FileTimeline(PodTimeline):
    """Appends to ``path``; what an earlier process was killed in the middle of is cut off first. Raises ``OSError``."""

    on = True

    def __init__(self, path: str | pathlib.Path, *, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._now_ns = now_ns
        self._marks: list[tuple[Stage, str, int, str]] = []
        self._path = str(path)
        self._lost = 0
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.ftruncate(self._file, _whole_bytes(self._file))
        os.lseek(self._file, 0, os.SEEK_END)

    def mark(self, stage: Stage, uid: str, node: str = "") -> None:
        marks = self._marks
        marks.append((stage, uid, self._now_ns(), node))
        if len(marks) >= BUFFERED_MARKS_MAX:
            self.flush()

    def flush(self) -> None:
        if not self._marks or self._file < 0:
            self._marks.clear()
            return
        lines = [f"{stage}\t{uid}\t{at_ns}\t{node}\n" for stage, uid, at_ns, node in self._marks]
        self._marks.clear()
        begin = os.lseek(self._file, 0, os.SEEK_CUR)
        left = memoryview("".join(lines).encode())
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as failure:
            # Half a line would spoil the next one.
            os.ftruncate(self._file, begin)
            os.lseek(self._file, begin, os.SEEK_SET)
            if not self._lost:
                _log.error("the pod timeline cannot be written", extra={"path": self._path, "cause": str(failure)})
            self._lost += len(lines)
            return
        if self._lost:
            _log.error("the pod timeline has a gap", extra={"path": self._path, "marks_lost": self._lost})
            self._lost = 0

    def close(self) -> None:
        self.flush()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    async def run(self, clock: Clock) -> None:
        try:
            while True:
                await clock.sleep(FLUSH_S)
                self.flush()
        finally:
            self.flush()


def open_timeline(path: str) -> PodTimeline:
    """``path``: the file to append to, "" for none. Raises ``OSError``."""
    return FileTimeline(path) if path else OFF


def read(path: str | pathlib.Path) -> Iterator[Mark]:
    """The marks of a file, in the order they were written. A last line that is not whole (its process was killed, or
    writes it now) is left out. Raises ``OSError``; ``ValueError`` for a file that is no timeline."""
    with pathlib.Path(path).open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith("\n"):
                return
            try:
                stage, uid, at_ns, node = line[:-1].split("\t")
                yield Mark(Stage(stage), uid, int(at_ns), node)
            except ValueError as failure:
                raise ValueError(f"{path}:{number}: not a line of a pod timeline: {line[:80]!r}") from failure


def _whole_bytes(file: int) -> int:
    """The length of a file up to and with its last line end."""
    end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - 4096)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
