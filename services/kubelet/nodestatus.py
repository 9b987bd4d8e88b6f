"""The node as its kubelet wants it to be, and what to write to make it so.

``decide`` is pure: the node as it is (or None), when it was last reported, the time; out comes one action. Status is
computed often and reported only when it differs, or every few minutes (KEP-0009): heartbeats are the lease's work.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from hashlib import blake2b
from typing import NamedTuple

from services.api.pb.ursa.core.v1.node_pb2 import Node, NodeCondition
from services.kubelet.health import HEALTHY, Health

HOSTNAME_LABEL = "kubernetes.io/hostname"
OS_LABEL, ARCH_LABEL = "kubernetes.io/os", "kubernetes.io/arch"
ZONE_LABEL = "topology.kubernetes.io/zone"
PARTITION_LABEL = "ursa.io/resource-partition"
HOST_LABEL = "ursa.io/kubelet-host"

KUBELET_VERSION = "v1.35.0-ursa.0.1.0"


class NodeTemplate(NamedTuple):
    """What the nodes of one pool have in common; shared, never copied per node.

    ``address``: where the kubelet's own services are reached; empty: nowhere, and each node has a made-up one.
    ``port``: of those services, 0 for none.
    """

    resource_partition: str
    host: str
    labels: Mapping[str, str]
    capacity: Mapping[str, str]
    allocatable: Mapping[str, str]
    runtime: str
    runtime_version: str
    address: str = ""
    port: int = 0
    kernel: str = "hollow"
    os_image: str = "Ursa hollow node"


class NodeAction(enum.Enum):
    NOTHING = "nothing"
    CREATE = "create"
    UPDATE = "update"
    REPORT = "report"


def labels(template: NodeTemplate, name: str, zone: str) -> dict[str, str]:
    """The labels that the kubelet keeps on its node; others are left alone."""
    wanted = {
        **template.labels,
        HOSTNAME_LABEL: name,
        OS_LABEL: "linux",
        ARCH_LABEL: "amd64",
        PARTITION_LABEL: template.resource_partition,
        HOST_LABEL: template.host,
    }
    if zone:
        wanted[ZONE_LABEL] = zone
    return wanted


def decide(
    template: NodeTemplate,
    name: str,
    zone: str,
    existing: Node | None,
    *,
    now_s: float,
    reported_s: float,
    every_s: float,
    boots: int = 0,
    health: Health = HEALTHY,
) -> NodeAction:
    """``reported_s``: when this process last reported the status (0: never). ``boots``: as in ``boot_id``."""
    if existing is None:
        return NodeAction.CREATE
    has = existing.metadata.labels
    if any(has.get(key) != value for key, value in labels(template, name, zone).items()):
        return NodeAction.UPDATE
    if not reported_s or now_s - reported_s >= every_s or not _as_wanted(template, existing, boots, health):
        return NodeAction.REPORT
    return NodeAction.NOTHING


def is_ready(node: Node) -> bool:
    """Its Ready condition is True."""
    return any(condition.type == "Ready" and condition.status == "True" for condition in node.status.conditions)


def boot_id(resource_partition: str, name: str, boots: int) -> str:
    """Of a node's ``boots``-th start: the identity of the machine for the first, another one each time after."""
    if not boots:
        return _identity(resource_partition, name)
    return blake2b(f"{resource_partition}/{name}/{boots}".encode(), digest_size=16).hexdigest()


def _identity(resource_partition: str, name: str) -> str:
    return blake2b(f"{resource_partition}/{name}".encode(), digest_size=16).hexdigest()


def _as_wanted(template: NodeTemplate, node: Node, boots: int, health: Health) -> bool:
    status = node.status
    if dict(status.capacity) != template.capacity or dict(status.allocatable) != template.allocatable:
        return False
    if boots and status.node_info.boot_id != boot_id(template.resource_partition, node.metadata.name, boots):
        return False
    found = {condition.type: condition.status for condition in status.conditions}
    return all(found.get(kind) == value for kind, value, _, _ in health)


def created(
    template: NodeTemplate, name: str, zone: str, now_s: float, boots: int = 0, health: Health = HEALTHY
) -> Node:
    """The node to register, with its first status."""
    node = Node()
    node.metadata.name = name
    node.metadata.labels.update(labels(template, name, zone))
    _set_status(node, template, name, now_s, boots, health)
    return node


def updated(template: NodeTemplate, name: str, zone: str, existing: Node) -> Node:
    """``existing`` with the kubelet's labels; its resource version is the precondition."""
    node = Node()
    node.CopyFrom(existing)
    node.metadata.labels.update(labels(template, name, zone))
    return node


def reported(template: NodeTemplate, existing: Node, now_s: float, boots: int = 0, health: Health = HEALTHY) -> Node:
    """The message of a status report: name, UID as precondition, status."""
    node = Node()
    node.metadata.name, node.metadata.uid = existing.metadata.name, existing.metadata.uid
    node.status.CopyFrom(existing.status)
    _set_status(node, template, existing.metadata.name, now_s, boots, health)
    return node


def _set_status(node: Node, template: NodeTemplate, name: str, now_s: float, boots: int, health: Health) -> None:
    status = node.status
    status.capacity.clear()
    status.capacity.update(template.capacity)
    status.allocatable.clear()
    status.allocatable.update(template.allocatable)
    del status.addresses[:]
    status.addresses.add(type="InternalIP", address=template.address or host_ip(template.resource_partition, name))
    status.addresses.add(type="Hostname", address=name)
    status.ClearField("daemon_endpoints")
    if template.port:
        status.daemon_endpoints.kubelet_endpoint.port = template.port
    info = status.node_info
    info.machine_id = info.system_uuid = _identity(template.resource_partition, name)
    info.boot_id = boot_id(template.resource_partition, name, boots)
    info.kernel_version, info.os_image = template.kernel, template.os_image
    info.container_runtime_version = f"{template.runtime}://{template.runtime_version}"
    info.kubelet_version = KUBELET_VERSION
    info.operating_system, info.architecture = "linux", "amd64"
    existing = {condition.type: condition for condition in status.conditions}
    for kind, value, reason, message in health:
        condition = existing.get(kind) or status.conditions.add(type=kind)
        _set_condition(condition, value, reason, message, int(now_s))


def _set_condition(condition: NodeCondition, value: str, reason: str, message: str, now: int) -> None:
    if condition.status != value:
        condition.status = value
        condition.last_transition_time.seconds, condition.last_transition_time.nanos = now, 0
    condition.last_heartbeat_time.seconds, condition.last_heartbeat_time.nanos = now, 0
    condition.reason, condition.message = reason, message


def host_ip(resource_partition: str, name: str) -> str:
    """An address of 172.16.0.0/12 that depends on the node's names alone, never .0 or .255."""
    first, second, third = blake2b(f"{resource_partition}/{name}".encode(), digest_size=3).digest()
    return f"172.{16 + first % 16}.{second}.{1 + third % 254}"
