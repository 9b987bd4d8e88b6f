"""What tests of preemption stand on: a table with pods on it, and one round of preemption after a plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.selectors import LabelSelector
from services.scheduler.core import DEFAULT_PROFILE, NodeId, NodeTable, PodClasses, PodInfo, Profile, plan
from services.scheduler.core.budgets import Budget, Budgets
from services.scheduler.core.preemption import Pledge, Preemptions
from services.scheduler.core.preemption_search import preempt
from tests.support.scheduling import make_node, make_pod


@dataclass
class World:
    """Nodes of ``rp-1`` (or of any partition), pods on them, and preemptors."""

    table: NodeTable = field(default_factory=lambda: NodeTable(scheduler="s", seed=3))
    classes: PodClasses = field(default_factory=PodClasses)
    profile: Profile = DEFAULT_PROFILE
    budgets: list[Budget] = field(default_factory=list)

    def node(self, node: Node | str, partition: str = "rp-1", **shape: str) -> NodeId:
        made = make_node(node, **shape) if isinstance(node, str) else node  # type: ignore[arg-type]
        self.table.upsert(partition, made)
        return NodeId(partition, made.metadata.name)

    def place(self, node: NodeId, name: str, priority: int = 0, *, started: int = 0, **shape: object) -> PodInfo:
        pod = make_pod(name, priority=priority, **shape)  # type: ignore[arg-type]
        pod.status.start_time.seconds = started
        return self.put(node, pod)

    def put(self, node: NodeId, pod: Pod) -> PodInfo:
        info = self.classes.info(pod)
        self.table.assign(info, node)
        return info

    def info(self, name: str, priority: int, *, never: bool = False, **shape: object) -> PodInfo:
        pod = make_pod(name, priority=priority, **shape)  # type: ignore[arg-type]
        if never:
            pod.spec.preemption_policy = "Never"
        return self.classes.info(pod)

    def budget(self, allowed: int, disrupted: Iterable[str] = (), **labels: str) -> None:
        selector = LabelSelector.from_labels(labels)
        name = f"budget-{len(self.budgets)}"
        self.budgets.append(Budget("acme", "default", name, selector, allowed, frozenset(disrupted)))

    def run(self, *pods: PodInfo, pledges: Sequence[Pledge] = (), exempt: Sequence[str] = ()) -> Preemptions:
        """Plan ``pods``, then preempt for those that no node takes."""
        snapshot = self.table.freeze()
        decided = plan(snapshot, pods, self.profile)
        usage = snapshot.usage.copy()
        for placement in decided.placements:
            row = self.table.row(placement.node)
            assert row is not None
            usage.add(placement.pod.kind, (row,))
        left = [refused.pod for refused in decided.unschedulable]
        return preempt(snapshot, usage, left, self.table, self.profile, Budgets(self.budgets), pledges, exempt)


def victims(decided: Preemptions) -> dict[str, list[str]]:
    """Names of the victims by name of the preemptor."""
    return {chosen.pod.name: [victim.name for victim in chosen.victims] for chosen in decided.chosen}


def where(decided: Preemptions) -> dict[str, str]:
    return {chosen.pod.name: chosen.node.name for chosen in decided.chosen}
