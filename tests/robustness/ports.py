"""Ports that stay a run's own while its processes are down: a block of them, held by a socket on its first."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

PORTS = range(18_400, 18_700)
BLOCK = 20


class PortBlock:
    """``take`` gives one port after the other."""

    def __init__(self, base: int) -> None:
        self._free = iter(range(base + 1, base + BLOCK))

    def take(self) -> int:
        return next(self._free)


@contextlib.contextmanager
def port_block() -> Iterator[PortBlock]:
    """A block that no other run has, whatever of it is in use at the moment."""
    bases = list(PORTS[::BLOCK])
    first = os.getpid() % len(bases)
    for base in (*bases[first:], *bases[:first]):
        with socket.socket() as holder:
            try:
                holder.bind(("127.0.0.1", base))
            except OSError:
                continue
            yield PortBlock(base)
            return
    raise RuntimeError(f"no free block in {PORTS}")
