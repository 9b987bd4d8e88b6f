"""What pod garbage collection knows of nodes, partitions and pods, kept up to date by what watches show. No I/O."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.client.informer import Accessors, Change
from services.controllers.tenantpods import TenantPod

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"

Place = tuple[str, str]
"""(resource partition, node)"""


class SeenNode(NamedTuple):
    """``down``: it is not ready and tainted as out of service."""

    name: str
    uid: str
    version: int
    down: bool


def read_node(data: bytes) -> SeenNode:
    """From a Node's bytes."""
    node = Node.FromString(data)
    metadata = node.metadata
    down = any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints) and not any(
        condition.type == "Ready" and condition.status == "True" for condition in node.status.conditions
    )
    return SeenNode(sys.intern(metadata.name), metadata.uid, metadata.resource_version, down)


NODE_ACCESSORS: Accessors[SeenNode] = Accessors(
    lambda node: node.name, lambda node: node.uid, lambda node: node.version
)


@dataclass(frozen=True, slots=True)
class NodesView:
    """The nodes of a resource partition as far as they are known. ``current``: the watch of them is live, so that what
    is not in ``nodes`` was not there a moment ago."""

    nodes: Mapping[str, SeenNode]
    current: bool


class PodBook:
    """The pods that may have to go, found without looking at all the others."""

    def __init__(self) -> None:
        self.finished: dict[str, TenantPod] = {}
        self.ending: dict[str, TenantPod] = {}
        self.places: Counter[Place] = Counter()

    def see(self, changes: Iterable[Change[TenantPod]]) -> None:
        for change in changes:
            if change.old is not None:
                self._forget(change.old)
            if change.new is not None:
                self._remember(change.new)

    def _remember(self, pod: TenantPod) -> None:
        if pod.finished:
            self.finished[pod.uid] = pod
        if pod.ending:
            self.ending[pod.uid] = pod
        if pod.node:
            self.places[pod.partition, pod.node] += 1

    def _forget(self, pod: TenantPod) -> None:
        self.finished.pop(pod.uid, None)
        self.ending.pop(pod.uid, None)
        if pod.node:
            place = pod.partition, pod.node
            self.places[place] -= 1
            if not self.places[place]:
                del self.places[place]
