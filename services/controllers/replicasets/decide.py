"""What a replica set needs: how many pods to make, which to delete, and what its status is to say. Pure.

Source: kube-controller-manager ``pkg/controller/replicaset``, ``pkg/controller/controller_utils.go``
(ActivePodsWithRanks).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from services.api.pb.ursa.apps.v1.replica_set_pb2 import ReplicaSetStatus
from services.controllers.replicasets.facts import Wanted
from services.controllers.tenantpods import TenantPod

REPLICA_FAILURE = "ReplicaFailure"
_PHASES = {"Pending": 0, "Unknown": 1}


@dataclass(frozen=True)
class Plan:
    """``create``: pods to make. ``delete``: pods to delete, in this order. ``recheck_s``: when a pod will have been
    ready for long enough (None: none is waited for)."""

    create: int
    delete: tuple[TenantPod, ...]
    recheck_s: float | None


def decide(wanted: Wanted, active: Sequence[TenantPod], now: float, burst: int) -> Plan:
    """``active``: its pods that neither finished nor are being deleted. ``now``: Unix seconds."""
    recheck_s = _recheck_s(wanted, active, now)
    if wanted.ending:
        return Plan(0, (), recheck_s)
    excess = len(active) - wanted.replicas
    if excess <= 0:
        return Plan(min(-excess, burst), (), recheck_s)
    return Plan(0, tuple(deletion_order(active, now)[: min(excess, burst)]), recheck_s)


def deletion_order(active: Sequence[TenantPod], now: float) -> list[TenantPod]:
    """Whom it hurts least goes first: unassigned, pending, not ready, cheap, doubled up on its node, ready for a short
    time (by orders of magnitude: KEP-2185), often restarted, young."""
    together = Counter((pod.partition, pod.node) for pod in active if pod.node)

    def rank(pod: TenantPod) -> tuple[object, ...]:
        return (
            bool(pod.node),
            _PHASES.get(pod.phase, 2),
            bool(pod.ready_since),
            pod.cost,
            -together[pod.partition, pod.node],
            _magnitude(now - pod.ready_since) if pod.ready_since else 0,
            -pod.restarts,
            _magnitude(now - pod.created),
            pod.uid,
        )

    return sorted(active, key=rank)


def _magnitude(age_s: float) -> int:
    return int(math.log2(age_s * 1e9)) if age_s > 0 else -1


def available(wanted: Wanted, pod: TenantPod, now: float) -> bool:
    """Ready for at least ``minReadySeconds``."""
    return bool(pod.ready_since) and (not wanted.min_ready_s or pod.ready_since + wanted.min_ready_s <= now)


def status(
    wanted: Wanted, active: Sequence[TenantPod], terminating: int, now: float, failure: tuple[str, str] | None
) -> ReplicaSetStatus:
    """``terminating``: its pods that are being deleted and have not finished. ``failure``: why pods could not be made
    or deleted, as (reason, message)."""
    labels = wanted.template.metadata.labels.items()
    made = ReplicaSetStatus(
        replicas=len(active),
        fully_labeled_replicas=sum(labels <= dict(pod.labels).items() for pod in active),
        ready_replicas=sum(bool(pod.ready_since) for pod in active),
        available_replicas=sum(available(wanted, pod, now) for pod in active),
        terminating_replicas=terminating,
        observed_generation=max(wanted.generation, wanted.status.observed_generation),
        conditions=[one for one in wanted.status.conditions if one.type != REPLICA_FAILURE],
    )
    if failure is not None:
        before = next((one for one in wanted.status.conditions if one.type == REPLICA_FAILURE), None)
        condition = made.conditions.add(type=REPLICA_FAILURE, status="True", reason=failure[0], message=failure[1])
        if before is not None and before.status == "True":
            # Upstream keeps the first failure as it was: its time says since when.
            condition.CopyFrom(before)
        else:
            condition.last_transition_time.seconds = int(now)
    return made


def _recheck_s(wanted: Wanted, active: Sequence[TenantPod], now: float) -> float | None:
    if not wanted.min_ready_s:
        return None
    left = [
        pod.ready_since + wanted.min_ready_s - now
        for pod in active
        if pod.ready_since and not available(wanted, pod, now)
    ]
    return max(min(left), 0.0) if left else None
