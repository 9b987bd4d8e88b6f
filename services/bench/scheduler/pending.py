"""Pods without a node, and what they say of it: for barriers, and for the error of a workload that stands still."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.bench.scheduler.access import TenantAccess

POD_SCHEDULED = "PodScheduled"
REASONS_SHOWN = 3


@dataclass(frozen=True)
class Pending:
    """``attempted``: of the ``unbound`` pods, those whose PodScheduled condition is False (a gated pod's is, too).
    ``reasons``: how many say what."""

    unbound: int
    attempted: int
    reasons: Mapping[str, int]

    def __str__(self) -> str:
        shown = "; ".join(f"{count} × {reason}" for reason, count in Counter(self.reasons).most_common(REASONS_SHOWN))
        return f"{self.unbound} pods are unbound: {shown or 'none says why'}"


async def pending(tenants: Sequence[TenantAccess], namespace: str, labels: Mapping[str, str]) -> Pending:
    """Asked of every tenant's server. Raises ``StatusError``."""
    unbound = attempted = 0
    reasons: Counter[str] = Counter()
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    for target in tenants:
        listing = await target.clients.pods.list(tenant=target.tenant, namespace=namespace, label_selector=selector)
        for pod in listing.items:
            if pod.spec.node_name:
                continue
            unbound += 1
            for condition in pod.status.conditions:
                if condition.type == POD_SCHEDULED and condition.status == "False":
                    attempted += 1
                    reasons[f"{condition.reason}: {condition.message}"] += 1
    if not_tried := unbound - attempted:
        reasons["not attempted yet"] = not_tried
    return Pending(unbound, attempted, reasons)
