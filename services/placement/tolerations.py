"""Taints and tolerations (Kubernetes ``component-helpers/scheduling/corev1``)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from services.api.pb.ursa.core.v1.node_pb2 import Taint
from services.api.pb.ursa.core.v1.pod_pb2 import Toleration

NO_SCHEDULE = "NoSchedule"
PREFER_NO_SCHEDULE = "PreferNoSchedule"
NO_EXECUTE = "NoExecute"
HARD_EFFECTS = frozenset((NO_SCHEDULE, NO_EXECUTE))


def toleration_matches(toleration: Toleration, taint: Taint) -> bool:
    """An empty effect is every effect, an empty key with Exists every taint; no operator is Equal."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.operator in ("", "Equal") and toleration.value == taint.value


def tolerates(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    """Some toleration matches the taint."""
    return any(toleration_matches(toleration, taint) for toleration in tolerations)


def untolerated(
    taints: Iterable[Taint], tolerations: Collection[Toleration], effects: Collection[str] = HARD_EFFECTS
) -> list[Taint]:
    """The taints of these effects that no toleration matches, in the node's order."""
    return [taint for taint in taints if taint.effect in effects and not tolerates(tolerations, taint)]
