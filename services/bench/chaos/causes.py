"""Why a pod was deleted, as far as the history can tell, and until when it must have been. Pure."""

from __future__ import annotations

from enum import Enum

from services.bench.chaos.facts import Fault
from services.bench.chaos.history import History, PodLife

# Between two clocks of one machine: what lies between an act and its record.
RECORD_S = 0.5


class Cause(Enum):
    """``ASKED``: by the load; ``TERMINAL``: its containers had ended for good; ``EVICTED``: its node was silent for too
    long; ``SURPLUS``: its workload had more pods than it wants; ``NONE``: no reason that is known."""

    ASKED = "asked"
    TERMINAL = "terminal"
    EVICTED = "evicted"
    SURPLUS = "surplus"
    NONE = "none"


def cause(history: History, life: PodLife) -> Cause:
    """Of the deletion of a pod that was seen to be deleted."""
    at = life.ending_at
    if any(one.began <= at for one in life.asked):
        return Cause.ASKED
    if life.terminal_at <= at:
        return Cause.TERMINAL
    if life.node and silence_before(history, life.node, at, tolerated=True) is not None:
        return Cause.EVICTED
    if _is_surplus(history, life, at):
        return Cause.SURPLUS
    return Cause.NONE


def silence_before(history: History, node: str, at: float, *, tolerated: bool) -> Fault | None:
    """The fault that had silenced ``node`` for longer than the grace by ``at`` (``tolerated``: and than pods bear it).

    The controller counts from the last renewal that it saw, which may be one period before the fault; and it may need
    a moment to see that the node is back.
    """
    bounds = history.bounds
    patience_s = bounds.grace_s + (bounds.toleration_s if tolerated else 0.0)
    for fault in history.silences(node):
        earliest = fault.began - 1.1 * bounds.renew_s - RECORD_S + patience_s
        latest = fault.ended + 1.1 * bounds.renew_s + 2 * bounds.monitor_s + bounds.slack_s
        if earliest <= at <= latest and fault.ended - fault.began + 1.1 * bounds.renew_s + RECORD_S >= patience_s:
            return fault
    return None


def _is_surplus(history: History, life: PodLife, at: float) -> bool:
    wanted = history.workloads(at).get((life.partition, life.workload))
    if wanted is None or wanted.keeper != "replicaset":
        return False
    others = [one for one in history.pods_of(life.partition, life.workload) if one is not life and one.lived_at(at)]
    return len(others) >= wanted.replicas


def eviction_due(history: History, fault: Fault, life: PodLife) -> float:
    """Until when a pod of a silent node must be evicted.

    While its own tenant partition answers nobody it cannot be, and is soon after. When the node's partition or its
    controllers are away before the node is tainted, everything begins anew; after that only the rest is left.
    """
    node_partition = life.node.partition("/")[0]
    together = sum(1 for node in fault.silent if node.partition("/")[0] == node_partition)
    bounds = history.bounds
    whole_s = bounds.eviction_s(together)
    tainted = fault.began + whole_s - bounds.toleration_s
    rest_s = 2 * bounds.slack_s + together / bounds.evictions_per_s
    due = fault.began + whole_s
    for other in sorted(history.faults, key=lambda one: one.began):
        if other is fault or other.began > due or other.ended < fault.began:
            continue
        if node_partition in (*other.partitions, *other.unmanaged) and other.began < tainted:
            tainted = max(tainted, other.ended + whole_s - bounds.toleration_s)
            due = max(due, other.ended + whole_s)
        elif {node_partition, life.partition} & {*other.partitions, *other.unmanaged}:
            # A manager that takes over lets no pod go before its nodes have had their grace under it.
            anew_s = bounds.grace_s if node_partition in (*other.partitions, *other.unmanaged) else 0.0
            due = max(due, other.ended + anew_s + rest_s)
    return due
