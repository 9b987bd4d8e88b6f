"""What a figure must reach and what it aims at, on two cores; for the table that people read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """In the figure's own unit. ``at_most``: less is better."""

    must: float
    aim: float
    at_most: bool = False

    def verdict(self, value: float) -> str:
        """``aim``, ``must`` or ``miss``: what the value reaches."""
        for name, bound in (("aim", self.aim), ("must", self.must)):
            if value <= bound if self.at_most else value >= bound:
                return name
        return "miss"


TARGETS: dict[str, Target] = {
    "unary_creates_per_second": Target(1_500, 2_000),
    "watch_events_per_second": Target(300_000, 900_000),
    "multiplexed_events_per_second": Target(500_000, 1_000_000),
    "watched_creates_per_second": Target(500, 1_000),
    "watch_latency_p99": Target(250, 80, at_most=True),
    "watch_latency_few_p99": Target(10, 5, at_most=True),
    "watch_latency_unread_ratio": Target(1.2, 1.0, at_most=True),
    "node_watch_cpu_ratio": Target(1.5, 1.1, at_most=True),
    "list_objects_per_second": Target(400_000, 1_000_000),
    "lists_at_once_objects_per_second": Target(500_000, 1_400_000),
    "server_memory": Target(500, 300, at_most=True),
    "lists_at_once_memory_growth": Target(64, 32, at_most=True),
    "cache_ready": Target(5, 2, at_most=True),
    "idle_watches_cpu_share": Target(0.01, 0.001, at_most=True),
    "nodes_held_ready": Target(20_000, 50_000),
    "nodes_ready_per_second": Target(500, 2_000),
    "heartbeat_cpu_per_10000_nodes": Target(0.15, 0.06, at_most=True),
    "wal_bytes_per_heartbeat": Target(400, 350, at_most=True),
}

# Held against the reference of the same run instead of a number.
RATIOS: dict[str, Target] = {"batch_creates_per_second": Target(0.8, 1.5)}


def target_of(name: str, reference: float | None) -> Target | None:
    """The target of a figure in the figure's unit; None if it has none."""
    ratio = RATIOS.get(name)
    if ratio is None or reference is None:
        return TARGETS.get(name)
    return Target(ratio.must * reference, ratio.aim * reference, ratio.at_most)
