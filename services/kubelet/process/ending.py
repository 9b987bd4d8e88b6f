"""Ending every container below a root while no kubelet runs: what becomes of containers when a machine is shut down."""

from __future__ import annotations

import contextlib
import os
import pathlib
import select
import signal

from services.base.clock import Clock
from services.kubelet.process import files

# Beyond the grace, for the keepers to write down how it went.
MARGIN_S = 5.0


def end_all(root: pathlib.Path, grace_s: float, clock: Clock) -> int:
    """SIGTERM to each container, SIGKILL after ``grace_s`` seconds; returns how many there were, when all have ended
    (or ``grace_s`` and a little more are over). A kubelet that comes back starts them again as their policies say."""
    waiting: dict[int, int] = {}
    poll = select.poll()
    for pod in files.find(root):
        for container in pod.containers():
            last = pod.last(container)
            if last is None or not last.alive:
                continue
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(last.shim)
                pod.write(container, f"{last.number}.stop", f"{grace_s:.3f}")
                signal.pidfd_send_signal(pidfd, signal.SIGTERM)
                waiting[pidfd] = last.shim
                poll.register(pidfd, select.POLLIN)
    found = len(waiting)
    deadline = clock.monotonic() + grace_s + MARGIN_S
    while waiting and (left_s := deadline - clock.monotonic()) > 0:
        for pidfd, _ in poll.poll(left_s * 1000):
            poll.unregister(pidfd)
            os.close(pidfd)
            del waiting[pidfd]
    for pidfd in waiting:
        os.close(pidfd)
    return found
