"""What processes use, from ``/proc``: CPU time and resident memory."""

from __future__ import annotations

import asyncio
import os
import pathlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

from services.bench.report import Figure

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SAMPLE_PERIOD_S = 0.02


def cpu_s(pid: int) -> float:
    """CPU seconds (user and system) of a process and its threads; 0 if it is gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    return _cpu_s_of(text)


def _cpu_s_of(stat: str) -> float:
    # The command's name stands in parentheses and may hold blanks and parentheses itself.
    fields = stat[stat.rindex(")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def machine_busy_s() -> float:
    """CPU seconds that all processes of the machine have used since it started, and that its host took away (steal)."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    idle, waiting = 3, 4
    return sum(int(value) for at, value in enumerate(fields[:8]) if at not in (idle, waiting)) / _TICKS_PER_S


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 if it is gone."""
    try:
        return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


@dataclass(frozen=True)
class Interval:
    """What went by between two marks: ``wall_s``, and CPU seconds by name."""

    wall_s: float
    cpu_s: Mapping[str, float]

    def figures(self, phase: str) -> dict[str, Figure]:
        """``<phase>_<name>_cpu_share``: 1 is one core all the time."""
        return {f"{phase}_{name}_cpu_share": Figure(used / self.wall_s, "cores") for name, used in self.cpu_s.items()}


class Meter:
    """Marks of the CPU that named groups of processes have used. Name → pids; the bench's own is ``os.getpid()``."""

    def __init__(self, groups: Mapping[str, tuple[int, ...]]) -> None:
        self._groups = groups
        self._began = time.perf_counter()
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        return {name: sum(map(cpu_s, pids)) for name, pids in self._groups.items()}

    def stop(self) -> Interval:
        used = {name: max(0.0, now - self._before[name]) for name, now in self._now().items()}
        return Interval(time.perf_counter() - self._began, used)


async def peak_resident_bytes(pid: int, done: asyncio.Event) -> int:
    """The highest resident memory of a process, looked at 50 times a second until ``done``."""
    peak = resident_bytes(pid)
    while not done.is_set():
        peak = max(peak, resident_bytes(pid))
        await asyncio.sleep(SAMPLE_PERIOD_S)
    return max(peak, resident_bytes(pid))
