"""Where the process runtime keeps what: one directory per pod, one below it per container, files per start of it.

``<root>/pods/<tenant>_<namespace>_<name>_<uid>/<container>/<n>.log``. The UID makes the pod's directory its own:
pods of the same name, of other tenants, of other partitions, or made again later, never share one. None of the four
names can hold an underscore, so the parts are plain.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.kubelet.process import shim
from services.kubelet.runtime import Leftover

POD_FILE = "pod.json"


@dataclass(frozen=True)
class Attempt:
    """One start of a container, as its shim has written it down. Times are seconds since the Unix epoch.

    ``exit_code`` is None while it runs or if nobody came to record the end; ``alive``: its shim is there.
    """

    number: int
    alive: bool
    shim: int
    pid: int
    started_s: float
    finished_s: float
    exit_code: int | None
    signal: int
    reason: str
    message: str


class PodFiles:
    """A pod's directory."""

    def __init__(self, directory: pathlib.Path, pod: Leftover) -> None:
        self.directory = directory
        self.pod = pod

    def container(self, name: str) -> pathlib.Path:
        return self.directory / name

    def containers(self) -> list[str]:
        """The names of those that were ever started."""
        try:
            return sorted(entry.name for entry in os.scandir(self.directory) if entry.is_dir())
        except OSError:
            return []  # Somebody removed it by hand.

    def attempts(self, container: str) -> list[int]:
        """The starts that there are files of, in order."""
        try:
            names = [entry.name for entry in os.scandir(self.container(container))]
        except OSError:
            return []
        return sorted(int(name.removesuffix(".json")) for name in names if name.endswith(".json"))

    def read(self, container: str, number: int) -> Attempt | None:
        """None: no shim has taken it on."""
        try:
            state: dict[str, Any] = json.loads((self.container(container) / f"{number}.json").read_text())
        except (OSError, ValueError):
            return None
        return Attempt(
            number,
            is_alive(state),
            int(state["shim"]),
            int(state.get("pid", 0)),
            state.get("started_ns", 0) / 1e9,
            state.get("finished_ns", 0) / 1e9,
            state.get("exit_code"),
            int(state.get("signal", 0)),
            str(state.get("reason", "")),
            str(state.get("message", "")),
        )

    def last(self, container: str) -> Attempt | None:
        """The newest start."""
        numbers = self.attempts(container)
        return self.read(container, numbers[-1]) if numbers else None

    def log(self, container: str, number: int) -> pathlib.Path:
        return self.container(container) / f"{number}.log"

    def write(self, container: str, name: str, text: str) -> None:
        """Replace a file of the container, whole. Raises ``OSError``."""
        path = self.container(container) / name
        temporary = path.with_name(f".{name}.new")
        temporary.write_text(text)
        temporary.replace(path)

    def clear_before(self, container: str, number: int) -> None:
        """Remove the files of starts before ``number``."""
        for entry in self.container(container).iterdir():
            head = entry.name.split(".", 1)[0]
            if head.isdecimal() and int(head) < number:
                entry.unlink(missing_ok=True)

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


def make(root: pathlib.Path, pod: Pod, partition: str) -> PodFiles:
    """The pod's directory, made if it is not there. Raises ``OSError``."""
    metadata = pod.metadata
    names = Leftover(metadata.uid, metadata.tenant, metadata.namespace, metadata.name, partition, node_of(pod))
    directory = root / "pods" / f"{names.tenant}_{names.namespace}_{names.name}_{names.uid}"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (directory / POD_FILE).exists():
        temporary = directory / f".{POD_FILE}.new"
        temporary.write_text(json.dumps(names._asdict()))
        temporary.replace(directory / POD_FILE)
    return PodFiles(directory, names)


def node_of(pod: Pod) -> str:
    """The node as it is named where two partitions may have one of the same name."""
    return f"{pod.spec.resource_partition}/{pod.spec.node_name}"


def find(root: pathlib.Path) -> Iterator[PodFiles]:
    """Every pod that there is a directory of."""
    with contextlib.suppress(FileNotFoundError):
        for directory in sorted((root / "pods").iterdir()):
            try:
                names = Leftover(**json.loads((directory / POD_FILE).read_text()))
            except (OSError, ValueError, TypeError):
                continue  # Made, and not yet named: nothing was started in it.
            yield PodFiles(directory, names)


def is_alive(state: dict[str, Any]) -> bool:
    """Whether the shim that wrote ``state`` is there: its pid, start time and boot together, never a reused pid."""
    ticks = shim.start_ticks(int(state["shim"]))
    return ticks is not None and ticks == state["shim_ticks"] and state["boot_id"] == shim.boot_id()
