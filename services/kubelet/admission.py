"""Admission on the node, the last line: a pod that does not fit fails, whoever bound it here.

Reasons are Kubernetes' (``pkg/kubelet/lifecycle``): OutOfcpu, OutOfmemory, OutOfpods, NodePorts, NodeAffinity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.placement import nodes, pods
from services.placement.affinity import pod_matches_node

_INSUFFICIENT = "Insufficient "


class Rejection(NamedTuple):
    """As it goes into the pod's status."""

    reason: str
    message: str


PORTS_TAKEN = Rejection(
    "NodePorts", "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the pod"
)


NOT_FOR_THIS_NODE = Rejection(
    "NodeAffinity",
    "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
)


def admit(
    pod: Pod,
    *,
    allocatable: Mapping[str, int],
    used: Mapping[str, int],
    pods_used: int,
    ports_used: Iterable[pods.HostPort],
    node: str,
    labels: Callable[[], Mapping[str, str]],
    requests: Mapping[str, int] | None = None,
) -> Rejection | None:
    """None: it may run. ``used`` and ``pods_used``: what the pods that hold resources here take now;
    ``node``, ``labels``: the node's name and what gives its labels, which few pods ask for; ``requests``: those of the
    pod, where they are known."""
    requests = pods.requests(pod) if requests is None else requests
    reasons = nodes.fits(requests, allocatable, used, pods_used)
    if reasons:
        return _out_of(reasons[0], requests, allocatable, used, pods_used)
    spec = pod.spec
    selects = spec.node_selector or spec.affinity.node_affinity.ByteSize()
    if selects and not pod_matches_node(pod, labels(), node):
        return NOT_FOR_THIS_NODE
    if pods.ports_conflict(pods.host_ports(pod), ports_used):
        return PORTS_TAKEN
    return None


def _out_of(
    reason: str,
    requests: Mapping[str, int],
    allocatable: Mapping[str, int],
    used: Mapping[str, int],
    pods_used: int,
) -> Rejection:
    if reason.startswith(_INSUFFICIENT):
        resource = reason.removeprefix(_INSUFFICIENT)
        wanted, taken = requests.get(resource, 0), used.get(resource, 0)
    else:
        resource, wanted, taken = "pods", 1, pods_used
    capacity = allocatable.get(resource, 0)
    return Rejection(
        f"OutOf{resource}",
        f"Pod was rejected: Node didn't have enough resource: {resource}, "
        f"requested: {wanted}, used: {taken}, capacity: {capacity}",
    )
