"""Facts about processes from ``/proc``, so that a recorded pid is only taken for the process it was recorded for."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
# Loaded before any fork: the child between fork and exec must not import or allocate more than it has to.
_LIBC = ctypes.CDLL(None, use_errno=True)


def start_ticks(pid: int) -> int | None:
    """When the process began, in clock ticks since boot: with the pid it names one process for good. None: gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command's name stands in parentheses and may hold blanks and parentheses itself.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def is_same(pid: int, ticks: int) -> bool:
    """Whether ``pid`` is still the process that began at ``ticks``."""
    return pid > 0 and start_ticks(pid) == ticks


def command_of(pid: int) -> str:
    """The command line, shortened; the empty string when it cannot be read."""
    with contextlib.suppress(OSError):
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        text = " ".join(word.decode(errors="replace") for word in words if word)
        return text if len(text) <= 80 else text[:77] + "..."
    return ""


def die_with(parent: int) -> Callable[[], None]:
    """For ``preexec_fn``: the kernel ends the child when ``parent`` is gone, even by SIGKILL (prctl(2))."""

    def prepare() -> None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died between the fork and the call above
            os._exit(1)

    return prepare


def signal_group(pid: int, ticks: int, number: signal.Signals) -> bool:
    """Signal the process group that ``pid`` leads, if it is still that process. False: it is gone."""
    if not is_same(pid, ticks):
        return False
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
