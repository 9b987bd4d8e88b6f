"""The arguments of the built-in plug-ins: kube-scheduler's names, defaults and rules (pkg/scheduler/apis/config)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from services.api import jsonform, names
from services.api.pb.ursa.core.v1.pod_pb2 import NodeAffinity
from services.scheduler.core.plugins.requested_to_capacity_ratio import ShapePoint
from services.scheduler.core.plugins.resource_amounts import DEFAULT_RESOURCES, Resource
from services.scheduler.core.spreading import DO_NOT_SCHEDULE, DefaultConstraint

T = TypeVar("T", bound="Arguments")

Weight = Annotated[int, msgspec.Meta(ge=1, le=100)]
Percentage = Annotated[int, msgspec.Meta(ge=0, le=100)]
WEIGHT_OF_BALANCED = 1


class ArgumentError(Exception):
    """Arguments that cannot be used: ``field`` is the path inside them ("scoringStrategy.type"), "" for the whole."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message


class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Fields are written in camel case, as in kube-scheduler's configuration."""


class ResourceSpec(Arguments, frozen=True):
    name: str
    weight: Weight = 1


class UtilizationShapePoint(Arguments, frozen=True):
    utilization: Percentage
    score: Annotated[int, msgspec.Meta(ge=0, le=10)]


class RequestedToCapacityRatioParam(Arguments, frozen=True):
    shape: tuple[UtilizationShapePoint, ...] = ()


class ScoringStrategy(Arguments, frozen=True):
    type: Literal["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"] = "LeastAllocated"
    resources: tuple[ResourceSpec, ...] = ()
    requested_to_capacity_ratio: RequestedToCapacityRatioParam | None = None


class NodeResourcesFitArgs(Arguments, frozen=True):
    ignored_resources: frozenset[str] = frozenset()
    ignored_resource_groups: frozenset[str] = frozenset()
    scoring_strategy: ScoringStrategy = ScoringStrategy()


class NodeResourcesBalancedAllocationArgs(Arguments, frozen=True):
    resources: tuple[ResourceSpec, ...] = ()


class NodeAffinityArgs(Arguments, frozen=True):
    added_affinity: dict[str, Any] | None = None


class DefaultPreemptionArgs(Arguments, frozen=True):
    min_candidate_nodes_percentage: Percentage = 0
    min_candidate_nodes_absolute: Annotated[int, msgspec.Meta(ge=0)] = 100


class SpreadConstraint(Arguments, frozen=True):
    """A default TopologySpreadConstraint: it has no labelSelector, which depends on the pod."""

    max_skew: Annotated[int, msgspec.Meta(ge=1)]
    topology_key: Annotated[str, msgspec.Meta(min_length=1)]
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    min_domains: Annotated[int, msgspec.Meta(ge=1)] | None = None
    node_affinity_policy: Literal["", "Honor", "Ignore"] = ""
    node_taints_policy: Literal["", "Honor", "Ignore"] = ""


class PodTopologySpreadArgs(Arguments, frozen=True):
    default_constraints: tuple[SpreadConstraint, ...] = ()
    defaulting_type: Literal["System", "List"] = "System"


class InterPodAffinityArgs(Arguments, frozen=True):
    hard_pod_affinity_weight: Percentage = 1
    ignore_preferred_terms_of_existing_pods: bool = False


class NoArgs(Arguments, frozen=True):
    """For plug-ins that take none."""


def parse(args: Mapping[str, Any], shape: type[T]) -> T:
    """``args`` as ``shape``. Raises ``ArgumentError``."""
    try:
        return msgspec.convert(dict(args), shape, strict=True)
    except msgspec.ValidationError as failure:
        text, _, path = str(failure).partition(" - at `$")
        field = path.rstrip("`").lstrip(".")
        raise ArgumentError("" if field == "[...]" else field, text) from failure


def resources(specs: Sequence[ResourceSpec], field: str) -> tuple[Resource, ...]:
    """None listed: cpu and memory. Raises ``ArgumentError`` for one that is listed twice."""
    seen: set[str] = set()
    for index, spec in enumerate(specs):
        if spec.name in seen:
            raise ArgumentError(f"{field}[{index}].name", f'"{spec.name}" is listed twice')
        seen.add(spec.name)
    return tuple(Resource(spec.name, spec.weight) for spec in specs) or DEFAULT_RESOURCES


def shape(param: RequestedToCapacityRatioParam | None, field: str) -> tuple[ShapePoint, ...]:
    """Raises ``ArgumentError`` unless there is a point and utilizations rise."""
    points = () if param is None else param.shape
    if not points:
        raise ArgumentError(f"{field}.shape", "at least one point must be specified")
    for index in range(1, len(points)):
        if points[index].utilization <= points[index - 1].utilization:
            raise ArgumentError(f"{field}.shape[{index}].utilization", "values must be sorted in increasing order")
    return tuple(ShapePoint(point.utilization, point.score) for point in points)


def default_constraints(args: PodTopologySpreadArgs) -> tuple[DefaultConstraint, ...]:
    """Raises ``ArgumentError`` for constraints that are not to be used, listed twice, or that contradict themselves."""
    if args.defaulting_type == "System" and args.default_constraints:
        raise ArgumentError("defaultConstraints", 'must be empty unless defaultingType is "List"')
    seen: set[tuple[str, str]] = set()
    found = []
    for index, one in enumerate(args.default_constraints):
        field = f"defaultConstraints[{index}]"
        for fault in names.qualified_name(one.topology_key):
            raise ArgumentError(f"{field}.topologyKey", fault)
        if (one.topology_key, one.when_unsatisfiable) in seen:
            raise ArgumentError(field, f'"{one.topology_key}" with {one.when_unsatisfiable} is listed twice')
        seen.add((one.topology_key, one.when_unsatisfiable))
        if one.min_domains is not None and one.when_unsatisfiable != DO_NOT_SCHEDULE:
            raise ArgumentError(f"{field}.minDomains", f"can only be used with whenUnsatisfiable {DO_NOT_SCHEDULE}")
        found.append(
            DefaultConstraint(
                max_skew=one.max_skew,
                topology_key=one.topology_key,
                when_unsatisfiable=one.when_unsatisfiable,
                min_domains=one.min_domains,
                node_affinity_policy=one.node_affinity_policy,
                node_taints_policy=one.node_taints_policy,
            )
        )
    return tuple(found)


def added_affinity(raw: Mapping[str, Any] | None) -> NodeAffinity | None:
    """A NodeAffinity in its JSON form. Raises ``ArgumentError``."""
    if raw is None:
        return None
    affinity = NodeAffinity()
    faults = jsonform.read(dict(raw), affinity, "addedAffinity")
    for fault in faults:
        raise ArgumentError(fault.path, fault.message)
    return affinity
