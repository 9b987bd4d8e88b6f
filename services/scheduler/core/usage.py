"""What is placed where: the part of a snapshot that every placement changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from services.scheduler.core.arrays import Ints, frozen, grown
from services.scheduler.core.census import Census, CensusView
from services.scheduler.core.pods import PODS, PodClass
from services.scheduler.core.ports import PortLedger

# The resources of ``Usage.scoring``, in the order of ``PodClass.scoring_requests``.
SCORED_RESOURCES = ("cpu", "memory")


class Spread:
    """How many pods of each tenant (and of all) this scheduler has in each resource partition.

    Among equally good nodes the partition with the fewest pods of the pod's tenant comes first, then the one with the
    fewest of all: schedulers that do not see each other's pods spread out, and so does every tenant.
    """

    def __init__(self) -> None:
        self.by_tenant: dict[str, list[int]] = {}
        self.total: list[int] = []

    def resize(self, partitions: int) -> None:
        for counts in (self.total, *self.by_tenant.values()):
            counts.extend([0] * (partitions - len(counts)))

    def of(self, tenant: str) -> list[int]:
        """The counts of ``tenant`` by partition code; the list is the live one."""
        counts = self.by_tenant.get(tenant)
        if counts is None:
            counts = self.by_tenant[tenant] = [0] * len(self.total)
        return counts

    def add(self, tenant: str, partition: int, pods: int) -> None:
        self.of(tenant)[partition] += pods
        self.total[partition] += pods

    def copy(self) -> Spread:
        twin = Spread()
        twin.by_tenant = {tenant: counts.copy() for tenant, counts in self.by_tenant.items() if any(counts)}
        twin.total = self.total.copy()
        return twin


class Usage:
    """Sums of what the pods on each row request: int64 in canonical units, so adding and taking away are exact.

    ``requested`` has the shape of ``NodeColumns.allocatable``; ``scoring`` is (cpu, memory) with the defaults for pods
    that ask for nothing, shape (2, rows). ``census`` is who these pods are.
    """

    def __init__(self, resources: Mapping[str, int], rows: int, census: Census) -> None:
        self.resources = resources
        self.requested: Ints = np.zeros((len(resources), rows), dtype=np.int64)
        self.scoring: Ints = np.zeros((len(SCORED_RESOURCES), rows), dtype=np.int64)
        self.ports = PortLedger()
        self.spread = Spread()
        self.census: Census | CensusView = census
        census.resize(rows)

    @property
    def pods(self) -> Ints:
        """Pods per row."""
        counts: Ints = self.requested[self.resources[PODS]]
        return counts

    def resize(self, rows: int) -> None:
        """Make room for ``rows`` rows and for every resource of ``resources``."""
        if len(self.resources) > len(self.requested):
            extra = np.zeros((len(self.resources) - len(self.requested), self.requested.shape[1]), dtype=np.int64)
            self.requested = np.concatenate((self.requested, extra))
        if rows > self.requested.shape[1]:
            self.requested = grown(self.requested, rows, 0)
            self.scoring = grown(self.scoring, rows, 0)
            if isinstance(self.census, Census):
                self.census.resize(rows)

    def add(self, pods: PodClass, rows: Sequence[int], times: int = 1) -> None:
        """Count a pod of class ``pods`` on each of ``rows`` (which may repeat); ``times`` = -1 takes it away."""
        self.census.add(pods, rows, times)
        index = np.asarray(rows, dtype=np.int64)
        for resource, amount in pods.requests.items():
            np.add.at(self.requested[self.resources[resource]], index, amount * times)
        for resource_index, amount in enumerate(pods.scoring_requests):
            np.add.at(self.scoring[resource_index], index, amount * times)
        if pods.host_ports:
            change = self.ports.take if times > 0 else self.ports.release
            for row in rows:
                change(row, pods.host_ports)

    def without(self, gone: Iterable[tuple[PodClass, int]]) -> Usage:
        """A working copy in which one pod of each (class, row) is not there."""
        twin = self.copy()
        for pods, row in gone:
            twin.add(pods, (row,), -1)
        return twin

    def clear(self, row: int, placed: Iterable[PodClass]) -> None:
        """Nothing is placed on ``row`` any more: the pods ``placed`` were."""
        for pods in placed:
            self.census.add(pods, (row,), -1)
        self.requested[:, row] = 0
        self.scoring[:, row] = 0
        self.ports.clear(row)

    def copy(self) -> Usage:
        """A working copy."""
        twin = Usage.__new__(Usage)
        twin.resources = self.resources
        twin.requested = self.requested.copy()
        twin.scoring = self.scoring.copy()
        twin.ports = self.ports.copy()
        twin.spread = self.spread.copy()
        twin.census = self.census.view()
        return twin

    def freeze(self) -> Usage:
        """A copy whose sums cannot be written to."""
        twin = self.copy()
        frozen(twin.requested)
        frozen(twin.scoring)
        return twin
