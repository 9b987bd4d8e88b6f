"""DefaultPreemption: less important pods make room for a pod that no node takes. The search is ``core.preemption``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DefaultPreemption:
    """How many nodes are worked out in full: the larger number of the two.

    kube-scheduler takes 10 % and 100 from a random node on. Here the nodes are looked at in the order of how good they
    promise to be, so that more of them rarely make a difference.
    """

    min_candidate_nodes_percentage: int = 0
    min_candidate_nodes_absolute: int = 100
    name = "DefaultPreemption"

    def candidates(self, nodes: int) -> int:
        """The number for ``nodes`` possible ones."""
        return max(self.min_candidate_nodes_absolute, nodes * self.min_candidate_nodes_percentage // 100, 1)
