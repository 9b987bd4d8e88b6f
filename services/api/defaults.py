"""Kubernetes' defaults, set in place before an object is validated. Applying them twice changes nothing more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.struct_pb2 import Value

from services.api import pod_defaults
from services.api.amounts import normalise
from services.api.kinds import Kind
from services.api.pb.ursa.apps.v1.replica_set_pb2 import ReplicaSet
from services.api.pb.ursa.core.v1.namespace_pb2 import Namespace
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.core.v1.service_pb2 import Service, ServicePort
from services.api.pb.ursa.discovery.v1.endpoint_slice_pb2 import EndpointSlice
from services.api.pb.ursa.scheduling.v1.priority_class_pb2 import PriorityClass
from services.api.pb.ursa.tenancy.v1.tenancy_pb2 import Tenant

NAMESPACE_FINALIZER = "kubernetes"
NAME_LABEL = "kubernetes.io/metadata.name"
CLIENT_IP_AFFINITY_S = 10_800


def apply(kind: Kind, message: Any) -> None:
    """Fill in what the writer left out. Values that are wrong are left for validation."""
    of_kind = _BY_KIND.get(kind.name)
    if of_kind is not None:
        of_kind(message)


def _pod(pod: Pod) -> None:
    pod_defaults.apply(pod)


def _node(node: Node) -> None:
    status = node.status if node.HasField("status") else None
    if status is not None:
        normalise(status.capacity)
        normalise(status.allocatable)
        if not status.allocatable and status.capacity:
            status.allocatable.update(status.capacity)


def _namespace(namespace: Namespace) -> None:
    if not namespace.spec.finalizers and not namespace.metadata.HasField("deletion_timestamp"):
        namespace.spec.finalizers.append(NAMESPACE_FINALIZER)
    if not namespace.status.phase:
        namespace.status.phase = "Active"
    if namespace.metadata.name:
        namespace.metadata.labels[NAME_LABEL] = namespace.metadata.name


def _tenant(tenant: Tenant) -> None:
    if not tenant.status.phase:
        tenant.status.phase = "Active"


def _priority_class(priority_class: PriorityClass) -> None:
    if not priority_class.preemption_policy:
        priority_class.preemption_policy = "PreemptLowerPriority"


def _service(service: Service) -> None:
    """``pkg/apis/core/v1/defaults.go`` SetDefaults_Service. Nothing proxies services yet: no cluster IP."""
    spec = service.spec
    spec.session_affinity = spec.session_affinity or "None"
    if spec.session_affinity == "None":
        spec.ClearField("session_affinity_config")
    elif spec.session_affinity == "ClientIP" and not spec.session_affinity_config.client_ip.HasField("timeout_seconds"):
        spec.session_affinity_config.client_ip.timeout_seconds = CLIENT_IP_AFFINITY_S
    spec.type = spec.type or "ClusterIP"
    for port in spec.ports:
        _service_port(port)
    if spec.type in ("NodePort", "LoadBalancer"):
        spec.external_traffic_policy = spec.external_traffic_policy or "Cluster"
    if spec.type in ("ClusterIP", "NodePort", "LoadBalancer"):
        spec.internal_traffic_policy = spec.internal_traffic_policy or "Cluster"
    if spec.type == "LoadBalancer" and not spec.HasField("allocate_load_balancer_node_ports"):
        spec.allocate_load_balancer_node_ports = True
    if spec.cluster_ip and not spec.cluster_ips:
        spec.cluster_ips.append(spec.cluster_ip)


def _service_port(port: ServicePort) -> None:
    port.protocol = port.protocol or "TCP"
    target = port.target_port
    if target.WhichOneof("kind") in (None, "null_value") or target in (_ZERO, _EMPTY):
        target.number_value = port.port


def _replica_set(replica_set: ReplicaSet) -> None:
    """``pkg/apis/apps/v1/defaults.go`` SetDefaults_ReplicaSet, and the defaults of its pods' template."""
    spec = replica_set.spec
    if not spec.HasField("replicas"):
        spec.replicas = 1
    if spec.HasField("template"):
        pod_defaults.apply_template(spec.template.spec)


def _endpoint_slice(endpoint_slice: EndpointSlice) -> None:
    """``pkg/apis/discovery/v1/defaults.go``."""
    for port in endpoint_slice.ports:
        if not port.HasField("name"):
            port.name = ""
        if not port.HasField("protocol"):
            port.protocol = "TCP"


_ZERO, _EMPTY = Value(number_value=0), Value(string_value="")


_BY_KIND: dict[str, Callable[[Any], None]] = {
    "Pod": _pod,
    "Node": _node,
    "Namespace": _namespace,
    "Tenant": _tenant,
    "PriorityClass": _priority_class,
    "Service": _service,
    "ReplicaSet": _replica_set,
    "EndpointSlice": _endpoint_slice,
}
