"""What a run is asked for, and the times that follow from it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Self

from services.bench.chaos.facts import Bounds

# A fault whose evictions take longer than this goes on in the background while the others come in turn.
BACKGROUND_S = 60.0


@dataclass(frozen=True)
class ChaosParameters:
    """``nodes``: in all, spread over the resource partitions. ``minutes``: how long faults are begun; at least one
    round of them is finished whatever it takes. ``rate``: short batch pods per second, ``batch_seconds`` each at most.
    ``workloads``: per tenant partition, of ``replicas`` pods. ``death_share``: of the nodes of a resource partition, at
    least one. ``faults``: by name, empty for all. ``grace_s``: how long a node may be silent, ``toleration_s``: how
    long pods bear that. ``base_port`` 0: free ones are found.
    """

    nodes: int = 200
    minutes: float = 10.0
    seed: int = 0
    faults: tuple[str, ...] = ()
    rate: float = 20.0
    batch_seconds: float = 20.0
    death_share: float = 0.01
    workloads: int = 10
    replicas: int = 8
    grace_s: float = 50.0
    toleration_s: float = 300.0
    evictions_per_s: float = 0.1
    slack_s: float = 10.0
    comeback_s: float = 60.0
    tenant_partitions: int = field(default=2, init=False)
    resource_partitions: int = field(default=2, init=False)
    base_port: int = 0

    def quick(self) -> Self:
        """Every fault once, in some minutes, with short times."""
        return replace(
            self,
            nodes=40,
            minutes=0.0,
            rate=5.0,
            batch_seconds=8.0,
            workloads=6,
            replicas=8,
            grace_s=8.0,
            toleration_s=2.0,
            evictions_per_s=2.0,
            slack_s=8.0,
        )

    @property
    def renew_s(self) -> float:
        return min(10.0, self.grace_s / 5)

    @property
    def monitor_s(self) -> float:
        return min(5.0, self.grace_s / 10)

    @property
    def blind_s(self) -> float:
        """After so long without a sign that it sees heartbeats the controller trusts nothing that it has."""
        return min(8.0, 0.4 * self.grace_s)

    @property
    def bounds(self) -> Bounds:
        return Bounds(
            grace_s=self.grace_s,
            renew_s=self.renew_s,
            monitor_s=self.monitor_s,
            toleration_s=self.toleration_s,
            evictions_per_s=self.evictions_per_s,
            comeback_s=self.comeback_s,
            slack_s=self.slack_s,
        )

    @property
    def dying(self) -> int:
        """Nodes of a resource partition that a fault takes."""
        return max(1, math.ceil(self.nodes // self.resource_partitions * self.death_share))

    @property
    def eviction_s(self) -> float:
        return self.bounds.eviction_s(self.dying)

    @property
    def in_background(self) -> bool:
        return self.eviction_s > BACKGROUND_S

    @property
    def away_s(self) -> float:
        """How long nodes are taken away: until their pods must have been evicted; in the background, the whole run."""
        least_s = self.eviction_s + 1.0
        return max(least_s, 60.0 * self.minutes) if self.in_background else least_s

    @property
    def review_s(self) -> float:
        """How long a claim may be without a pod before its partition is asked."""
        return min(60.0, 2 * self.grace_s)

    @property
    def outage_s(self) -> float:
        """How long something is frozen or cut off so that the grace is over in any case."""
        return self.grace_s + self.renew_s + 2 * self.monitor_s

    def settings(self) -> list[str]:
        """The clusters' times as ``COMPONENT.field=value`` of ``ursa up --set``."""
        kubelet = {
            "timing.lease_duration_s": max(1, math.ceil(0.8 * self.grace_s)),
            "timing.lease_renew_s": self.renew_s,
            "timing.node_status_compute_s": self.renew_s,
        }
        controller = {
            "nodes.monitor_period_s": self.monitor_s,
            "nodes.grace_s": self.grace_s,
            "nodes.startup_grace_s": max(1.2 * self.grace_s, self.blind_s),
            "nodes.eviction_rate_per_s": self.evictions_per_s,
            "nodes.pulse_period_s": min(2.0, self.blind_s / 3),
            "nodes.blind_after_s": self.blind_s,
            "claims.claim_review_after_s": self.review_s,
        }
        found = [f"kubelet.{name}={value}" for name, value in kubelet.items()]
        for number in range(1, self.resource_partitions + 1):
            found += [f"controller-rp-{number}.{name}={value}" for name, value in controller.items()]
        return found
