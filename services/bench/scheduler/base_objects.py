"""What upstream creates when no template is given (scheduler_perf's ``makeBasePod`` and node preparer)."""

from __future__ import annotations

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod


def base_pod() -> Pod:
    """A pause container with 100m CPU and 500Mi, requests and limits."""
    pod = Pod()
    pod.metadata.generate_name = "pod-"
    container = pod.spec.containers.add(name="pause", image="registry.k8s.io/pause:3.10")
    container.ports.add(container_port=80)
    for quantities in (container.resources.requests, container.resources.limits):
        quantities["cpu"], quantities["memory"] = "100m", "500Mi"
    return pod


def base_node(prefix: str) -> Node:
    """110 pods, 4 CPU, 32Gi, Ready."""
    node = Node()
    node.metadata.generate_name = prefix
    for name, quantity in (("pods", "110"), ("cpu", "4"), ("memory", "32Gi")):
        node.status.capacity[name] = quantity
    node.status.phase = "Running"
    node.status.conditions.add(type="Ready", status="True")
    return node
