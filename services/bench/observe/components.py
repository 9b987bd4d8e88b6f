"""Which processes a one-box has now, from the file that its supervisor keeps: cheap to look at, and right at once after
a restart."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HOST = "127.0.0.1"
OWN = "bench"


@dataclass(frozen=True)
class Process:
    """``pid`` 0: it is down. ``metrics``: host:port, empty for none."""

    name: str
    kind: str
    partition: str
    pid: int
    metrics: str

    @property
    def is_etcd(self) -> bool:
        return self.kind == "etcd"

    @property
    def is_server(self) -> bool:
        return self.kind in ("tenant-partition", "resource-partition")


class Roster:
    """The components of the one-box at ``home``; ``now`` reads the file again only if it was written since."""

    def __init__(self, home: pathlib.Path) -> None:
        self._file = home / "run" / "supervisor.json"
        self._written = (0, 0)
        self._processes: Mapping[str, Process] = {}

    def now(self) -> Mapping[str, Process]:
        """By name. What was known last, if the file cannot be read (it is being replaced)."""
        try:
            stat = self._file.stat()
            if (stat.st_mtime_ns, stat.st_ino) != self._written:
                self._processes = processes(json.loads(self._file.read_bytes()))
                self._written = (stat.st_mtime_ns, stat.st_ino)
        except (OSError, ValueError):
            pass
        return self._processes


def processes(document: Mapping[str, Any]) -> dict[str, Process]:
    """From the supervisor's document."""
    found = {}
    for entry in document["components"]:
        ports = entry.get("ports", {})
        # etcd exports its metrics where its clients connect.
        port = ports.get("metrics") or (ports.get("client") if entry["kind"] == "etcd" else None)
        found[entry["name"]] = Process(
            entry["name"], entry["kind"], entry["partition"], entry["pid"], f"{HOST}:{port}" if port else ""
        )
    return found
