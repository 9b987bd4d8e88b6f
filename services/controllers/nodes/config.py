"""The configuration of the node controllers: the section ``[nodes]``."""

from __future__ import annotations

from dataclasses import dataclass

_POSITIVE = (
    "monitor_period_s",
    "grace_s",
    "startup_grace_s",
    "pulse_period_s",
    "blind_after_s",
    "confirmed_for_s",
    "call_timeout_s",
    "backoff_max_s",
    "events_per_s",
)


@dataclass(frozen=True)
class NodesConfig:
    """Node life cycle. Times in seconds, rates in nodes per second, sizes in objects. Kubernetes' defaults.

    ``monitor_period_s``: between two looks at all nodes. ``grace_s``: a node silent for so long is lost;
    ``startup_grace_s``: one that never reported a status. ``eviction_rate_per_s``: nodes of a zone that are tainted
    NoExecute per second; ``secondary_eviction_rate_per_s``: in a zone of which ``unhealthy_zone_threshold`` or more is
    lost, if it has more than ``large_zone_nodes`` (none in a smaller one).

    ``pulse_period_s``: how often this process proves that it sees heartbeats; ``blind_after_s``: after so long without
    a proof nothing counts as seen, and every node's time begins anew. ``confirmed_for_s``: how long a consistent read
    of a node justifies deletions. ``batch_nodes``, ``batch_pods``: objects per call. ``events_per_s``: at most so
    many are written to a partition. Raises ``ValueError`` for what cannot be.
    """

    enabled: bool = True
    monitor_period_s: float = 5.0
    grace_s: float = 50.0
    startup_grace_s: float = 60.0
    eviction_rate_per_s: float = 0.1
    secondary_eviction_rate_per_s: float = 0.01
    unhealthy_zone_threshold: float = 0.55
    large_zone_nodes: int = 50
    pulse_period_s: float = 2.0
    blind_after_s: float = 8.0
    confirmed_for_s: float = 3.0
    batch_nodes: int = 256
    batch_pods: int = 256
    call_timeout_s: float = 10.0
    backoff_max_s: float = 10.0
    events_per_s: float = 50.0

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive")
        for name in ("eviction_rate_per_s", "secondary_eviction_rate_per_s", "large_zone_nodes"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative")
        for name in ("batch_nodes", "batch_pods"):
            if not 1 <= getattr(self, name) <= 1000:
                raise ValueError(f"{name} must be between 1 and 1000")
        if not 0 < self.unhealthy_zone_threshold <= 1:
            raise ValueError("unhealthy_zone_threshold must be above 0 and at most 1")
        if not self.pulse_period_s * 2 <= self.blind_after_s < self.grace_s:
            raise ValueError("blind_after_s must be at least twice pulse_period_s and less than grace_s")
        if self.startup_grace_s < self.blind_after_s:
            raise ValueError("startup_grace_s must be at least blind_after_s")
