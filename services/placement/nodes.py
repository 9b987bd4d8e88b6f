"""What a node offers, and whether requests fit into what is left."""

from __future__ import annotations

from collections.abc import Mapping

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.placement.resources import PODS, amounts
from services.placement.tolerations import tolerates, untolerated

__all__ = ["allocatable", "fits", "is_ready", "tolerates", "untolerated"]

READY = "Ready"
TOO_MANY_PODS = "Too many pods"


def allocatable(node: Node) -> Mapping[str, int]:
    """What pods may take, in canonical int64 units; the capacity where the node says no allocatable.

    Raises ``QuantityError`` for a node that was not validated.
    """
    return amounts(node.status.allocatable or node.status.capacity)


def is_ready(node: Node) -> bool:
    """The node's condition Ready is True."""
    return any(condition.type == READY and condition.status == "True" for condition in node.status.conditions)


def fits(
    requests: Mapping[str, int], allocatable: Mapping[str, int], used: Mapping[str, int], pods_used: int
) -> list[str]:
    """Why one more pod does not fit ("Too many pods", "Insufficient cpu"); empty: it fits.

    A resource that is not asked for cannot be short, even where a node is over-committed in it.
    """
    reasons: list[str] = []
    if pods_used + 1 > allocatable.get(PODS, 0):
        reasons.append(TOO_MANY_PODS)
    for resource, wanted in requests.items():
        if wanted > 0 and wanted > allocatable.get(resource, 0) - used.get(resource, 0):
            reasons.append(f"Insufficient {resource}")
    return reasons
