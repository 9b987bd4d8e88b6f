"""Busy ports: which of the wanted ones are taken, and by whom, as far as ``/proc`` tells."""

from __future__ import annotations

import contextlib
import pathlib
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from services.cli.onebox.plan import HOST, Component
from services.cli.onebox.processes import command_of

LISTEN = "0A"


@dataclass(frozen=True)
class BusyPort:
    """A port that a component wants and another process holds; ``pid`` 0 when it cannot be told."""

    component: str
    use: str
    port: int
    pid: int = 0
    command: str = ""

    def __str__(self) -> str:
        holder = f"held by pid {self.pid} ({self.command})" if self.pid else "held by another process"
        return f"port {self.port} ({self.use} of {self.component}) is busy: {holder}"


def busy(components: Iterable[Component]) -> list[BusyPort]:
    """The wanted ports that cannot be bound now."""
    found = []
    for component in components:
        for use, port in component.ports.items():
            if not is_free(port):
                pid = holder(port)
                found.append(BusyPort(component.name, use, port, pid, command_of(pid) if pid else ""))
    return found


def is_free(port: int) -> bool:
    """Whether a server could listen there; sockets in TIME_WAIT do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def holder(port: int) -> int:
    """The pid that listens on ``port``, 0 when it cannot be told (another user's process, or none)."""
    inodes = _listening_inodes(port)
    if not inodes:
        return 0
    for directory in pathlib.Path("/proc").iterdir():
        if directory.name.isdigit() and _holds(directory / "fd", inodes):
            return int(directory.name)
    return 0


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in pathlib.Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    return inodes


def _holds(descriptors: pathlib.Path, inodes: set[str]) -> bool:
    with contextlib.suppress(OSError):
        for descriptor in descriptors.iterdir():
            with contextlib.suppress(OSError):
                if str(descriptor.readlink()) in inodes:
                    return True
    return False
