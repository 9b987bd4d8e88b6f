"""``ursa logs component/NAME``: the end of a component's log, and what is added to it."""

from __future__ import annotations

import sys
import threading

from services.cli.errors import Refused
from services.cli.onebox import logfiles
from services.cli.onebox.home import Home

PAUSE_S = 0.2


def show(home: Home, component: str, *, follow: bool, tail: int) -> None:
    """Print to stdout. With ``follow``, until interrupted. Raises ``Refused`` naming the logs that there are."""
    path = home.log(component)
    try:
        data, position = logfiles.tail(path, tail)
    except OSError:
        known = ", ".join(sorted(file.stem for file in home.logs.glob("*.log"))) if home.logs.is_dir() else ""
        hint = f"logs: {known}" if known else "nothing was started here; `ursa up` does"
        raise Refused(f"there is no log of {component!r} in {home.logs}", hint=hint) from None
    _write(data)
    pause = threading.Event()
    while follow:
        for added, end in logfiles.since(path, position):
            _write(added)
            position = end
        pause.wait(PAUSE_S)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
