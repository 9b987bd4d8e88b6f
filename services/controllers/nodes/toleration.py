"""How long a pod stays on a node that has NoExecute taints. Pure.

Source: pkg/controller/tainteviction (processPodOnNode, getMinTolerationTime).
"""

from __future__ import annotations

from collections.abc import Iterable

from services.api.pb.ursa.core.v1.node_pb2 import Taint
from services.api.pb.ursa.core.v1.pod_pb2 import Toleration
from services.placement.tolerations import toleration_matches


def stays_s(taints: Iterable[Taint], tolerations: tuple[Toleration, ...]) -> float | None:
    """Seconds that the pod stays; None: for ever. A taint that nothing tolerates, or no longer than 0 s, is 0."""
    shortest: float | None = None
    for taint in taints:
        match = next((one for one in tolerations if toleration_matches(one, taint)), None)
        if match is None:
            return 0.0
        if match.HasField("toleration_seconds"):
            seconds = max(0.0, float(match.toleration_seconds))
            shortest = seconds if shortest is None else min(shortest, seconds)
    return shortest
