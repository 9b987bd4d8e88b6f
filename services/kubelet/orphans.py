"""Containers whose kubelet has crashed within its host, until its next life knows of them again."""

from __future__ import annotations

from services.kubelet.machine import Machine
from services.kubelet.runtime import RuntimeEvent, RuntimeEventType
from services.kubelet.worker import Stage


class _Orphan:
    """``missed``: it ended while nobody listened; ``stopping``: nobody wants it any more."""

    __slots__ = ("machine", "missed", "partition", "stopping")

    def __init__(self, machine: Machine, partition: str) -> None:
        self.machine = machine
        self.partition = partition
        self.missed: RuntimeEvent | None = None
        self.stopping = False


class Orphans:
    """By pod UID."""

    def __init__(self) -> None:
        self._pods: dict[str, _Orphan] = {}

    def __len__(self) -> int:
        return len(self._pods)

    def leave(self, machine: Machine) -> None:
        """The machine's kubelet has crashed: what it ran has nobody now."""
        for uid, worker in machine.kubelet.workers.items():
            if worker.stage not in (Stage.CLAIMING, Stage.ENDED):
                self._pods[uid] = _Orphan(machine, worker.partition)

    def take(self, uid: str) -> RuntimeEvent | None:
        """The kubelet knows of the pod again; how its containers ended meanwhile, if they did."""
        orphan = self._pods.pop(uid, None)
        return None if orphan is None else orphan.missed

    def hear(self, event: RuntimeEvent) -> bool:
        """A runtime tells of a pod that no kubelet knows; False: it is no orphan either."""
        orphan = self._pods.get(event.uid)
        if orphan is None:
            return False
        if orphan.stopping and event.type is not RuntimeEventType.STARTED:
            del self._pods[event.uid]
        elif event.type is not RuntimeEventType.STARTED:
            orphan.missed = event._replace(type=RuntimeEventType.EXITED)
        return True

    def unwanted(self, machine: Machine, partition: str) -> list[str]:
        """The machine has seen all its pods of ``partition``: those that were not among them, which are to be stopped.

        (``pkg/kubelet`` HandlePodCleanups.)
        """
        if not self._pods:
            return []
        found = []
        for uid, orphan in list(self._pods.items()):
            if orphan.machine is not machine or orphan.partition != partition or orphan.stopping:
                continue
            if uid in machine.kubelet.workers:
                continue  # Known again, and waiting for its claim.
            if orphan.missed is not None:
                del self._pods[uid]
            else:
                orphan.stopping = True
                found.append(uid)
        return found

    def drop(self, machine: Machine) -> list[str]:
        """The machine itself is gone: the pods that go with it."""
        gone = [uid for uid, orphan in self._pods.items() if orphan.machine is machine]
        for uid in gone:
            del self._pods[uid]
        return gone
