"""``ursa down``."""

from __future__ import annotations

import fcntl
import os

from services.base.clock import SystemClock
from services.cli.errors import CliError
from services.cli.onebox import control, launch, processes
from services.cli.onebox.home import Home
from services.cli.onebox.progress import Progress
from services.cli.onebox.status import supervisor_state
from services.cli.waiting import until
from services.kubelet.process.ending import end_all

STOP_DEADLINE_S = 60.0
CONTAINER_GRACE_S = 5.0


def down(home: Home, progress: Progress) -> None:
    """End the supervisor and its components, or what a supervisor that died has left. Raises ``CliError``."""
    state = supervisor_state(home, fresh=False)
    if state is None:
        left = launch.end_leftovers(home)
        progress.done(f"ended {left} processes left by an earlier run" if left else f"nothing is running ({home.root})")
        _end_containers(home, progress)
        return
    progress.now(f"ending {len(state.components)} components")
    for _ in control.ask(home.socket_file, control.Request("stop"), timeout_s=STOP_DEADLINE_S):
        pass
    if not until(lambda: _is_over(home, state.pid, state.started), STOP_DEADLINE_S):
        raise CliError(f"the supervisor (pid {state.pid}) has not ended", hint=f"see {home.log('supervisor')}")
    _end_containers(home, progress)
    progress.done(f"{len(state.components)} components ended; data stays in {home.root} (`make clean` removes it)")


def _end_containers(home: Home, progress: Progress) -> None:
    """What the process runtime runs outlives its kubelet, but not the cluster."""
    if home.processes.exists():
        progress.now("ending the processes of pods")
        ended = end_all(home.processes, CONTAINER_GRACE_S, SystemClock())
        if ended:
            progress.done(f"{ended} containers ended")


def _is_over(home: Home, pid: int, started: int) -> bool:
    """The process is gone and with it its lock, so that another `up` can begin at once."""
    if processes.is_same(pid, started):
        return False
    descriptor = os.open(home.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
