"""What a heartbeat run is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True)
class HeartbeatParameters:
    """``nodes``: in all, spread evenly over the resource partitions and ``hosts`` kubelet processes. ``minutes``: how
    long all are held Ready, ``settle_seconds``: how long after the last became Ready that begins. ``renew_seconds``:
    between two renewals of a lease, ``lease_seconds``: how long one lasts. ``join_timeout_seconds``: until all are
    Ready; then the run is invalid."""

    nodes: int = 10_000
    minutes: float = 10.0
    tenant_partitions: int = 2
    resource_partitions: int = 2
    hosts: int = 2
    renew_seconds: float = 10.0
    lease_seconds: int = 40
    settle_seconds: float = 15.0
    join_timeout_seconds: float = 600.0

    def quick(self) -> Self:
        """Some seconds: 200 nodes of one partition that renew every two seconds."""
        return replace(
            self,
            nodes=200,
            minutes=0.1,
            tenant_partitions=1,
            resource_partitions=1,
            hosts=1,
            renew_seconds=2.0,
            lease_seconds=8,
            settle_seconds=2.0,
            join_timeout_seconds=60.0,
        )

    def problems(self) -> str:
        """What cannot be, naming the option; empty if all can."""
        if self.nodes < self.resource_partitions * self.hosts:
            return f"--nodes {self.nodes}: each of {self.hosts} hosts needs at least one in each resource partition"
        if self.lease_seconds <= self.renew_seconds:
            return f"--lease-seconds {self.lease_seconds} must be more than --renew-seconds {self.renew_seconds}"
        return ""
