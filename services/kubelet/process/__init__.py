"""The ``process`` runtime: a container is a process group of this machine, run as the kubelet's own user.

``shim.py`` keeps one container while kubelets come and go: it starts the command, writes what it prints to the log and
records how it ended. ``ProcessRuntime`` starts shims, finds again those of an earlier kubelet, and tells the kubelet
what became of them. There is no isolation of any kind: it is for development on one machine, and off by default.
"""

from __future__ import annotations

import os
import pathlib

from services.client.timers import Timers
from services.kubelet.config import Pool
from services.kubelet.process.launch import Surroundings
from services.kubelet.process.pressure import capacity
from services.kubelet.process.runtime import ProcessRuntime, RootInUse
from services.kubelet.runtime import Listener

__all__ = ["ProcessRuntime", "RootInUse", "capacity", "make"]

LOOPBACK = "127.0.0.1"


def make(pool: Pool, address: str, timers: Timers, listener: Listener) -> ProcessRuntime:
    """The runtime of a pool's nodes, which are reached at ``address``. Raises ``RootInUse``, ``OSError``."""
    around = Surroundings(
        path=os.environ.get("PATH", os.defpath),
        home=os.environ.get("HOME", "/"),
        user=os.getuid(),
        group=os.getgid(),
        directory="/",
        address=address or LOOPBACK,
    )
    nodes = frozenset(f"{pool.resource_partition}/{name}" for name in pool.names)
    return ProcessRuntime(pathlib.Path(pool.root).absolute(), nodes, around, timers, listener)
