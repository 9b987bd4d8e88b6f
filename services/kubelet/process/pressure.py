"""What the kernel says of this machine: its size, and whether something of it runs short.

Thresholds are the kubelet's default hard eviction thresholds (``pkg/kubelet/apis/config/v1beta1/defaults_linux.go``);
of process ids, which have none there, a tenth.
"""

from __future__ import annotations

import logging
import os
import pathlib
import tempfile
from collections.abc import Callable
from typing import Protocol

from services.kubelet.health import Health, health

_log = logging.getLogger(__name__)

MEMORY_KIB_MIN = 100 * 1024
DISK_SHARE_MIN = 0.10
INODES_SHARE_MIN = 0.05
PIDS_SHARE_MIN = 0.10
# A shortage counts until it has been over for so long (the kubelet's evictionPressureTransitionPeriod).
OVER_AFTER_S = 300.0
PODS_MAX = "110"


class FileSystem(Protocol):
    """As ``os.statvfs`` tells of one."""

    @property
    def f_blocks(self) -> int: ...

    @property
    def f_bavail(self) -> int: ...

    @property
    def f_files(self) -> int: ...

    @property
    def f_favail(self) -> int: ...


def capacity(proc: pathlib.Path = pathlib.Path("/proc")) -> dict[str, str]:
    """Of the whole machine, as quantities. Raises ``OSError``, ``ValueError`` where the kernel does not tell."""
    return {"cpu": str(os.cpu_count() or 1), "memory": f"{_meminfo_kib(proc, 'MemTotal')}Ki", "pods": PODS_MAX}


class Pressure:
    """``measure`` blocks. ``root``: the directory whose file system counts."""

    def __init__(
        self,
        root: pathlib.Path,
        *,
        proc: pathlib.Path = pathlib.Path("/proc"),
        statvfs: Callable[[pathlib.Path], FileSystem] = os.statvfs,
    ) -> None:
        self._root = root
        self._proc = proc
        self._statvfs = statvfs
        self._short_at: dict[str, float] = {}

    def measure(self, now_s: float) -> Health:
        """``now_s``: monotonic."""
        checks = {"memory": self._memory_is_short, "disk": self._disk_is_short, "pids": self._pids_are_short}
        found = {what: self._lately(what, is_short, now_s) for what, is_short in checks.items()}
        return health(memory=found["memory"], disk=found["disk"], pids=found["pids"], unready=self._unready())

    def _lately(self, what: str, is_short: Callable[[], bool], now_s: float) -> bool:
        try:
            if is_short():
                self._short_at[what] = now_s
        except (OSError, ValueError, IndexError) as failure:
            # What cannot be measured is not called short: pods would be kept from the node for ever.
            _log.warning("not measured", extra={"what": what, "cause": str(failure)})
        return now_s - self._short_at.get(what, float("-inf")) < OVER_AFTER_S

    def _memory_is_short(self) -> bool:
        return _meminfo_kib(self._proc, "MemAvailable") < MEMORY_KIB_MIN

    def _disk_is_short(self) -> bool:
        found = self._statvfs(self._root)
        # Some file systems count no inodes.
        return found.f_bavail < DISK_SHARE_MIN * found.f_blocks or found.f_favail < INODES_SHARE_MIN * found.f_files

    def _pids_are_short(self) -> bool:
        kernel = self._proc / "sys/kernel"
        most = min(int((kernel / name).read_text()) for name in ("pid_max", "threads-max"))
        there = int((self._proc / "loadavg").read_text().split()[3].partition("/")[2])
        return most - there < PIDS_SHARE_MIN * most

    def _unready(self) -> str:
        try:
            with tempfile.NamedTemporaryFile(dir=self._root, prefix=".writable-"):
                return ""
        except OSError as failure:
            return f"container runtime is not ready: nothing can be written in {self._root}: {failure.strerror}"


def _meminfo_kib(proc: pathlib.Path, name: str) -> int:
    for line in (proc / "meminfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    raise ValueError(f"no {name} in {proc / 'meminfo'}")
