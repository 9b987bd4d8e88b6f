"""The data directory of a one-box: where everything lies that ``ursa up`` writes."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
from dataclasses import dataclass


@dataclass(frozen=True)
class Home:
    """Paths below one directory, ``.ursa`` by default."""

    root: pathlib.Path

    @classmethod
    def at(cls, directory: pathlib.Path | None) -> Home:
        """``directory``, else ``URSA_HOME``, else ``.ursa`` in the working directory; always absolute."""
        return cls((directory or pathlib.Path(os.environ.get("URSA_HOME") or ".ursa")).absolute())

    @property
    def config(self) -> pathlib.Path:
        return self.root / "config"

    @property
    def logs(self) -> pathlib.Path:
        return self.root / "logs"

    @property
    def run(self) -> pathlib.Path:
        return self.root / "run"

    @property
    def etcd(self) -> pathlib.Path:
        return self.root / "etcd"

    @property
    def timelines(self) -> pathlib.Path:
        """What schedulers and kubelets did with each pod, if they were asked to write it."""
        return self.root / "timelines"

    @property
    def processes(self) -> pathlib.Path:
        """What the process runtime keeps: logs of pods, and what it must know after a restart."""
        return self.root / "processes"

    @property
    def context_file(self) -> pathlib.Path:
        return self.root / "cluster.json"

    @property
    def plan_file(self) -> pathlib.Path:
        return self.run / "plan.json"

    @property
    def state_file(self) -> pathlib.Path:
        return self.run / "supervisor.json"

    @property
    def lock_file(self) -> pathlib.Path:
        return self.run / "supervisor.lock"

    @property
    def socket_file(self) -> pathlib.Path:
        return self.run / "control.sock"

    def log(self, component: str) -> pathlib.Path:
        return self.logs / f"{component}.log"

    def make(self) -> None:
        """Create the directories. Raises ``OSError``."""
        for directory in (self.root, self.config, self.logs, self.run, self.etcd, self.timelines):
            directory.mkdir(parents=True, exist_ok=True)


def write_atomically(path: pathlib.Path, data: bytes) -> None:
    """Readers see the old content or the new one, never a part. Raises ``OSError``."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        pathlib.Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            pathlib.Path(temporary).unlink()
        raise
