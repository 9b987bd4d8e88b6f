"""Rules of every kind but the pod."""

from __future__ import annotations

from collections.abc import Iterable

from services.api import names
from services.api.pb.ursa.coordination.v1.lease_pb2 import Lease
from services.api.pb.ursa.core.v1.event_pb2 import Event
from services.api.pb.ursa.core.v1.namespace_pb2 import Namespace
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.scheduling.v1.priority_class_pb2 import PriorityClass
from services.api.pb.ursa.tenancy.v1.tenancy_pb2 import (
    ResourcePartition,
    Tenant,
    TenantPartition,
    TenantPlacement,
)
from services.api.validation.affinity import EFFECTS
from services.api.validation.resources import list_faults
from services.api.validation.violations import (
    Violations,
    duplicate,
    faults,
    forbidden,
    invalid,
    one_of,
    required,
    under,
)

USER_PRIORITY_MAX = 1_000_000_000
SYSTEM_PREFIX = "system-"
SYSTEM_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_CONDITION_STATUSES = frozenset(("True", "False", "Unknown"))
_NAMESPACE_PHASES = frozenset(("Active", "Terminating"))


def node(node: Node) -> Violations:
    found = _taints(node)
    found += under("status", list_faults("capacity", node.status.capacity))
    found += under("status", list_faults("allocatable", node.status.allocatable))
    for index, condition in enumerate(node.status.conditions):
        here = f"status.conditions[{index}]"
        found += [] if condition.type else [required(f"{here}.type")]
        found += one_of(f"{here}.status", condition.status, _CONDITION_STATUSES)
    return found


def _taints(node: Node) -> Violations:
    found: Violations = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(node.spec.taints):
        here = f"spec.taints[{index}]"
        found += (
            faults(f"{here}.key", taint.key, names.qualified_name(taint.key))
            if taint.key
            else [required(f"{here}.key")]
        )
        found += faults(f"{here}.value", taint.value, names.label_value(taint.value))
        found += one_of(f"{here}.effect", taint.effect, EFFECTS)
        if (taint.key, taint.effect) in seen:
            found.append(duplicate(here, f"{taint.key}:{taint.effect}"))
        seen.add((taint.key, taint.effect))
    return found


def node_update(new: Node, old: Node) -> Violations:
    found = node(new)
    if old.spec.pod_cidr and new.spec.pod_cidr != old.spec.pod_cidr:
        found.append(forbidden("spec.podCIDR", "may not be changed once it is set"))
    if old.spec.provider_id and new.spec.provider_id != old.spec.provider_id:
        found.append(forbidden("spec.providerID", "may not be changed once it is set"))
    return found


def namespace(namespace: Namespace) -> Violations:
    found: Violations = []
    for index, finalizer in enumerate(namespace.spec.finalizers):
        found += faults(f"spec.finalizers[{index}]", finalizer, names.qualified_name(finalizer))
    return found + one_of("status.phase", namespace.status.phase, _NAMESPACE_PHASES, optional=True)


def lease(lease: Lease) -> Violations:
    spec = lease.spec
    found: Violations = []
    if spec.HasField("lease_duration_seconds") and spec.lease_duration_seconds <= 0:
        detail = "must be greater than 0"
        found.append(invalid("spec.leaseDurationSeconds", spec.lease_duration_seconds, detail))
    if spec.lease_transitions < 0:
        detail = "must be greater than or equal to 0"
        found.append(invalid("spec.leaseTransitions", spec.lease_transitions, detail))
    return found


def event(event: Event) -> Violations:
    found = one_of("type", event.type, ("Normal", "Warning"), optional=True)
    namespace = event.involved_object.namespace
    if namespace and namespace != event.metadata.namespace:
        found.append(invalid("involvedObject.namespace", namespace, "does not match event.metadata.namespace"))
    if event.count < 0:
        found.append(invalid("count", event.count, "must be greater than or equal to 0"))
    if len(event.reason) > 128:
        found.append(invalid("reason", event.reason, "can have at most 128 characters"))
    return found


def priority_class(priority_class: PriorityClass) -> Violations:
    found: Violations = []
    name = priority_class.metadata.name
    if SYSTEM_CLASSES.get(name) == priority_class.value:
        return found
    if name.startswith(SYSTEM_PREFIX):
        found.append(forbidden("metadata.name", "priority class names with 'system-' prefix are reserved"))
    if priority_class.value > USER_PRIORITY_MAX:
        detail = f"maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}"
        found.append(forbidden("value", detail))
    policy = priority_class.preemption_policy
    return found + one_of("preemptionPolicy", policy, ("PreemptLowerPriority", "Never"), optional=True)


def priority_class_update(new: PriorityClass, old: PriorityClass) -> Violations:
    found = priority_class(new)
    if new.value != old.value:
        found.append(forbidden("value", "may not be changed in an update"))
    if new.preemption_policy != old.preemption_policy:
        found.append(forbidden("preemptionPolicy", "may not be changed in an update"))
    return found


def tenant(tenant: Tenant) -> Violations:
    return one_of("status.phase", tenant.status.phase, _NAMESPACE_PHASES, optional=True)


def tenant_placement(placement: TenantPlacement) -> Violations:
    name = placement.spec.tenant_partition
    return faults("spec.tenantPartition", name, names.dns_label(name)) if name else [required("spec.tenantPartition")]


def tenant_placement_update(new: TenantPlacement, old: TenantPlacement) -> Violations:
    found = tenant_placement(new)
    if new.spec.tenant_partition != old.spec.tenant_partition:
        detail = "a tenant's placement is a recorded fact and may not be changed"
        found.append(forbidden("spec.tenantPartition", detail))
    return found


def partition(partition: TenantPartition | ResourcePartition) -> Violations:
    return endpoints_faults("spec.endpoints", partition.spec.endpoints)


def endpoints_faults(field: str, endpoints: Iterable[str]) -> Violations:
    """``host:port`` each, one at least."""
    found: Violations = []
    count = 0
    for index, endpoint in enumerate(endpoints):
        count += 1
        host, colon, port = endpoint.rpartition(":")
        number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
        if not colon or not host or "/" in host or not 1 <= number <= 65535:
            found.append(invalid(f"{field}[{index}]", endpoint, "must be host:port"))
    return found if count else [required(field, "at least one host:port")]
