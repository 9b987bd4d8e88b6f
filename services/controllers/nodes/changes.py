"""The writes to a node: conditions that say it is lost, taints that follow its conditions, its TTL annotation. Pure."""

from __future__ import annotations

import enum

from google.protobuf.timestamp_pb2 import Timestamp

from services.api.pb.ursa.core.v1.node_pb2 import Node, Taint
from services.controllers.nodes.facts import (
    NOT_READY,
    SCHEDULING_TAINTS,
    TTL_ANNOTATION,
    UNREACHABLE,
    NodeFact,
    Ready,
)
from services.placement.tolerations import NO_EXECUTE, NO_SCHEDULE

# What a lost node's conditions become (pkg/controller/nodelifecycle, tryUpdateNodeHealth).
CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
STOPPED = ("NodeStatusUnknown", "Kubelet stopped posting node status.")
NEVER = ("NodeStatusNeverUpdated", "Kubelet never posted node status.")


class Execute(enum.Enum):
    """The NoExecute taint of this controller that a node is to have."""

    NONE = ""
    NOT_READY = NOT_READY
    UNREACHABLE = UNREACHABLE


_OURS = frozenset((NOT_READY, UNREACHABLE))


def wanted(fact: NodeFact, *, granted: bool, stopped: bool) -> Execute:
    """``granted``: its zone's rate allows the taint; ``stopped``: no zone has a healthy node. A node that has one
    of the two taints gets the other when its condition changes, without waiting for its turn."""
    if stopped or fact.ready in (Ready.TRUE, Ready.NEVER):
        return Execute.NONE
    if not granted and not any(key in _OURS for key, *_ in fact.executing):
        return Execute.NONE
    return Execute.NOT_READY if fact.ready is Ready.FALSE else Execute.UNREACHABLE


def needs(fact: NodeFact, execute: Execute, ttl: str) -> bool:
    """The node's spec or annotations are not as they should be."""
    ours = [key for key, *_ in fact.executing if key in _OURS]
    return (
        fact.scheduling != fact.unschedulable_for
        or ours != ([execute.value] if execute is not Execute.NONE else [])
        or fact.ttl != ttl
    )


def revised(fact: NodeFact, execute: Execute, ttl: str, now_s: float) -> Node:
    """The node as it should be; its resource version is the precondition. Taints of others stay as they are."""
    node = Node.FromString(fact.data)
    had = [*node.spec.taints]
    keep = [taint for taint in had if not _is_ours(taint)]
    schedule = dict.fromkeys(fact.unschedulable_for, NO_SCHEDULE)
    want = [*schedule.items(), *([(execute.value, NO_EXECUTE)] if execute is not Execute.NONE else [])]
    known = {(taint.key, taint.effect): taint for taint in had if _is_ours(taint)}
    for key, effect in want:
        # A taint that stays keeps the time it was added.
        keep.append(known.get((key, effect)) or Taint(key=key, effect=effect, time_added=Timestamp(seconds=int(now_s))))
    kept = [Taint.FromString(taint.SerializeToString()) for taint in keep]
    del node.spec.taints[:]
    node.spec.taints.extend(kept)
    node.metadata.annotations[TTL_ANNOTATION] = ttl
    return node


def _is_ours(taint: Taint) -> bool:
    if taint.effect == NO_EXECUTE:
        return taint.key in _OURS
    return taint.effect == NO_SCHEDULE and taint.key in SCHEDULING_TAINTS


def unknown(fact: NodeFact, now_s: float) -> Node:
    """The status update of a node that is lost: what its kubelet last said holds no more."""
    source = Node.FromString(fact.data)
    update = Node(status=source.status)
    metadata = update.metadata
    metadata.name, metadata.uid, metadata.resource_version = fact.name, fact.uid, fact.version
    found = {condition.type: condition for condition in update.status.conditions}
    for kind in CONDITIONS:
        condition = found.get(kind)
        if condition is None:
            condition = update.status.conditions.add(type=kind, status="Unknown")
            condition.reason, condition.message = NEVER
            condition.last_heartbeat_time.CopyFrom(source.metadata.creation_timestamp)
            condition.last_transition_time.CopyFrom(Timestamp(seconds=int(now_s)))
        elif condition.status != "Unknown":
            condition.status = "Unknown"
            condition.reason, condition.message = STOPPED
            condition.last_transition_time.CopyFrom(Timestamp(seconds=int(now_s)))
    return update
