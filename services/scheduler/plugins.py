"""The plug-ins that a profile may name: the built-in ones, and those of installed distributions (entry points).

A distribution adds plug-ins in the entry-point group ``ursa.scheduler.plugins``: the entry's name is the plug-in's, its
object a factory that takes the profile's ``args`` for it and returns a plug-in of one of the shapes of
``services.scheduler.core.plugin``, or several of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from services.scheduler import plugin_args
from services.scheduler.core.plugin import DomainFilter, DomainScore, NodeFilter, NodeScore, UsageFilter, UsageScore
from services.scheduler.core.plugins.balanced_allocation import BalancedAllocation
from services.scheduler.core.plugins.default_preemption import DefaultPreemption
from services.scheduler.core.plugins.image_locality import ImageLocality
from services.scheduler.core.plugins.inter_pod_affinity import InterPodAffinity, PodAffinityScore
from services.scheduler.core.plugins.least_allocated import LeastAllocated
from services.scheduler.core.plugins.most_allocated import MostAllocated
from services.scheduler.core.plugins.node_affinity import NodeAffinity, PreferredNodeAffinity
from services.scheduler.core.plugins.node_name import NodeName
from services.scheduler.core.plugins.node_ports import NodePorts
from services.scheduler.core.plugins.node_ready import NodeReady
from services.scheduler.core.plugins.node_resources_fit import NodeResourcesFit
from services.scheduler.core.plugins.node_unschedulable import NodeUnschedulable
from services.scheduler.core.plugins.pod_topology_spread import PodTopologySpread, SpreadScore
from services.scheduler.core.plugins.requested_to_capacity_ratio import RequestedToCapacityRatio
from services.scheduler.core.plugins.taint_toleration import PreferUntainted, TaintToleration
from services.scheduler.plugin_args import ArgumentError

GROUP = "ursa.scheduler.plugins"

Part = NodeFilter | UsageFilter | DomainFilter | NodeScore | UsageScore | DomainScore | DefaultPreemption
SHAPES = (NodeFilter, UsageFilter, DomainFilter, NodeScore, UsageScore, DomainScore, DefaultPreemption)
Factory = Callable[[Mapping[str, Any]], Part | Iterable[Part]]


@dataclass(frozen=True)
class Plugin:
    """A plug-in that can be named: how it is made, and what its scores weigh where the profile does not say.

    ``fixed``: it is part of every profile.
    """

    name: str
    make: Factory
    weight: int = 1
    fixed: bool = False


def _plain(*parts: Part) -> Factory:
    def make(args: Mapping[str, Any]) -> Iterable[Part]:
        plugin_args.parse(args, plugin_args.NoArgs)
        return parts

    return make


def _node_affinity(args: Mapping[str, Any]) -> Iterable[Part]:
    added = plugin_args.added_affinity(plugin_args.parse(args, plugin_args.NodeAffinityArgs).added_affinity)
    return NodeAffinity(added), PreferredNodeAffinity(added)


def _node_resources_fit(args: Mapping[str, Any]) -> Iterable[Part]:
    parsed = plugin_args.parse(args, plugin_args.NodeResourcesFitArgs)
    strategy = parsed.scoring_strategy
    resources = plugin_args.resources(strategy.resources, "scoringStrategy.resources")
    score: Part
    if strategy.type == "RequestedToCapacityRatio":
        field = "scoringStrategy.requestedToCapacityRatio"
        score = RequestedToCapacityRatio(plugin_args.shape(strategy.requested_to_capacity_ratio, field), resources)
    else:
        score = LeastAllocated(resources) if strategy.type == "LeastAllocated" else MostAllocated(resources)
    return NodeResourcesFit(parsed.ignored_resources, parsed.ignored_resource_groups), score


def _balanced_allocation(args: Mapping[str, Any]) -> Iterable[Part]:
    parsed = plugin_args.parse(args, plugin_args.NodeResourcesBalancedAllocationArgs)
    resources = plugin_args.resources(parsed.resources, "resources")
    for index, resource in enumerate(resources):
        if resource.weight != plugin_args.WEIGHT_OF_BALANCED:
            raise ArgumentError(f"resources[{index}].weight", "must be 1")
    return (BalancedAllocation(tuple(resource.name for resource in resources)),)


def _pod_topology_spread(args: Mapping[str, Any]) -> Iterable[Part]:
    defaults = plugin_args.default_constraints(plugin_args.parse(args, plugin_args.PodTopologySpreadArgs))
    return PodTopologySpread(defaults), SpreadScore(defaults)


def _inter_pod_affinity(args: Mapping[str, Any]) -> Iterable[Part]:
    parsed = plugin_args.parse(args, plugin_args.InterPodAffinityArgs)
    score = PodAffinityScore(parsed.hard_pod_affinity_weight, parsed.ignore_preferred_terms_of_existing_pods)
    return InterPodAffinity(), score


def _default_preemption(args: Mapping[str, Any]) -> Iterable[Part]:
    parsed = plugin_args.parse(args, plugin_args.DefaultPreemptionArgs)
    percentage, absolute = parsed.min_candidate_nodes_percentage, parsed.min_candidate_nodes_absolute
    if not percentage and not absolute:
        raise ArgumentError("", "minCandidateNodesPercentage and minCandidateNodesAbsolute cannot both be zero")
    return (DefaultPreemption(percentage, absolute),)


# The default profile: order and weights of kube-scheduler's (pkg/scheduler/apis/config/v1/default_plugins.go).
DEFAULTS = (
    Plugin("NodeUnschedulable", _plain(NodeUnschedulable())),
    Plugin("NodeReady", _plain(NodeReady()), fixed=True),
    Plugin("NodeName", _plain(NodeName())),
    Plugin("TaintToleration", _plain(TaintToleration(), PreferUntainted()), weight=3),
    Plugin("NodeAffinity", _node_affinity, weight=2),
    Plugin("NodePorts", _plain(NodePorts())),
    Plugin("NodeResourcesFit", _node_resources_fit),
    Plugin("PodTopologySpread", _pod_topology_spread, weight=2),
    Plugin("InterPodAffinity", _inter_pod_affinity, weight=2),
    Plugin("DefaultPreemption", _default_preemption),
    Plugin("NodeResourcesBalancedAllocation", _balanced_allocation),
    Plugin("ImageLocality", _plain(ImageLocality())),
)
# They are part of the scheduler itself, and always on.
BUILT_IN = frozenset(("PrioritySort", "SchedulingGates", "DefaultBinder"))
# They are about what Ursa does not have.
ABSENT = frozenset(
    (
        "VolumeRestrictions",
        "NodeVolumeLimits",
        "VolumeBinding",
        "VolumeZone",
        "EBSLimits",
        "GCEPDLimits",
        "AzureDiskLimits",
        "CinderLimits",
        "DynamicResources",
    )
)


def installed(group: str = GROUP) -> Mapping[str, Plugin]:
    """The built-in plug-ins and those of installed distributions, by name; each is loaded when it is first made.

    Raises ``ArgumentError`` for an entry point that takes a name that is taken.
    """
    found = {plugin.name: plugin for plugin in DEFAULTS}
    for entry in metadata.entry_points(group=group):
        if entry.name in found or entry.name in BUILT_IN | ABSENT:
            raise ArgumentError("", f'entry point "{entry.name}" ({entry.value}): there is a plug-in of that name')
        found[entry.name] = Plugin(entry.name, _loading(entry))
    return found


def _loading(entry: metadata.EntryPoint) -> Factory:
    def make(args: Mapping[str, Any]) -> Part | Iterable[Part]:
        try:
            factory = entry.load()
        except Exception as failure:
            what = f'entry point "{entry.name}" ({entry.value})'
            raise ArgumentError("", f"{what} cannot be loaded: {failure}") from failure
        try:
            made: Part | Iterable[Part] = factory(args)
        except ArgumentError:
            raise
        except Exception as failure:
            # Code of somebody else's: whatever it raises is about its arguments.
            raise ArgumentError("", f"{type(failure).__name__}: {failure}") from failure
        return made

    return make


def parts_of(plugin: Plugin, args: Mapping[str, Any]) -> tuple[Part, ...]:
    """Raises ``ArgumentError``."""
    made = plugin.make(args)
    parts = (made,) if isinstance(made, SHAPES) else tuple(made)
    for part in parts:
        if not isinstance(part, SHAPES):
            raise ArgumentError("", f"it made a {type(part).__name__}, which has none of the shapes of a plug-in")
    return parts
