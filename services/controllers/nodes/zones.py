"""Zones, how much of each is lost, and how fast its nodes may be given up. Pure.

Source: pkg/controller/nodelifecycle (ComputeZoneState, handleDisruption, ReducedQPSFunc). When everything is lost at
once, it is more likely that this side is cut off: then nothing is given up at all.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from services.controllers.nodes.config import NodesConfig
from services.controllers.nodes.health import ZoneCount


class ZoneState(enum.Enum):
    INITIAL = "Initial"
    NORMAL = "Normal"
    PARTIAL = "PartialDisruption"
    FULL = "FullDisruption"


class Disruption(enum.Enum):
    """Of all zones together."""

    NONE = "none"
    BEGINS = "begins"  # no zone has a healthy node left: take back what was given up, and stop
    LASTS = "lasts"
    ENDS = "ends"  # nodes are back: every node's time begins anew


def zone_state(count: ZoneCount, threshold: float) -> ZoneState:
    """``threshold``: the part of a zone that is unhealthy from which on it is disrupted."""
    if count.unhealthy and count.unhealthy == count.nodes:
        return ZoneState.FULL
    if count.unhealthy > 2 and count.unhealthy / count.nodes >= threshold:
        return ZoneState.PARTIAL
    return ZoneState.NORMAL


def rate(state: ZoneState, nodes: int, config: NodesConfig) -> float:
    """Nodes per second that may be tainted NoExecute in a zone of ``nodes`` nodes."""
    if state is ZoneState.PARTIAL:
        return config.secondary_eviction_rate_per_s if nodes > config.large_zone_nodes else 0.0
    return config.eviction_rate_per_s


class Bucket:
    """A token bucket that holds one: the first is free, after that one every ``1 / rate`` seconds."""

    def __init__(self, now: float) -> None:
        self.rate = 0.0
        self._tokens = 1.0
        self._filled_at = now

    def set_rate(self, rate_per_s: float, now: float) -> None:
        self._fill(now)
        self.rate = rate_per_s

    def take(self, now: float) -> bool:
        """At a rate of 0 there is nothing to take, whatever is in it."""
        self._fill(now)
        if self.rate <= 0 or self._tokens < 1.0 - 1e-9:
            return False
        self._tokens -= 1.0
        return True

    def _fill(self, now: float) -> None:
        self._tokens = min(1.0, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now


class Zones:
    """The zones of a partition: their states, and for each the nodes that wait to be tainted NoExecute."""

    def __init__(self, config: NodesConfig) -> None:
        self.states: dict[str, ZoneState] = {}
        self.counts: dict[str, ZoneCount] = {}
        self._config = config
        self._buckets: dict[str, Bucket] = {}
        self._waiting: dict[str, dict[str, None]] = {}

    @property
    def stopped(self) -> bool:
        """No zone has a healthy node."""
        return bool(self.states) and all(state is ZoneState.FULL for state in self.states.values())

    def update(self, counts: Mapping[str, ZoneCount], now: float) -> Disruption:
        """``counts``: all zones that have nodes. One of which none counts has no state, and its nodes go as in a zone
        that is not disrupted."""
        was_stopped = self.stopped
        self.counts = {zone: count for zone, count in counts.items() if count.nodes}
        self.states = {
            zone: zone_state(count, self._config.unhealthy_zone_threshold) for zone, count in self.counts.items()
        }
        for zone, count in counts.items():
            bucket = self._buckets.get(zone)
            if bucket is None:
                bucket = self._buckets[zone] = Bucket(now)
            state = self.states.get(zone, ZoneState.NORMAL)
            bucket.set_rate(0.0 if self.stopped else rate(state, count.nodes, self._config), now)
        for zone in [zone for zone in self._buckets if zone not in counts]:
            del self._buckets[zone]
        if self.stopped:
            self._waiting.clear()
            return Disruption.LASTS if was_stopped else Disruption.BEGINS
        return Disruption.ENDS if was_stopped else Disruption.NONE

    def want(self, name: str, zone: str) -> None:
        """The node is to be tainted when it is its turn. Idempotent; nothing while all is stopped."""
        if not self.stopped:
            self._waiting.setdefault(zone, {})[name] = None

    def spare(self, name: str, zone: str) -> None:
        """It is not to be tainted any more. Idempotent."""
        waiting = self._waiting.get(zone)
        if waiting is not None:
            waiting.pop(name, None)

    def is_waiting(self, name: str, zone: str) -> bool:
        return name in self._waiting.get(zone, {})

    def grant(self, now: float) -> list[str]:
        """Nodes whose turn it is, in the order in which they came; each is told once."""
        granted = []
        for zone, waiting in self._waiting.items():
            bucket = self._buckets.get(zone)
            while waiting and bucket is not None and bucket.take(now):
                name = next(iter(waiting))
                del waiting[name]
                granted.append(name)
        return granted
