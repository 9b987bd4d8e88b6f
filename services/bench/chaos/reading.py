"""From objects of the API to facts. Pure."""

from __future__ import annotations

from services.api import keys
from services.api.kinds import PODS
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim, CapacityLedger
from services.bench.chaos.facts import FinalClaim, FinalNode, FinalPod, NodeSeen, PodSeen
from services.placement.pods import requests

WORKLOAD_LABEL = "workload"
_EVENTS = {1: "added", 2: "modified", 3: "deleted"}
_UNSCHEDULING = "NoExecute"


def event_name(event_type: int) -> str:
    """Of ``ursa.watch.v1.EventType``."""
    return _EVENTS[event_type]


def node_of(pod: Pod) -> str:
    """``<resource partition>/<name>`` of the node that the pod is bound to, or ""."""
    return f"{pod.spec.resource_partition}/{pod.spec.node_name}" if pod.spec.node_name else ""


def is_ready(pod: Pod) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions)


def pod_seen(at: float, watch: str, partition: str, event: str, pod: Pod) -> PodSeen:
    metadata = pod.metadata
    disruption = next(
        (one.reason for one in pod.status.conditions if one.type == "DisruptionTarget" and one.status == "True"), ""
    )
    return PodSeen(
        at,
        watch,
        partition,
        event,
        metadata.resource_version,
        keys.key_of(PODS, pod),
        metadata.uid,
        node=node_of(pod),
        phase=pod.status.phase,
        workload=metadata.labels.get(WORKLOAD_LABEL, ""),
        ready=is_ready(pod),
        ending=metadata.HasField("deletion_timestamp"),
        disruption=disruption,
    )


def node_seen(at: float, watch: str, partition: str, event: str, node: Node) -> NodeSeen:
    return NodeSeen(
        at,
        watch,
        event,
        node.metadata.resource_version,
        f"{partition}/{node.metadata.name}",
        node.metadata.uid,
        ready=_ready(node),
        no_execute=tuple(taint.key for taint in node.spec.taints if taint.effect == _UNSCHEDULING),
        boot_id=node.status.node_info.boot_id,
    )


def final_pod(partition: str, pod: Pod) -> FinalPod:
    metadata = pod.metadata
    return FinalPod(
        partition,
        keys.key_of(PODS, pod),
        metadata.uid,
        metadata.resource_version,
        node=node_of(pod),
        phase=pod.status.phase,
        workload=metadata.labels.get(WORKLOAD_LABEL, ""),
        ready=is_ready(pod),
        ending=metadata.HasField("deletion_timestamp"),
        requests=dict(requests(pod)),
    )


def final_node(partition: str, node: Node, ledger: CapacityLedger | None) -> FinalNode:
    claimed = ledger.claimed if ledger is not None else ()
    return FinalNode(
        f"{partition}/{node.metadata.name}",
        node.metadata.uid,
        node.metadata.resource_version,
        _ready(node),
        claimed={total.tenant_partition: dict(total.requests) for total in claimed},
        pods={total.tenant_partition: total.pods for total in claimed},
        promises=len(ledger.promises) if ledger is not None else 0,
    )


def final_claim(partition: str, claim: CapacityClaim) -> FinalClaim:
    spec = claim.spec
    return FinalClaim(
        f"{partition}/{spec.node_name}", claim.metadata.name, spec.tenant_partition, requests=dict(spec.requests)
    )


def _ready(node: Node) -> str:
    return next((condition.status for condition in node.status.conditions if condition.type == "Ready"), "")
