"""What is kept of a node and of its lease. Pure."""

from __future__ import annotations

import enum
import sys
from operator import itemgetter
from typing import NamedTuple

from services.api.excerpts import excerpt
from services.api.pb.ursa.coordination.v1.lease_pb2 import Lease
from services.api.pb.ursa.core.v1.node_pb2 import Node, Taint
from services.client.informer import Accessors
from services.placement.tolerations import NO_EXECUTE, NO_SCHEDULE

SYSTEM_TENANT = "system"
LEASE_NAMESPACE = "kube-node-lease"

REGION_LABEL = "topology.kubernetes.io/region"
ZONE_LABEL = "topology.kubernetes.io/zone"
EXCLUDED_LABEL = "node.kubernetes.io/exclude-disruption"
TTL_ANNOTATION = "node.alpha.kubernetes.io/ttl"

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
MEMORY_PRESSURE = "node.kubernetes.io/memory-pressure"
DISK_PRESSURE = "node.kubernetes.io/disk-pressure"
PID_PRESSURE = "node.kubernetes.io/pid-pressure"
NETWORK_UNAVAILABLE = "node.kubernetes.io/network-unavailable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"

# NoSchedule taints by condition and its status (pkg/controller/nodelifecycle, nodeConditionToTaintKeyStatusMap).
_TAINT_OF = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): MEMORY_PRESSURE,
    ("DiskPressure", "True"): DISK_PRESSURE,
    ("NetworkUnavailable", "True"): NETWORK_UNAVAILABLE,
    ("PIDPressure", "True"): PID_PRESSURE,
}
SCHEDULING_TAINTS = frozenset((*_TAINT_OF.values(), UNSCHEDULABLE))


class Ready(enum.IntEnum):
    """The condition Ready; ``NEVER``: no status was ever reported."""

    NEVER = 0
    TRUE = 1
    FALSE = 2
    UNKNOWN = 3


UNREADY = (Ready.FALSE, Ready.UNKNOWN)
_READY = {"True": Ready.TRUE, "False": Ready.FALSE}


class NodeFact(NamedTuple):
    """``zone``: region and zone. ``reported``: when its kubelet last reported (its own clock, ns).
    ``unschedulable_for``: keys of the NoSchedule taints it should have, in order; ``scheduling``: those that it has.
    ``executing``: its NoExecute taints as (key, value, time added in ns). ``ttl``: its TTL annotation, "": none.
    ``excluded``: it does not count in its zone's state. ``data``: the Node as served."""

    name: str
    uid: str
    version: int
    zone: str
    ready: Ready
    reported: int
    unschedulable_for: tuple[str, ...]
    scheduling: tuple[str, ...]
    executing: tuple[tuple[str, str, int], ...]
    ttl: str
    excluded: bool
    data: bytes

    def executes(self, key: str) -> bool:
        """It has the NoExecute taint ``key``."""
        return any(taint == key for taint, *_ in self.executing)

    def is_tainted_anew(self, before: NodeFact | None) -> bool:
        """A NoExecute taint that it had ``before`` went and came again in between, unseen, and no other stayed."""
        if before is None:
            return False
        had = {key: added for key, _, added in before.executing}
        again = [had[key] != added for key, _, added in self.executing if key in had]
        return bool(again) and all(again)


def read_node(data: bytes) -> NodeFact:
    """From a Node's bytes."""
    node = Node.FromString(data)
    metadata = node.metadata
    ready, reported = Ready.NEVER, 0
    keys: list[str] = []
    for condition in node.status.conditions:
        if condition.type == "Ready":
            ready = _READY.get(condition.status, Ready.UNKNOWN)
            heartbeat = condition.last_heartbeat_time
            reported = heartbeat.seconds * 1_000_000_000 + heartbeat.nanos
        key = _TAINT_OF.get((condition.type, condition.status))
        if key is not None:
            keys.append(key)
    if node.spec.unschedulable:
        keys.append(UNSCHEDULABLE)
    labels = metadata.labels
    return NodeFact(
        name=metadata.name,
        uid=metadata.uid,
        version=metadata.resource_version,
        zone=sys.intern(zone_of(labels.get(REGION_LABEL, ""), labels.get(ZONE_LABEL, ""))),
        ready=ready,
        reported=reported,
        unschedulable_for=tuple(sorted(keys)),
        scheduling=tuple(
            sorted(
                taint.key
                for taint in node.spec.taints
                if taint.effect == NO_SCHEDULE and taint.key in SCHEDULING_TAINTS
            )
        ),
        executing=tuple(
            (taint.key, taint.value, taint.time_added.ToNanoseconds())
            for taint in node.spec.taints
            if taint.effect == NO_EXECUTE
        ),
        ttl=metadata.annotations.get(TTL_ANNOTATION, ""),
        excluded=EXCLUDED_LABEL in labels,
        data=data,
    )


def zone_of(region: str, zone: str) -> str:
    """The failure domain of a node with these labels; "" without any (component-helpers/node/topology)."""
    return f"{region}:{zone}" if region or zone else ""


def taint_message(key: str, value: str) -> Taint:
    """A NoExecute taint, to ask tolerations about."""
    return Taint(key=key, value=value, effect=NO_EXECUTE)


NODE_ACCESSORS: Accessors[NodeFact] = Accessors(
    lambda fact: fact.name, lambda fact: fact.uid, lambda fact: fact.version
)


class LeaseFact(NamedTuple):
    """``key``: the node's name for the lease of a node, else namespace/name. ``renewed``: its renew time in ns,
    as whoever wrote it says: good for comparing it with itself only."""

    key: str
    of_node: bool
    version: int
    renewed: int


_LeaseExcerpt = excerpt(
    Lease,
    (
        "metadata.name",
        "metadata.namespace",
        "metadata.resource_version",
        "spec.renew_time.seconds",
        "spec.renew_time.nanos",
    ),
)


def read_lease(data: bytes) -> LeaseFact:
    """From a Lease's bytes: thousands come each second."""
    message = _LeaseExcerpt.FromString(data)
    metadata, renewed = message.metadata, message.spec.renew_time
    of_node = metadata.namespace == LEASE_NAMESPACE
    return LeaseFact(
        metadata.name if of_node else f"{metadata.namespace}/{metadata.name}",
        of_node,
        metadata.resource_version,
        renewed.seconds * 1_000_000_000 + renewed.nanos,
    )


# A lease that was replaced under its name is as good a sign of life as one that was renewed: its UID says nothing.
LEASE_ACCESSORS: Accessors[LeaseFact] = Accessors(itemgetter(0), itemgetter(1), itemgetter(2))
