"""The columns of every kind's table: kubectl's, and where an object lives in a cluster of partitions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.api import kinds
from services.api.kinds import Kind
from services.api.selectors import LabelSelector
from services.cli import ages, capacity, podstatus
from services.cli.context import Partition
from services.cli.items import Item

NONE = "<none>"


@dataclass(frozen=True)
class View:
    """What the columns depend on beside the object. ``now``: seconds since the epoch; ``colliding``: node names that
    several resource partitions have; ``typed``: names with their type, for tables of several types."""

    now: float
    wide: bool = False
    tenants: bool = False
    namespaces: bool = False
    labels: bool = False
    typed: bool = False
    colliding: Collection[str] = field(default=frozenset())


Read = Callable[[Any, View, Partition], str]


@dataclass(frozen=True)
class Column:
    header: str
    read: Read
    wide: bool = False


def of(kind: Kind, view: View) -> list[Column]:
    """The columns for ``kind``, in order."""
    chosen = [column for column in _COLUMNS[kind.resource] if view.wide or not column.wide]
    if view.namespaces and kind.namespaced:
        chosen.insert(0, Column("NAMESPACE", lambda obj, view, at: obj.metadata.namespace))
    if view.tenants and kind.tenant_scoped:
        chosen.insert(0, Column("TENANT", lambda obj, view, at: obj.metadata.tenant))
    if view.labels:
        chosen.append(Column("LABELS", lambda obj, view, at: _pairs(obj.metadata.labels)))
    return chosen


def rows(items: Sequence[Item], columns: Sequence[Column], view: View) -> list[list[str]]:
    return [[column.read(item.object, view, item.partition) for column in columns] for item in items]


def colliding_nodes(items: Sequence[Item]) -> frozenset[str]:
    """Names of nodes that occur in several partitions."""
    homes: dict[str, set[str]] = {}
    for item in items:
        if item.kind is kinds.NODES:
            homes.setdefault(item.metadata.name, set()).add(item.partition.name)
    return frozenset(name for name, partitions in homes.items() if len(partitions) > 1)


def _name(obj: Any, view: View, at: Partition) -> str:
    return f"{type(obj).__name__.lower()}/{obj.metadata.name}" if view.typed else str(obj.metadata.name)


def _node_name(obj: Any, view: View, at: Partition) -> str:
    return f"{at.name}/{obj.metadata.name}" if obj.metadata.name in view.colliding else _name(obj, view, at)


def _age(obj: Any, view: View, at: Partition) -> str:
    return ages.since(obj.metadata.creation_timestamp, view.now)


def _partition(obj: Any, view: View, at: Partition) -> str:
    return at.name


def _pairs(pairs: Mapping[str, object]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(pairs.items())) or NONE


def _field(read: Callable[[Any], object], otherwise: str = NONE) -> Read:
    return lambda obj, view, at: str(read(obj) or otherwise)


def _summary(name: str) -> Read:
    return lambda obj, view, at: str(getattr(podstatus.summarize(obj, view.now), name))


def node_status(node: Any) -> str:
    """Ready, NotReady or Unknown, and SchedulingDisabled beside it, as kubectl prints it."""
    status = "Unknown"
    for condition in node.status.conditions:
        if condition.type == "Ready":
            status = "Ready" if condition.status == "True" else "NotReady"
    return f"{status},SchedulingDisabled" if node.spec.unschedulable else status


def node_roles(node: Any) -> str:
    prefix = "node-role.kubernetes.io/"
    return ",".join(sorted(key[len(prefix) :] for key in node.metadata.labels if key.startswith(prefix))) or NONE


def _address(kind: str) -> Callable[[Any], str]:
    return lambda node: next((one.address for one in node.status.addresses if one.type == kind), "")


def event_time(event: Any) -> float:
    """When it last happened, seconds since the epoch; Event has several ways to say it, the most telling first. 0: it
    does not say."""
    for holder, name in (
        (event.series, "last_observed_time"),
        (event, "last_timestamp"),
        (event, "event_time"),
        (event, "first_timestamp"),
        (event.metadata, "creation_timestamp"),
    ):
        if holder.HasField(name):
            moment = getattr(holder, name)
            return float(moment.seconds + moment.nanos / 1e9)
    return 0.0


def event_seen(event: Any, now: float) -> str:
    """How long ago it last happened."""
    moment = event_time(event)
    return ages.human(now - moment) if moment else ages.UNKNOWN


def _endpoints(obj: Any) -> str:
    return ",".join(obj.spec.endpoints)


def external_address(service: Any) -> str:
    """kubectl's EXTERNAL-IP: the name, the load balancer's addresses or the service's own."""
    if service.spec.type == "ExternalName":
        return str(service.spec.external_name)
    balancer = [one.ip or one.hostname for one in service.status.load_balancer.ingress]
    addresses = [*balancer, *service.spec.external_ips]
    return ",".join(addresses) or ("<pending>" if service.spec.type == "LoadBalancer" else "")


