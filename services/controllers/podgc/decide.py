"""Which pods are garbage. Pure.

Source: kube-controller-manager ``pkg/controller/podgc/gc_controller.go``.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.controllers.podgc.facts import NodesView, Place, PodBook
from services.controllers.tenantpods import TenantPod


class Reason(enum.StrEnum):
    """Why a pod goes; the values are upstream's labels of its metrics."""

    TERMINATED = "terminated"
    OUT_OF_SERVICE = "out-of-service"
    ORPHANED = "orphaned"
    UNSCHEDULED = "unscheduled"


class Held(enum.StrEnum):
    """Why pods stay although their nodes are not seen."""

    UNREACHABLE = "unreachable"
    UNKNOWN_PARTITION = "unknown-partition"


@dataclass
class Round:
    """What one look found. ``missing``: places that have pods, and whose partition shows no such node. ``held``: pods
    by their partition and why nothing can be said about their nodes."""

    deletions: list[tuple[TenantPod, Reason]] = field(default_factory=list)
    missing: list[Place] = field(default_factory=list)
    held: Counter[tuple[str, Held]] = field(default_factory=Counter)


def look(book: PodBook, partitions: Mapping[str, NodesView], threshold: int) -> Round:
    """``partitions``: those that have a ResourcePartition object. A place that is not among them is never missing."""
    found = Round()
    found.deletions += [(pod, Reason.TERMINATED) for pod in terminated(book.finished.values(), threshold)]
    chosen = {pod.uid for pod, _ in found.deletions}
    for pod in oldest_first(book.ending.values()):
        reason = _ending(pod, partitions)
        if reason is not None and pod.uid not in chosen:
            found.deletions.append((pod, reason))
    for place, pods in book.places.items():
        partition, node = place
        view = partitions.get(partition)
        if view is None:
            found.held[partition, Held.UNKNOWN_PARTITION] += pods
        elif not view.current:
            found.held[partition, Held.UNREACHABLE] += pods
        elif node not in view.nodes:
            found.missing.append(place)
    return found


def terminated(pods: Iterable[TenantPod], threshold: int) -> Sequence[TenantPod]:
    """Those above the threshold (0: none): the evicted first, then the oldest."""
    finished = list(pods)
    if not threshold or len(finished) <= threshold:
        return []
    return [pod for pod in oldest_first(finished)[: len(finished) - threshold] if not stuck(pod)]


def stuck(pod: TenantPod) -> bool:
    """It has ended and was deleted, and its finalizers hold it: to delete it again changes nothing."""
    return pod.ending and pod.held and pod.finished


def oldest_first(pods: Iterable[TenantPod]) -> list[TenantPod]:
    """Upstream's byEvictionAndCreationTimestamp."""
    return sorted(pods, key=lambda pod: (not pod.evicted, pod.created, pod.name, pod.uid))


def _ending(pod: TenantPod, partitions: Mapping[str, NodesView]) -> Reason | None:
    if stuck(pod):
        return None
    if not pod.node:
        return Reason.UNSCHEDULED
    view = partitions.get(pod.partition)
    node = view.nodes.get(pod.node) if view is not None and view.current else None
    return Reason.OUT_OF_SERVICE if node is not None and node.down else None


class Quarantine:
    """Nodes that are not seen: each is asked about when it was not seen for ``quarantine_s``, then again each round."""

    def __init__(self, quarantine_s: float) -> None:
        self._quarantine_s = quarantine_s
        self._since: dict[Place, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def ripe(self, missing: Sequence[Place], now: float) -> list[Place]:
        """Take note of the places missing now (monotonic seconds); the others are forgotten. Those to ask about."""
        self._since = {place: self._since.get(place, now) for place in missing}
        return [place for place, since in self._since.items() if now - since >= self._quarantine_s]
