"""The lease by which a node is known to live (KEP-0009): ``kube-node-lease/<node>`` of tenant ``system`` in its RP."""

from __future__ import annotations

from services.api.pb.ursa.coordination.v1.lease_pb2 import Lease

SYSTEM_TENANT = "system"
NAMESPACE = "kube-node-lease"


def lease(node_name: str, node_uid: str, *, now_s: float, duration_s: int) -> Lease:
    """A renewal at ``now_s`` (microseconds are kept). Owned by the node, so that it is deleted with it."""
    result = Lease()
    metadata, spec = result.metadata, result.spec
    metadata.name, metadata.namespace, metadata.tenant = node_name, NAMESPACE, SYSTEM_TENANT
    own(result, node_name, node_uid)
    spec.holder_identity = node_name
    spec.lease_duration_seconds = duration_s
    seconds = int(now_s)
    spec.renew_time.seconds = seconds
    spec.renew_time.nanos = int((now_s - seconds) * 1e6) * 1000
    return result


def own(lease: Lease, node_name: str, node_uid: str) -> None:
    """Make the node an owner of its lease."""
    lease.metadata.owner_references.add(api_version="v1", kind="Node", name=node_name, uid=node_uid)