def _service_ports(service: Any) -> str:
    return ",".join(
        f"{port.port}:{port.node_port}/{port.protocol}" if port.node_port else f"{port.port}/{port.protocol}"
        for port in service.spec.ports
    )


def _containers(field: str) -> Read:
    """Of a workload's pod template."""
    return lambda obj, view, at: ",".join(getattr(one, field) for one in obj.spec.template.spec.containers) or NONE


def _port_of(port: Any) -> str:
    return str(port.port) if port.HasField("port") else port.name or "*"


def _first_three(texts: Sequence[str]) -> str:
    """As kubectl shortens the ports and addresses of an EndpointSlice."""
    more = f" + {len(texts) - 3} more..." if len(texts) > 3 else ""
    return ",".join(texts[:3]) + more or "<unset>"


def int_or_percentage(spec: Any, field: str) -> str:
    """An IntOrString as kubectl prints it."""
    if not spec.HasField(field):
        return "N/A"
    value = getattr(spec, field)
    return str(value.string_value or int(value.number_value))


_NAME, _AGE = Column("NAME", _name), Column("AGE", _age)
_WIDE_TP = Column("TP", _partition, wide=True)
_WIDE_PARTITION = Column("PARTITION", _partition, wide=True)

_COLUMNS: Mapping[str, Sequence[Column]] = {
    "pods": (
        _NAME,
        Column("READY", _summary("ready")),
        Column("STATUS", _summary("status")),
        Column("RESTARTS", _summary("restarts")),
        _AGE,
        Column("IP", _field(lambda pod: pod.status.pod_ip), wide=True),
        Column("NODE", _field(lambda pod: pod.spec.node_name), wide=True),
        Column("RP", _field(lambda pod: pod.spec.resource_partition), wide=True),
        _WIDE_TP,
        Column("NOMINATED NODE", _field(lambda pod: pod.status.nominated_node_name), wide=True),
    ),
    "nodes": (
        Column("NAME", _node_name),
        Column("STATUS", lambda node, view, at: node_status(node)),
        Column("ROLES", lambda node, view, at: node_roles(node)),
        _AGE,
        Column("VERSION", _field(lambda node: node.status.node_info.kubelet_version)),
        Column("RP", _partition),
        Column("INTERNAL-IP", _field(_address("InternalIP")), wide=True),
        Column("EXTERNAL-IP", _field(_address("ExternalIP")), wide=True),
        Column("OS-IMAGE", _field(lambda node: node.status.node_info.os_image, ages.UNKNOWN), wide=True),
        Column("KERNEL-VERSION", _field(lambda node: node.status.node_info.kernel_version, ages.UNKNOWN), wide=True),
        Column(
            "CONTAINER-RUNTIME",
            _field(lambda node: node.status.node_info.container_runtime_version, ages.UNKNOWN),
            wide=True,
        ),
    ),
    "namespaces": (_NAME, Column("STATUS", _field(lambda one: one.status.phase)), _AGE, _WIDE_PARTITION),
    "events": (
        Column("LAST SEEN", lambda event, view, at: event_seen(event, view.now)),
        Column("TYPE", _field(lambda event: event.type)),
        Column("REASON", _field(lambda event: event.reason)),
        Column(
            "OBJECT",
            lambda event, view, at: f"{event.involved_object.kind.lower()}/{event.involved_object.name}",
        ),
        Column("SOURCE", _field(lambda event: event.source.component or event.reporting_component), wide=True),
        Column("MESSAGE", lambda event, view, at: " ".join(event.message.split())),
        Column("COUNT", _field(lambda event: event.count, "1"), wide=True),
        Column("NAME", _name, wide=True),
        _WIDE_PARTITION,
    ),
    "leases": (_NAME, Column("HOLDER", _field(lambda lease: lease.spec.holder_identity)), _AGE, _WIDE_PARTITION),
    "priorityclasses": (
        _NAME,
        Column("VALUE", lambda one, view, at: str(one.value)),
        Column("GLOBAL-DEFAULT", lambda one, view, at: str(one.global_default).lower()),
        _AGE,
        Column("PREEMPTIONPOLICY", _field(lambda one: one.preemption_policy)),
        _WIDE_TP,
    ),
    "tenants": (
        _NAME,
        Column("STATUS", _field(lambda one: one.status.phase)),
        Column("TP", _partition),
        _AGE,
        Column("DESCRIPTION", _field(lambda one: one.spec.description), wide=True),
    ),
    "tenantplacements": (_NAME, Column("TP", _field(lambda one: one.spec.tenant_partition)), _AGE),
    "tenantpartitions": (_NAME, Column("ENDPOINTS", _field(_endpoints)), _AGE),
    "resourcepartitions": (
        _NAME,
        Column("ENDPOINTS", _field(_endpoints)),
        Column("PLACEMENT-HOME", lambda one, view, at: str(one.spec.placement_home).lower()),
        _AGE,
    ),
    "services": (
        _NAME,
        Column("TYPE", _field(lambda one: one.spec.type)),
        Column("CLUSTER-IP", _field(lambda one: one.spec.cluster_ip)),
        Column("EXTERNAL-IP", _field(external_address)),
        Column("PORT(S)", _field(_service_ports)),
        _AGE,
        Column("SELECTOR", lambda one, view, at: _pairs(one.spec.selector), wide=True),
        _WIDE_TP,
    ),
    "poddisruptionbudgets": (
        _NAME,
        Column("MIN AVAILABLE", lambda one, view, at: int_or_percentage(one.spec, "min_available")),
        Column("MAX UNAVAILABLE", lambda one, view, at: int_or_percentage(one.spec, "max_unavailable")),
        Column("ALLOWED DISRUPTIONS", lambda one, view, at: str(one.status.disruptions_allowed)),
        _AGE,
        _WIDE_TP,
    ),
    "endpointslices": (
        _NAME,
        Column("ADDRESSTYPE", _field(lambda one: one.address_type)),
        Column("PORTS", lambda one, view, at: _first_three([_port_of(port) for port in one.ports])),
        Column("ENDPOINTS", lambda one, view, at: _first_three([a for e in one.endpoints for a in e.addresses])),
        _AGE,
        _WIDE_TP,
    ),
    "replicasets": (
        _NAME,
        Column("DESIRED", lambda one, view, at: str(one.spec.replicas)),
        Column("CURRENT", lambda one, view, at: str(one.status.replicas)),
        Column("READY", lambda one, view, at: str(one.status.ready_replicas)),
        _AGE,
        Column("CONTAINERS", _containers("name"), wide=True),
        Column("IMAGES", _containers("image"), wide=True),
        Column("SELECTOR", _field(lambda one: LabelSelector.from_message(one.spec.selector)), wide=True),
        _WIDE_TP,
    ),
    "capacityclaims": (
        _NAME,
        Column("RP", _partition),
        Column("NODE", _field(lambda one: one.spec.node_name)),
        Column("TP", _field(lambda one: one.spec.tenant_partition)),
        Column("POD", lambda one, view, at: f"{one.spec.tenant}/{one.spec.namespace}/{one.spec.pod_name}"),
        Column("REQUESTS", lambda one, view, at: capacity.amounts(one.spec.requests)),
        _AGE,
        Column("EPOCH", lambda one, view, at: str(one.spec.bind_epoch), wide=True),
    ),
    "capacityledgers": (
        _NAME,
        Column("RP", _partition),
        Column("PODS", lambda one, view, at: capacity.share(one, "pods")),
        Column("CPU", lambda one, view, at: capacity.share(one, "cpu")),
        Column("MEMORY", lambda one, view, at: capacity.share(one, "memory")),
        Column("PROMISES", lambda one, view, at: str(len(one.promises))),
        _AGE,
        Column("PODS BY TP", lambda one, view, at: capacity.holders(one), wide=True),
        Column("OTHERS", lambda one, view, at: capacity.others(one), wide=True),
    ),
}
