"""The arguments of the built-in plug-ins: kube-scheduler's names, defaults and rules (pkg/scheduler/apis/config)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from services.api import jsonform
from services.api.pb.ursa.core.v1.pod_pb2 import NodeAffinity
from services.scheduler.core.plugins.requested_to_capacity_ratio import ShapePoint
from services.scheduler.core.plugins.resource_amounts import DEFAULT_RESOURCES, Resource

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


def added_affinity(raw: Mapping[str, Any] | None) -> NodeAffinity | None:
    """A NodeAffinity in its JSON form. Raises ``ArgumentError``."""
    if raw is None:
        return None
    affinity = NodeAffinity()
    faults = jsonform.read(dict(raw), affinity, "addedAffinity")
    for fault in faults:
        raise ArgumentError(fault.path, fault.message)
    return affinity
