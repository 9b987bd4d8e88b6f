"""A node as the host has it: its kubelet, the runtime under it, and what troubles it now."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import TypeAlias

from services.kubelet.instructions import ClaimCapacity, ConfirmRemoval, Instruction, Record, ReportStatus
from services.kubelet.kubelet import Kubelet
from services.kubelet.runtime import ContainerRuntime, Runtime

_Said: TypeAlias = ReportStatus | ClaimCapacity | ConfirmRemoval


class Disturbance(enum.Enum):
    """``DEATH``: the machine and all that ran on it are gone; it comes back empty. ``CUT``: the kubelet reaches no
    partition, its containers run on. ``CRASH``: the kubelet's memory is gone, its containers are still there."""

    DEATH = "death"
    CUT = "cut"
    CRASH = "crash"


class Trouble:
    """A disturbance that goes on. What a kubelet that is cut off would say is kept, the last of each kind per pod."""

    __slots__ = ("_withheld", "kind")

    def __init__(self, kind: Disturbance) -> None:
        self.kind = kind
        self._withheld: dict[tuple[type, str], _Said] = {}

    def withhold(self, instruction: Instruction) -> bool:
        """Keep what goes to a partition; True: it must not be carried out now. Events are lost."""
        match instruction:
            case ReportStatus(_, uid) | ClaimCapacity(_, uid):
                self._withheld[type(instruction), uid] = instruction
            case ConfirmRemoval(_, pod):
                self._withheld[ConfirmRemoval, pod.metadata.uid] = instruction
            case _:
                return isinstance(instruction, Record)
        return True

    def withheld(self) -> Iterator[_Said]:
        return iter(self._withheld.values())


class Machine:
    """``number``: its place among the host's nodes. ``trouble`` is None most of the time.

    ``containers``: the runtime, if it runs each container by itself.
    """

    __slots__ = ("containers", "kubelet", "number", "runtime", "trouble")

    def __init__(self, number: int, kubelet: Kubelet, runtime: Runtime | ContainerRuntime) -> None:
        self.number = number
        self.kubelet = kubelet
        self.runtime = runtime
        self.containers = runtime if isinstance(runtime, ContainerRuntime) else None
        self.trouble: Trouble | None = None

    @property
    def name(self) -> str:
        return self.kubelet.facts.name

    @property
    def resource_partition(self) -> str:
        return self.kubelet.facts.resource_partition

    @property
    def dead(self) -> bool:
        return self.trouble is not None and self.trouble.kind is Disturbance.DEATH

    @property
    def cut(self) -> bool:
        """It lives but reaches nobody."""
        return self.trouble is not None and self.trouble.kind is Disturbance.CUT
