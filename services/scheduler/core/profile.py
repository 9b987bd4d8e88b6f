"""Which plug-ins run, in which order, and what the scores weigh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.scheduler.core.plugin import (
    DomainFilter,
    DomainScore,
    Filter,
    NodeFilter,
    NodeScore,
    UsageFilter,
    UsageScore,
)
from services.scheduler.core.plugins.balanced_allocation import BalancedAllocation
from services.scheduler.core.plugins.default_preemption import DefaultPreemption
from services.scheduler.core.plugins.image_locality import ImageLocality
from services.scheduler.core.plugins.inter_pod_affinity import InterPodAffinity, PodAffinityScore
from services.scheduler.core.plugins.least_allocated import LeastAllocated
from services.scheduler.core.plugins.node_affinity import NodeAffinity, PreferredNodeAffinity
from services.scheduler.core.plugins.node_name import NodeName
from services.scheduler.core.plugins.node_ports import NodePorts
from services.scheduler.core.plugins.node_ready import NodeReady
from services.scheduler.core.plugins.node_resources_fit import NodeResourcesFit
from services.scheduler.core.plugins.node_unschedulable import NodeUnschedulable
from services.scheduler.core.plugins.pod_topology_spread import PodTopologySpread, SpreadScore
from services.scheduler.core.plugins.taint_toleration import PreferUntainted, TaintToleration
from services.scheduler.core.pods import PodClass


@dataclass(frozen=True)
class Profile:
    """Filters in the order in which they are asked: the first that refuses a node gives the reason."""

    node_filters: tuple[NodeFilter, ...]
    usage_filters: tuple[UsageFilter, ...]
    node_scores: tuple[tuple[NodeScore, int], ...]
    usage_scores: tuple[tuple[UsageScore, int], ...]
    domain_filters: tuple[DomainFilter, ...] = ()
    domain_scores: tuple[tuple[DomainScore, int], ...] = ()
    preemption: DefaultPreemption | None = field(default_factory=DefaultPreemption)

    def of(self, pods: PodClass) -> Profile:
        """The profile of every class: this one."""
        return self

    def all(self) -> Sequence[Profile]:
        return (self,)

    @property
    def filters(self) -> tuple[Filter, ...]:
        return (*self.node_filters, *self.usage_filters, *self.domain_filters)


@dataclass(frozen=True)
class Profiles:
    """Several profiles in one scheduler, by the ``spec.schedulerName`` of the pods that they are for."""

    by_name: Mapping[str, Profile]

    def of(self, pods: PodClass) -> Profile:
        """The profile of ``pods``. Raises ``KeyError`` for pods of another scheduler."""
        return self.by_name[pods.pod.spec.scheduler_name]

    def all(self) -> Sequence[Profile]:
        return tuple(self.by_name.values())


# Order and weights are those of kube-scheduler's default profile (pkg/scheduler/apis/config/v1/default_plugins.go).
DEFAULT_PROFILE = Profile(
    node_filters=(NodeUnschedulable(), NodeReady(), NodeName(), TaintToleration(), NodeAffinity()),
    usage_filters=(NodePorts(), NodeResourcesFit()),
    node_scores=((PreferUntainted(), 3), (PreferredNodeAffinity(), 2), (ImageLocality(), 1)),
    usage_scores=((LeastAllocated(), 1), (BalancedAllocation(), 1)),
    domain_filters=(PodTopologySpread(), InterPodAffinity()),
    domain_scores=((SpreadScore(), 2), (PodAffinityScore(), 2)),
)
