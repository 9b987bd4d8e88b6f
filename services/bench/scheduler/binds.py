"""What the load client knows of pods: which were created when, and which the watches have shown bound, or gone, when.

A pod is known by (tenant, namespace, name). Times are the client's monotonic seconds.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Key = tuple[str, str, str]
"""Tenant, namespace, name."""
Node = tuple[str, str]
"""Resource partition, node name."""

DELETED = 3
VIOLATIONS_KEPT = 20


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What pods of one template share: their labels, and what each takes of its node (canonical integers)."""

    labels: Mapping[str, str]
    requests: Mapping[str, int]


class Created(NamedTuple):
    """When the create call began and was answered."""

    began: float
    answered: float
    shape: Shape


class Change(NamedTuple):
    """A pod was seen bound (+1), or gone after it was (−1)."""

    at: float
    key: Key
    step: int


@dataclass
class BindLog:
    """Filled by creators and watches. ``scheduled`` counts the pods that are bound now, by namespace; ``nodes`` tells
    where they are; ``bound`` when a pod was last bound, also if it is gone; ``violations`` what must never be seen."""

    created: dict[Key, Created] = field(default_factory=dict)
    bound: dict[Key, float] = field(default_factory=dict)
    nodes: dict[Key, Node] = field(default_factory=dict)
    scheduled: Counter[str] = field(default_factory=Counter)
    changes: list[Change] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    broken: str = ""
    _waiting: list[asyncio.Event] = field(default_factory=list)

    def create(self, keys: Iterable[Key], began: float, answered: float, shape: Shape) -> None:
        """Pods that a call has created."""
        entry = Created(began, answered, shape)
        for key in keys:
            self.created[key] = entry

    def take(self, events: Iterable[Any], now: float) -> None:
        """Events of a PodWatchBatch."""
        nodes = self.nodes
        for event in events:
            pod = event.object
            if event.type == DELETED:
                metadata = pod.metadata
                key = (metadata.tenant, metadata.namespace, metadata.name)
                if nodes.pop(key, None) is not None:
                    self.scheduled[key[1]] -= 1
                    self.changes.append(Change(now, key, -1))
                continue
            name = pod.spec.node_name
            if not name:
                continue
            metadata = pod.metadata
            key = (metadata.tenant, metadata.namespace, metadata.name)
            node = (pod.spec.resource_partition, name)
            before = nodes.setdefault(key, node)
            if before != node:
                self._violated(f"{'/'.join(key)} was bound to {'/'.join(before)} and then to {'/'.join(node)}")
            elif before is node:
                self.bound[key] = now
                self.scheduled[key[1]] += 1
                self.changes.append(Change(now, key, 1))
        self.wake()

    def _violated(self, what: str) -> None:
        if len(self.violations) < VIOLATIONS_KEPT:
            self.violations.append(what)

    def end(self, reason: str) -> None:
        """A watch has ended: nothing more is seen of its partition."""
        self.broken = self.broken or reason
        self.wake()

    def wake(self) -> None:
        for event in self._waiting:
            event.set()

    async def until(self, holds: Callable[[], bool], timeout_s: float) -> bool:
        """Whether ``holds`` came true in time; looked at whenever something was seen. False at once when a watch has
        ended."""
        changed = asyncio.Event()
        self._waiting.append(changed)
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    if self.broken:
                        return False
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            return holds()
        finally:
            self._waiting.remove(changed)
        return True
