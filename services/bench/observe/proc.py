"""One process as ``/proc`` shows it (proc(5)): two small files per look."""

from __future__ import annotations

import os
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """``cpu_s``: user and system seconds since the process began. ``written_bytes``: what it has caused to be written
    to storage (``write_bytes`` less ``cancelled_write_bytes`` of ``/proc/PID/io``): whole pages, each time it is made
    dirty; NaN where the kernel does not tell. ``started``: clock ticks since boot; with the pid it names one process.
    """

    cpu_s: float
    resident_bytes: float
    threads: int
    written_bytes: float
    started: int


def usage(pid: int) -> Usage | None:
    """None if the process is gone."""
    try:
        stat = _read(f"/proc/{pid}/stat")
    except OSError:
        return None
    # The command's name stands in parentheses and may hold blanks and parentheses itself.
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    try:
        written = written_bytes(_read(f"/proc/{pid}/io").decode())
    except OSError:
        written = float("nan")
    return Usage(
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS_PER_S,
        resident_bytes=float(int(fields[21]) * _PAGE_BYTES),
        threads=int(fields[17]),
        written_bytes=written,
        started=int(fields[19]),
    )


def written_bytes(text: str) -> float:
    """Of the text of ``/proc/PID/io``."""
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    return float(int(fields["write_bytes"]) - int(fields.get("cancelled_write_bytes", "0")))


def _read(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, 4096)
    finally:
        os.close(file)
