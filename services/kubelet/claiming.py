"""The claim of a bound pod, and what its refusal means on the node. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim
from services.kubelet.admission import PORTS_TAKEN, Rejection
from services.placement import pods
from services.placement.ledger import INSUFFICIENT, PORT_CONFLICT
from services.placement.resources import PODS
from services.rpc.status import StatusError

# Refusals that another moment does not change: the room is not there. (Nor does it help to ask again for nonsense.)
REFUSALS = frozenset((INSUFFICIENT, PORT_CONFLICT, "Invalid"))
_INSUFFICIENT = "Insufficient "


def claim_for(pod: Pod, partition: str, requests: Mapping[str, int] | None = None) -> CapacityClaim:
    """The claim of a bound pod that came from tenant partition ``partition``; ``requests``: its own, where known."""
    metadata, spec = pod.metadata, pod.spec
    claim = CapacityClaim()
    claim.metadata.name = metadata.uid
    wanted = claim.spec
    wanted.node_name, wanted.tenant_partition, wanted.bind_epoch = spec.node_name, partition, spec.bind_epoch
    wanted.tenant, wanted.namespace, wanted.pod_name = metadata.tenant, metadata.namespace, metadata.name
    wanted.requests.update(pods.requests(pod) if requests is None else requests)
    wanted.requests.pop(PODS, None)
    for protocol, ip, number in sorted(pods.host_ports(pod)):
        wanted.host_ports.add(protocol=protocol, host_ip=ip, host_port=number)
    return claim


def refused(refusal: StatusError, pod: Pod, allocatable: Mapping[str, int]) -> Rejection:
    """What the ledger's refusal of the pod's claim is called on a node; others' claims take what is missing here."""
    if refusal.reason == PORT_CONFLICT:
        return PORTS_TAKEN
    if refusal.reason != INSUFFICIENT:
        return Rejection("UnexpectedAdmissionError", f"Pod was rejected: {refusal.message}")
    requests = pods.requests(pod)
    short = [resource for resource in requests if refusal.message.endswith(_INSUFFICIENT + resource)]
    resource, wanted = (short[0], requests[short[0]]) if short else (PODS, 1)
    return Rejection(
        f"OutOf{resource}",
        f"Pod was rejected: Node didn't have enough resource: {resource}, requested: {wanted}, "
        f"capacity: {allocatable.get(resource, 0)}, of which other pods' claims hold too much",
    )
