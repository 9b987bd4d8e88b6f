"""Whether an object may be stored: Kubernetes' rules, every violation with the JSON path of its field.

Validate after ``services.api.defaults``: fields with a default are required here. Nothing is changed or raised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.api.kinds import Kind
from services.api.validation import budgets, endpointslices, metadata, others, pods, replicasets, services
from services.api.validation.bindings import validate_binding
from services.api.validation.metadata import metadata_faults
from services.api.validation.violations import FieldViolation

__all__ = [
    "FieldViolation",
    "content_faults",
    "metadata_faults",
    "validate_binding",
    "validate_create",
    "validate_update",
]

_Create = Callable[[Any], list[FieldViolation]]
_Update = Callable[[Any, Any], list[FieldViolation]]

_CREATE: dict[str, _Create] = {
    "Pod": pods.create_faults,
    "Node": others.node,
    "Namespace": others.namespace,
    "Lease": others.lease,
    "Event": others.event,
    "PriorityClass": others.priority_class,
    "Tenant": others.tenant,
    "TenantPlacement": others.tenant_placement,
    "TenantPartition": others.partition,
    "ResourcePartition": others.partition,
    "Service": services.service,
    "PodDisruptionBudget": budgets.pod_disruption_budget,
    "ReplicaSet": replicasets.replica_set,
    "EndpointSlice": endpointslices.endpoint_slice,
}
_UPDATE: dict[str, _Update] = {
    "Pod": pods.update_faults,
    "Node": others.node_update,
    "PriorityClass": others.priority_class_update,
    "TenantPlacement": others.tenant_placement_update,
    "Service": services.service_update,
    "ReplicaSet": replicasets.replica_set_update,
    "EndpointSlice": endpointslices.endpoint_slice_update,
}


def validate_create(kind: Kind, message: Any) -> list[FieldViolation]:
    """What is wrong with a new object; empty: nothing. Server-owned fields are not looked at, except the RV."""
    found = metadata_faults(kind, message.metadata) + metadata.create_faults(message.metadata)
    return found + content_faults(kind, message)


def content_faults(kind: Kind, message: Any) -> list[FieldViolation]:
    """``validate_create`` without the rules of metadata."""
    return _CREATE[kind.name](message)


def validate_update(kind: Kind, new: Any, old: Any) -> list[FieldViolation]:
    """What is wrong with replacing ``old`` by ``new``: rules for the new state, and fields that may not change.

    Preconditions (UID, resource version) are not rules of the object: the caller checks them before.
    """
    found = metadata.update_faults(new.metadata, old.metadata)
    if new.metadata != old.metadata:
        found += metadata_faults(kind, new.metadata)
    of_kind = _UPDATE.get(kind.name)
    return found + (of_kind(new, old) if of_kind is not None else _CREATE[kind.name](new))
