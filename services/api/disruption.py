"""What the disruption controller and the partition that it works in say to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.api.pb.ursa.policy.v1.pod_disruption_budget_pb2 import PodDisruptionBudget

Place = tuple[str, str]
"""(tenant, namespace)"""


@dataclass(frozen=True, slots=True)
class PodState:
    """What a budget looks at in a pod. ``ready``: its condition Ready is true. ``workload``: the UID of the replica set
    that controls it, "": none does."""

    name: str
    labels: Mapping[str, str]
    ready: bool
    ending: bool
    finished: bool
    workload: str = ""


@dataclass(frozen=True, slots=True)
class BudgetChange:
    """The budget at ``key`` as it is now; ``None``: gone."""

    key: str
    place: Place
    budget: PodDisruptionBudget | None


@dataclass(frozen=True, slots=True)
class PodChange:
    """The pod at ``key`` as it is now; ``None``: gone."""

    key: str
    place: Place
    pod: PodState | None


@dataclass(frozen=True, slots=True)
class ScaleChange:
    """The workload with this UID wants ``replicas`` pods now; ``None``: it is gone."""

    uid: str
    place: Place
    replicas: int | None


@dataclass(frozen=True, slots=True)
class PlaceLeft:
    """``place`` has no budget any more: its pods and workloads are not told of from now on; later they would be told of
    anew."""

    place: Place


Change = BudgetChange | PodChange | ScaleChange | PlaceLeft
