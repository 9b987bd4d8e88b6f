"""What load and checks know of the cluster now: the newest state of every pod and node, from the watches. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from services.bench.chaos.facts import NodeSeen, PodSeen
from services.bench.chaos.history import TERMINAL


class Board:
    """Of one tenant partition's pods, or one resource partition's nodes."""

    def __init__(self) -> None:
        self.pods: dict[str, PodSeen] = {}
        self.nodes: dict[str, NodeSeen] = {}

    def reset(self) -> None:
        """The watch begins anew with the whole state."""
        self.pods.clear()
        self.nodes.clear()

    def take(self, seen: PodSeen | NodeSeen) -> None:
        if isinstance(seen, NodeSeen):
            if seen.event == "deleted":
                self.nodes.pop(seen.node, None)
            else:
                self.nodes[seen.node] = seen
        elif seen.event == "deleted":
            self.pods.pop(seen.uid, None)
        else:
            self.pods[seen.uid] = seen

    def live(self) -> dict[str, list[PodSeen]]:
        """By workload: pods that have neither ended nor are being deleted."""
        found: dict[str, list[PodSeen]] = defaultdict(list)
        for pod in self.pods.values():
            if not pod.ending and pod.phase not in TERMINAL:
                found[pod.workload].append(pod)
        return found

    def running(self) -> int:
        """Pods that are Running; those that are being deleted run until they are gone."""
        return sum(1 for pod in self.pods.values() if pod.phase == "Running")

    def terminal(self) -> list[PodSeen]:
        return [pod for pod in self.pods.values() if pod.phase in TERMINAL and not pod.ending]

    def unwell(self, expected: Collection[str]) -> list[str]:
        """Nodes that are not Ready or are tainted, without those that are expected to be."""
        return [
            name
            for name, node in self.nodes.items()
            if name not in expected and (node.ready != "True" or node.no_execute)
        ]

    def missing(self, wanted: dict[str, int], excused: Collection[str]) -> list[str]:
        """Workloads that have fewer ready pods than wanted; pods on ``excused`` nodes count as ready."""
        live = self.live()
        found = []
        for name, replicas in wanted.items():
            ready = sum(1 for pod in live.get(name, ()) if pod.ready or pod.node in excused)
            if ready < replicas:
                found.append(f"{name} has {ready} of {replicas} replicas")
        return found
