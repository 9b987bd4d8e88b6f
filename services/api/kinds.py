"""The table of kinds: everything generic code must know of a kind.

Adding a kind is a proto, a row here, and its validation.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from services.api.excerpts import excerpt
from services.api.pb.ursa.apps.v1 import replica_set_pb2, replica_set_service_pb2
from services.api.pb.ursa.coordination.v1 import lease_pb2, lease_service_pb2
from services.api.pb.ursa.core.v1 import (
    event_pb2,
    event_service_pb2,
    namespace_pb2,
    namespace_service_pb2,
    node_pb2,
    node_service_pb2,
    pod_pb2,
    pod_service_pb2,
    service_pb2,
    service_service_pb2,
)
from services.api.pb.ursa.discovery.v1 import endpoint_slice_pb2, endpoint_slice_service_pb2
from services.api.pb.ursa.policy.v1 import pod_disruption_budget_pb2, pod_disruption_budget_service_pb2
from services.api.pb.ursa.scheduling.v1 import (
    capacity_claim_service_pb2,
    capacity_ledger_service_pb2,
    capacity_pb2,
    priority_class_pb2,
    priority_class_service_pb2,
)
from services.api.pb.ursa.tenancy.v1 import (
    resource_partition_service_pb2,
    tenancy_pb2,
    tenant_partition_service_pb2,
    tenant_placement_service_pb2,
    tenant_service_pb2,
)
from services.api.selectors import Attributes


class Scope(enum.StrEnum):
    """Which of tenant and namespace name an object, beside its name."""

    CLUSTER = "Cluster"
    TENANT = "Tenant"
    NAMESPACED = "Namespaced"


TENANT_PARTITION = "tenant"
RESOURCE_PARTITION = "resource"


class UnknownKind(LookupError):
    """No such kind; the message lists those that exist."""


class LazyAttributes:
    """``Attributes`` of stored bytes, each read when it is asked for: most questions are about one of them."""

    __slots__ = ("_kind", "_value")

    def __init__(self, kind: Kind, value: bytes) -> None:
        self._kind = kind
        self._value = value

    @property
    def labels(self) -> Mapping[str, str]:
        message = self._kind.labels_message.FromString(self._value)
        return {entry.key: entry.value for entry in message.metadata.labels}

    @property
    def fields(self) -> LazyFields:
        kind = self._kind
        return LazyFields(kind.fields_message.FromString(self._value), kind.fields)


class LazyFields(Mapping[str, str]):
    """The selectable fields of a parsed message."""

    __slots__ = ("_message", "_readers")

    def __init__(self, message: Any, readers: Mapping[str, Callable[[Any], str]]) -> None:
        self._message = message
        self._readers = readers

    def __getitem__(self, name: str) -> str:
        return self._readers[name](self._message)

    def get(self, name: str, default: Any = None) -> Any:
        read = self._readers.get(name)
        return read(self._message) if read is not None else default

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


@dataclass(frozen=True, eq=False)
class Kind:
    """One row. ``api_version`` is the manifest's ("v1", "coordination.k8s.io/v1"); ``group`` is the proto package's.

    ``partitions``: who serves it, of {"tenant", "resource"}. ``fields``: the selectable fields, each with its reader of
    a parsed message. ``index``: the selectable field that stores index by. ``cached``: behind a watch cache by default.
    ``lane_system``: its writes go before everything else. ``read_only``: there are no generic writes (the requests of
    those are ``Empty``); a partition writes it by methods of its own. ``fields_message``: what the readers
    of ``fields`` take, with no more than they need if possible. ``labels_message``: the labels alone, as entries.
    """

    name: str
    resource: str
    singular: str
    group: str
    api_version: str
    short_names: tuple[str, ...]
    scope: Scope
    partitions: frozenset[str]
    service: str
    message: type[Message]
    list_message: type[Message]
    watch_batch_message: type[Message]
    create_request: type[Message]
    update_request: type[Message]
    batch_request: type[Message]
    has_status: bool
    has_spec: bool
    fields: Mapping[str, Callable[[Any], str]]
    index: str | None = None
    cached: bool = True
    lane_system: bool = False
    read_only: bool = False
    fields_message: type[Any] = field(default=Empty, repr=False)
    labels_message: type[Any] = field(default=Empty, repr=False)
    _field_names: tuple[str, ...] = field(default=(), repr=False)
    _field_values: Callable[[Any], tuple[str, ...]] = field(default=lambda _: (), repr=False)

    def attributes(self, value: bytes) -> LazyAttributes:
        """What selectors see of stored bytes; a field that occurs twice is merged as protobuf does."""
        return LazyAttributes(self, value)

    def attributes_of(self, message: Any) -> Attributes:
        """What selectors see of a parsed message."""
        return Attributes(
            dict(message.metadata.labels),
            dict(zip(self._field_names, self._field_values(message), strict=True)),
        )

    @property
    def tenant_scoped(self) -> bool:
        """Objects belong to a tenant (tenant-scoped and namespaced kinds)."""
        return self.scope is not Scope.CLUSTER

    @property
    def namespaced(self) -> bool:
        return self.scope is Scope.NAMESPACED

    @property
    def qualified(self) -> str:
        """As kubectl writes it in what it has done, with the group of its API: ``pod``, ``replicaset.apps``."""
        group, slash, _ = self.api_version.rpartition("/")
        return f"{self.singular}.{group}" if slash else self.singular

    def served_by(self, partition_kind: str) -> bool:
        """``partition_kind`` is "tenant" or "resource"."""
        return partition_kind in self.partitions

    def __repr__(self) -> str:
        return f"<Kind {self.api_version} {self.name}>"


def _flag(path: str) -> Callable[[Any], str]:
    read = attrgetter(path)
    return lambda message: "true" if read(message) else "false"


def _number(path: str) -> Callable[[Any], str]:
    read = attrgetter(path)
    return lambda message: str(read(message) or "")


def _values(readers: Mapping[str, Callable[[Any], str]], paths: Mapping[str, str]) -> Callable[[Any], tuple[str, ...]]:
    """All fields at once; one ``attrgetter`` (a single call in C) when every field is a plain string."""
    if len(paths) == len(readers):
        return attrgetter(*paths.values())
    functions = tuple(readers.values())
    return lambda message: tuple(function(message) for function in functions)


_METADATA_FIELDS = {"metadata.name": "metadata.name", "metadata.namespace": "metadata.namespace"}


def _kind(
    message: type[Message],
    service_module: Any,
    *,
    plural: str,
    api_version: str,
    scope: Scope,
    partitions: set[str],
    short_names: tuple[str, ...] = (),
    paths: Mapping[str, str] | None = None,
    computed: Mapping[str, Callable[[Any], str]] | None = None,
    index: str | None = None,
    cached: bool = True,
    lane_system: bool = False,
    read_only: bool = False,
) -> Kind:
    descriptor = message.DESCRIPTOR
    name = descriptor.name
    package = descriptor.file.package
    strings = {**_METADATA_FIELDS, **(paths or {})}
    readers: dict[str, Callable[[Any], str]] = {field: attrgetter(path) for field, path in strings.items()}
    readers.update(computed or {})
    return Kind(
        name=name,
        resource=plural.lower(),
        singular=name.lower(),
        group=package.split(".")[1],
        api_version=api_version,
        short_names=short_names,
        scope=scope,
        partitions=frozenset(partitions),
        service=f"{package}.{plural}",
        message=message,
        list_message=getattr(service_module, f"{name}List"),
        watch_batch_message=getattr(service_module, f"{name}WatchBatch"),
        create_request=Empty if read_only else getattr(service_module, f"Create{name}Request"),
        update_request=Empty if read_only else getattr(service_module, f"Update{name}Request"),
        batch_request=Empty if read_only else getattr(service_module, f"Batch{plural}Request"),
        has_status="status" in descriptor.fields_by_name,
        has_spec="spec" in descriptor.fields_by_name,
        fields=MappingProxyType(readers),
        index=index,
        cached=cached,
        lane_system=lane_system,
        read_only=read_only,
        fields_message=message if computed else excerpt(message, strings.values()),
        labels_message=excerpt(message, ("metadata.labels.key", "metadata.labels.value")),
        _field_names=tuple(readers),
        _field_values=_values(readers, strings),
    )


PODS = _kind(
    pod_pb2.Pod,
    pod_service_pb2,
    plural="Pods",
    api_version="v1",
    scope=Scope.NAMESPACED,
    partitions={TENANT_PARTITION},
    short_names=("po",),
    paths={
        "spec.nodeName": "spec.node_name",
        "spec.resourcePartition": "spec.resource_partition",
        "spec.schedulerName": "spec.scheduler_name",
        "spec.restartPolicy": "spec.restart_policy",
        "spec.serviceAccountName": "spec.service_account_name",
        "status.phase": "status.phase",
        "status.podIP": "status.pod_ip",
        "status.nominatedNodeName": "status.nominated_node_name",
    },
    index="spec.nodeName",
)
NODES = _kind(
    node_pb2.Node,
    node_service_pb2,
    plural="Nodes",
    api_version="v1",
    scope=Scope.CLUSTER,
    partitions={RESOURCE_PARTITION},
    short_names=("no",),
    computed={"spec.unschedulable": _flag("spec.unschedulable")},
)
NAMESPACES = _kind(
    namespace_pb2.Namespace,
    namespace_service_pb2,
    plural="Namespaces",
    api_version="v1",
    scope=Scope.TENANT,
    partitions={TENANT_PARTITION, RESOURCE_PARTITION},
    short_names=("ns",),
    paths={"status.phase": "status.phase"},
)
EVENTS = _kind(
    event_pb2.Event,
    event_service_pb2,
    plural="Events",
    api_version="v1",
    scope=Scope.NAMESPACED,
    partitions={TENANT_PARTITION, RESOURCE_PARTITION},
    short_names=("ev",),
    paths={
        "involvedObject.kind": "involved_object.kind",
        "involvedObject.namespace": "involved_object.namespace",
        "involvedObject.name": "involved_object.name",
        "involvedObject.uid": "involved_object.uid",
        "involvedObject.apiVersion": "involved_object.api_version",
        "involvedObject.fieldPath": "involved_object.field_path",
        "involvedObject.tenant": "involved_object.tenant",
        "reason": "reason",
        "reportingComponent": "reporting_component",
        "source": "source.component",
        "type": "type",
    },
    computed={"involvedObject.resourceVersion": _number("involved_object.resource_version")},
    cached=False,
)
LEASES = _kind(
    lease_pb2.Lease,
    lease_service_pb2,
    plural="Leases",
    api_version="coordination.k8s.io/v1",
    scope=Scope.NAMESPACED,
    partitions={TENANT_PARTITION, RESOURCE_PARTITION},
    lane_system=True,
)
PRIORITY_CLASSES = _kind(
    priority_class_pb2.PriorityClass,
    priority_class_service_pb2,
    plural="PriorityClasses",
    api_version="scheduling.k8s.io/v1",
    scope=Scope.TENANT,
    partitions={TENANT_PARTITION},
    short_names=("pc",),
)
TENANTS = _kind(
    tenancy_pb2.Tenant,
    tenant_service_pb2,
    plural="Tenants",
    api_version="tenancy.ursa.io/v1",
    scope=Scope.CLUSTER,
    partitions={TENANT_PARTITION},
    paths={"status.phase": "status.phase"},
)
TENANT_PLACEMENTS = _kind(
    tenancy_pb2.TenantPlacement,
    tenant_placement_service_pb2,
    plural="TenantPlacements",
    api_version="tenancy.ursa.io/v1",
    scope=Scope.CLUSTER,
    partitions={RESOURCE_PARTITION},
    paths={"spec.tenantPartition": "spec.tenant_partition"},
)
TENANT_PARTITIONS = _kind(
    tenancy_pb2.TenantPartition,
    tenant_partition_service_pb2,
    plural="TenantPartitions",
    api_version="tenancy.ursa.io/v1",
    scope=Scope.CLUSTER,
    partitions={RESOURCE_PARTITION},
    short_names=("tp",),
)
RESOURCE_PARTITIONS = _kind(
    tenancy_pb2.ResourcePartition,
    resource_partition_service_pb2,
    plural="ResourcePartitions",
    api_version="tenancy.ursa.io/v1",
    scope=Scope.CLUSTER,
    partitions={TENANT_PARTITION},
    short_names=("rp",),
)
SERVICES = _kind(
    service_pb2.Service,
    service_service_pb2,
    plural="Services",
    api_version="v1",
    scope=Scope.NAMESPACED,
    partitions={TENANT_PARTITION},
    short_names=("svc",),
    paths={"spec.clusterIP": "spec.cluster_ip", "spec.type": "spec.type"},
)
POD_DISRUPTION_BUDGETS = _kind(
    pod_disruption_budget_pb2.PodDisruptionBudget,
    pod_disruption_budget_service_pb2,
    plural="PodDisruptionBudgets",
    api_version="policy/v1",
    scope=Scope.NAMESPACED,
    partitions={TENANT_PARTITION},
    short_names=("pdb",),
)
CAPACITY_CLAIMS = _kind(
    capacity_pb2.CapacityClaim,
    capacity_claim_service_pb2,
    plural="CapacityClaims",
    api_version="scheduling.ursa.io/v1",
    scope=Scope.CLUSTER,
    partitions={RESOURCE_PARTITION},
    short_names=("cc",),
    paths={
        "spec.nodeName": "spec.node_name",
        "spec.tenantPartition": "spec.tenant_partition",
        "spec.tenant": "spec.tenant",
    },
    index="spec.nodeName",
    lane_system=True,
    read_only=True,
)
CAPACITY_LEDGERS = _kind(
    capacity_pb2.CapacityLedger,
    capacity_ledger_service_pb2,
    plural="CapacityLedgers",
    api_version="scheduling.ursa.io/v1",
    scope=Scope.CLUSTER,
    partitions={RESOURCE_PARTITION},
    short_names=("cl",),
    lane_system=True,
    read_only=True,
)
REPLICA_SETS = _kind(
    replica_set_pb2.ReplicaSet,
    replica_set_service_pb2,
    plural="ReplicaSets",
    api_version="apps/v1",
    scope=Scope.NAMESPACED,
    partitions={TENANT_PARTITION},
    short_names=("rs",),
)
ENDPOINT_SLICES = _kind(
    endpoint_slice_pb2.EndpointSlice,
    endpoint_slice_service_pb2,
    plural="EndpointSlices",
    api_version="discovery.k8s.io/v1",
    scope=Scope.NAMESPACED,
    partitions={TENANT_PARTITION},
)

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.resource: kind
        for kind in (
            PODS,
            NODES,
            NAMESPACES,
            EVENTS,
            LEASES,
            PRIORITY_CLASSES,
            TENANTS,
            TENANT_PLACEMENTS,
            TENANT_PARTITIONS,
            RESOURCE_PARTITIONS,
            SERVICES,
            POD_DISRUPTION_BUDGETS,
            CAPACITY_CLAIMS,
            CAPACITY_LEDGERS,
            REPLICA_SETS,
            ENDPOINT_SLICES,
        )
    }
)

_BY_TYPE = {(kind.api_version, kind.name): kind for kind in KINDS.values()}
_BY_MESSAGE = {kind.message: kind for kind in KINDS.values()}
_BY_WORD = {
    word.lower(): kind
    for kind in KINDS.values()
    for bare in (kind.resource, kind.singular, kind.name, *kind.short_names)
    for word in (bare, f"{bare}.{kind.group}", kind.qualified)
}


def kind_of(api_version: str, kind: str) -> Kind:
    """The kind of a manifest's ``apiVersion`` and ``kind``. Raises ``UnknownKind``, which lists what is known."""
    found = _BY_TYPE.get((api_version, kind))
    if found is None:
        versions = [known_version for known_version, name in _BY_TYPE if name == kind]
        if versions:
            raise UnknownKind(f'{kind} has version "{versions[0]}", not "{api_version}"')
        known = ", ".join(sorted(f"{name} ({version})" for version, name in _BY_TYPE))
        raise UnknownKind(f'no kind "{kind}" in version "{api_version}"; known are {known}')
    return found


def kind_of_message(message: Message) -> Kind:
    """The kind of a parsed object. Raises ``UnknownKind``."""
    found = _BY_MESSAGE.get(type(message))
    if found is None:
        raise UnknownKind(f"{type(message).__name__} is not a kind")
    return found


def find(word: str) -> Kind:
    """What a person calls a kind: "po", "pod", "pods", "Pod". Raises ``UnknownKind``, which lists what is known."""
    found = _BY_WORD.get(word.lower())
    if found is None:
        known = ", ".join(
            f"{kind.resource} ({', '.join(kind.short_names)})" if kind.short_names else kind.resource
            for kind in KINDS.values()
        )
        raise UnknownKind(f'no resource type "{word}"; known are {known}')
    return found
