"""Where the partitions are: the context file that ``ursa up`` writes (``.ursa/cluster.json``)."""

from __future__ import annotations

import os
import pathlib
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from services.cli.errors import UsageError

PartitionKind = Literal["tenant", "resource"]


@dataclass(frozen=True)
class Partition:
    """One partition as a client sees it: ``endpoint`` is host:port of its API server, the others are for people."""

    name: str
    kind: PartitionKind
    endpoint: str
    etcd: str = ""
    metrics: str = ""


@dataclass(frozen=True)
class Context:
    """Every partition of a cluster and the name of the resource partition that holds the TenantPlacement objects."""

    partitions: tuple[Partition, ...]
    placement_home: str

    @property
    def tenant_partitions(self) -> tuple[Partition, ...]:
        return tuple(partition for partition in self.partitions if partition.kind == "tenant")

    @property
    def resource_partitions(self) -> tuple[Partition, ...]:
        return tuple(partition for partition in self.partitions if partition.kind == "resource")

    @property
    def home(self) -> Partition:
        """The partition that knows which tenant lives where. Raises ``UsageError`` when the file names none."""
        for partition in self.partitions:
            if partition.name == self.placement_home:
                return partition
        raise UsageError(f"the context names no placement home called {self.placement_home!r}")

    def partition(self, name: str) -> Partition:
        """Raises ``UsageError`` naming those that exist."""
        for partition in self.partitions:
            if partition.name == name:
                return partition
        known = ", ".join(partition.name for partition in self.partitions)
        raise UsageError(f"there is no partition {name!r}", hint=f"partitions of this cluster: {known}")


def default_path() -> pathlib.Path:
    """``URSA_CONTEXT``, else ``cluster.json`` in ``URSA_HOME``, else in ``.ursa`` of the working directory."""
    named = os.environ.get("URSA_CONTEXT")
    if named:
        return pathlib.Path(named)
    return pathlib.Path(os.environ.get("URSA_HOME") or ".ursa") / "cluster.json"


def load(path: pathlib.Path | None = None) -> Context:
    """Read a context file. Raises ``UsageError`` saying how to get one."""
    file = path or default_path()
    try:
        return parse(file.read_bytes(), source=str(file))
    except FileNotFoundError:
        raise UsageError(
            f"there is no cluster at {file}",
            hint="start one with `ursa up`, or name another with --context FILE (or URSA_CONTEXT)",
        ) from None
    except OSError as failure:
        raise UsageError(f"{file} cannot be read: {failure.strerror}") from failure


def parse(data: bytes, *, source: str) -> Context:
    """Parse the file's JSON; fields that only ``ursa up`` needs are ignored. Raises ``UsageError``."""
    try:
        return msgspec.json.decode(data, type=Context)
    except msgspec.DecodeError as failure:
        raise UsageError(f"{source} is no context file: {failure}") from failure


def dump(context: Context, extra: dict[str, Any]) -> bytes:
    """The file's content: the context and what ``ursa up`` remembers beside it."""
    document = {**msgspec.to_builtins(context), **extra}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
