"""What else of the tenant partition scheduling looks at, as little of it as is needed."""

from __future__ import annotations

from dataclasses import dataclass

from services.api.pb.ursa.core.v1.namespace_pb2 import Namespace
from services.api.pb.ursa.policy.v1.pod_disruption_budget_pb2 import PodDisruptionBudget
from services.api.selectors import LabelSelector
from services.client.informer import Accessors
from services.scheduler.core.budgets import Budget


@dataclass(slots=True, eq=False)
class SeenNamespace:
    """Its labels decide what namespace selectors of pod affinity mean."""

    tenant: str
    name: str
    uid: str
    resource_version: int
    labels: dict[str, str]


NAMESPACE_ACCESSORS: Accessors[SeenNamespace] = Accessors(
    key=lambda seen: f"{seen.tenant}/{seen.name}", uid=lambda seen: seen.uid, version=lambda seen: seen.resource_version
)


def read_namespace(data: bytes) -> SeenNamespace:
    """Raises ``google.protobuf.message.DecodeError``."""
    metadata = Namespace.FromString(data).metadata
    return SeenNamespace(metadata.tenant, metadata.name, metadata.uid, metadata.resource_version, dict(metadata.labels))


@dataclass(slots=True, eq=False)
class SeenBudget:
    """What preemption respects."""

    uid: str
    resource_version: int
    budget: Budget


BUDGET_ACCESSORS: Accessors[SeenBudget] = Accessors(
    key=lambda seen: f"{seen.budget.tenant}/{seen.budget.namespace}/{seen.budget.name}",
    uid=lambda seen: seen.uid,
    version=lambda seen: seen.resource_version,
)


def read_budget(data: bytes) -> SeenBudget:
    """Raises ``google.protobuf.message.DecodeError``; ``SelectorError`` for a budget that was not validated."""
    found = PodDisruptionBudget.FromString(data)
    metadata = found.metadata
    budget = Budget(
        tenant=metadata.tenant,
        namespace=metadata.namespace,
        name=metadata.name,
        selector=LabelSelector.from_message(found.spec.selector, "spec.selector"),
        allowed=found.status.disruptions_allowed,
        disrupted=frozenset(found.status.disrupted_pods),
    )
    return SeenBudget(metadata.uid, metadata.resource_version, budget)
