"""What is left of a container whose keeper was killed: processes of its session that bear its mark."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
from collections.abc import Iterator

# In the environment of every process of a container: a session's number alone may be another's by now.
MARK = "URSA_CONTAINER_ID"


def mark(uid: str, container: str, restart: int) -> str:
    """The container's id, as in its status."""
    return f"{uid}/{container}/{restart}"


def end(session: int, of: str) -> int:
    """SIGKILL the processes of ``session`` that bear the mark ``of``; how many there were."""
    if not session:
        return 0  # Nothing was ever started in it.
    found = 0
    for pid in _members(session):
        # The pidfd first: what is looked at is then what is signalled.
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(pid)
            try:
                if f"{MARK}={of}".encode() in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    found += 1
            finally:
                os.close(pidfd)
    return found


def _members(session: int) -> Iterator[int]:
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if os.getsid(int(entry.name)) == session:
                    yield int(entry.name)
