"""The rules of writing an object, as pure functions of messages: what a create, an update, a status update make of it.

Source: apiserver ``pkg/registry/rest`` (BeforeCreate, BeforeUpdate) and each kind's strategy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from services.api import validation, wire
from services.api.kinds import NAMESPACES, NODES, PODS, TENANTS, Kind
from services.apiserver import errors, limits
from services.rpc import status
from services.rpc.status import StatusError, Violation

M = TypeVar("M", bound=Message)

TENANT_FINALIZER = "ursa.io/tenant-content"
"""Held by every Tenant until its namespaces, priority classes and placement are gone."""


def parse_request(message: type[M], request: bytes) -> M:
    """Raises ``StatusError``: too large, not a protobuf message, or holding a field that this API does not know."""
    if len(request) > limits.REQUEST_BYTES_MAX:
        raise errors.too_large("request", len(request), limits.REQUEST_BYTES_MAX)
    try:
        parsed = message.FromString(request)
    except DecodeError as failure:
        raise status.bad_field("request", f"cannot be parsed as {message.DESCRIPTOR.full_name}") from failure
    unknown = wire.has_unknown_fields(parsed)
    if unknown:
        raise status.bad_field(unknown, f"unknown field of {message.DESCRIPTOR.full_name}")
    return parsed


def subject(kind: Kind, name: str) -> str:
    """How a message names an object: ``pods "web-1"``."""
    return f'{kind.resource} "{name}"'


def check_type(kind: Kind, obj: Any) -> None:
    """``api_version`` and ``kind`` may be given, must then be right, and are taken out: they are never stored."""
    violations = []
    if obj.api_version and obj.api_version != kind.api_version:
        violations.append(Violation("apiVersion", f'must be "{kind.api_version}", is "{obj.api_version}"'))
    if obj.kind and obj.kind != kind.name:
        violations.append(Violation("kind", f'must be "{kind.name}", is "{obj.kind}"'))
    if violations:
        raise status.invalid(violations, subject=subject(kind, obj.metadata.name))
    if obj.api_version:
        obj.ClearField("api_version")
    if obj.kind:
        obj.ClearField("kind")


# Fields of a pod's spec that binding and its revocation alone write: no client sets them, no update changes them.
_OWNED_BY_BINDING = ("bind_epoch", "capacity_claimed")


def begin(kind: Kind, obj: Any, *, uid: str, now_s: int) -> None:
    """Give a new object what the server owns. Raises ``StatusError``."""
    begin_metadata(kind, obj.metadata, uid=uid, now_s=now_s)
    begin_content(kind, obj)


def begin_metadata(kind: Kind, metadata: Any, *, uid: str, now_s: int) -> None:
    """``begin`` as far as the metadata goes. Raises ``StatusError``."""
    if metadata.resource_version:
        violation = Violation("metadata.resourceVersion", "must not be set on objects to be created")
        raise status.invalid([violation], subject=subject(kind, metadata.name))
    metadata.uid = uid
    metadata.generation = 1
    metadata.creation_timestamp.seconds = now_s
    metadata.creation_timestamp.nanos = 0
    if metadata.HasField("deletion_timestamp"):
        metadata.ClearField("deletion_timestamp")
    if metadata.HasField("deletion_grace_period_seconds"):
        metadata.ClearField("deletion_grace_period_seconds")


def begin_content(kind: Kind, obj: Any) -> None:
    """``begin`` as far as the rest of the object goes."""
    # Status is reported by whoever observes it; a kubelet registers its Node with the status it observed already.
    if kind.has_status and kind is not NODES:
        obj.ClearField("status")
    if kind is PODS:
        for field in _OWNED_BY_BINDING:
            obj.spec.ClearField(field)


def generated_name(generate_name: str, suffix: str) -> str:
    """``generate_name`` cut so that the whole has at most 63 characters, and the suffix."""
    return generate_name[: limits.GENERATED_NAME_CHARACTERS_MAX - len(suffix)] + suffix


def check_new(kind: Kind, obj: Any) -> None:
    """Raises ``StatusError`` with all field violations."""
    _refuse(kind, obj, validation.validate_create(kind, obj))


def check_preconditions(kind: Kind, old: Any, revision: int, *, uid: str, resource_version: int) -> None:
    """Empty or 0: no precondition. Raises ``StatusError`` (Conflict with the current resource version)."""
    name = old.metadata.name
    if uid and uid != old.metadata.uid:
        raise status.conflict(
            kind.resource,
            name,
            f"the UID in the precondition ({uid}) does not match that of the object ({old.metadata.uid})",
            current_rv=revision,
        )
    if resource_version and resource_version != revision:
        raise status.conflict(
            kind.resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
            current_rv=revision,
        )


def updated(kind: Kind, new: Any, old: Any, revision: int) -> Any:
    """``new`` as an update of ``old`` stores it (``new`` itself is not changed): server-owned fields and status are
    those of ``old``, the generation raised if the specification changed. Raises ``StatusError``."""
    check_preconditions(kind, old, revision, uid=new.metadata.uid, resource_version=new.metadata.resource_version)
    result = type(new)()
    result.CopyFrom(new)
    metadata, kept = result.metadata, old.metadata
    metadata.ClearField("resource_version")
    metadata.generate_name = kept.generate_name
    metadata.uid = kept.uid
    metadata.generation = kept.generation
    for field in ("creation_timestamp", "deletion_timestamp"):
        metadata.ClearField(field)
        if kept.HasField(field):
            getattr(metadata, field).CopyFrom(getattr(kept, field))
    metadata.ClearField("deletion_grace_period_seconds")
    if kept.HasField("deletion_grace_period_seconds"):
        metadata.deletion_grace_period_seconds = kept.deletion_grace_period_seconds
    if kind.has_status:
        result.ClearField("status")
        if old.HasField("status"):
            result.status.CopyFrom(old.status)
    _keep_finalizers(kind, result, old)
    if kind is PODS:
        _keep_admitted(result.spec, old.spec)
        for field in _OWNED_BY_BINDING:
            setattr(result.spec, field, getattr(old.spec, field))
    if kept.HasField("deletion_timestamp"):
        added = set(metadata.finalizers) - set(kept.finalizers)
        if added:
            violation = Violation(
                "metadata.finalizers", f"no new finalizers can be added while the object is deleted: {sorted(added)}"
            )
            raise status.invalid([violation], subject=subject(kind, kept.name))
    if kind.has_spec and result.spec != old.spec:
        metadata.generation = kept.generation + 1
    _refuse(kind, result, validation.validate_update(kind, result, old))
    return result


def status_updated(kind: Kind, new: Any, old: Any, revision: int) -> Any:
    """``old`` with the status of ``new``: a status update takes nothing else. Raises ``StatusError``.

    Conditions of pods and nodes have several writers (kubelet, controllers, readiness gates, monitors). One that names
    no resource version has not said that it knows them all: those of other types than it sends are kept, as with the
    patch of a kubelet upstream (conditions are merged by type, pkg/kubelet/status).
    """
    check_preconditions(kind, old, revision, uid=new.metadata.uid, resource_version=new.metadata.resource_version)
    result = type(old)()
    result.CopyFrom(old)
    result.ClearField("status")
    if new.HasField("status"):
        result.status.CopyFrom(new.status)
    if kind in (PODS, NODES) and not new.metadata.resource_version:
        merge_conditions(result.status, old.status)
    _refuse(kind, result, validation.validate_update(kind, result, old))
    return result


def merge_conditions(new: Any, old: Any) -> None:
    """Add those conditions of the status ``old`` to ``new`` whose types it lacks; the order stays as it was."""
    told = {condition.type: condition for condition in new.conditions}
    merged = type(new)()
    merged.conditions.extend(told.pop(one.type, one) for one in old.conditions)
    merged.conditions.extend(told.values())
    del new.conditions[:]
    new.conditions.MergeFrom(merged.conditions)


def _keep_finalizers(kind: Kind, result: Any, old: Any) -> None:
    """Those that guard a namespace's or tenant's content are taken off by the server alone, once it is empty."""
    if kind is NAMESPACES:
        del result.spec.finalizers[:]
        result.spec.finalizers.extend(old.spec.finalizers)
    guarded = kind is TENANTS and TENANT_FINALIZER in old.metadata.finalizers
    if guarded and TENANT_FINALIZER not in result.metadata.finalizers:
        result.metadata.finalizers.append(TENANT_FINALIZER)


def _keep_admitted(new: Any, old: Any) -> None:
    """What admission and binding filled in stays, if the update says nothing of it: a manifest does not have it."""
    for field in ("priority", "preemption_policy", "priority_class_name", "node_name", "resource_partition"):
        if not _given(new, field) and _given(old, field):
            setattr(new, field, getattr(old, field))


def _given(spec: Any, field: str) -> bool:
    return spec.HasField(field) if field == "priority" else bool(getattr(spec, field))


def finished(old: Any) -> bool:
    """Being deleted, nothing holds it any more, and no grace period runs: the update that led here removes it."""
    metadata = old.metadata
    return (
        metadata.HasField("deletion_timestamp")
        and not metadata.finalizers
        and not metadata.deletion_grace_period_seconds
        and not _spec_finalizers(old)
    )


def held(obj: Any) -> bool:
    """Does a finalizer keep the object from being removed?"""
    return bool(obj.metadata.finalizers) or bool(_spec_finalizers(obj))


def encode(obj: Message, tail: bytes = b"", *, bytes_max: int = limits.OBJECT_BYTES_MAX) -> bytes:
    """Canonical bytes, ``tail`` after them. Raises ``StatusError`` when they are more than an object may have.

    ``bytes_max``: ``limits.STORED_BYTES_MAX`` for a transition that is the server's own.
    """
    value = wire.canonical(obj) + tail
    if len(value) > bytes_max:
        raise errors.too_large("object", len(value), bytes_max)
    return value


def _spec_finalizers(obj: Any) -> Sequence[str]:
    field = obj.DESCRIPTOR.fields_by_name.get("spec")
    if field is None or "finalizers" not in field.message_type.fields_by_name:
        return ()
    finalizers: Sequence[str] = obj.spec.finalizers
    return finalizers


def _refuse(kind: Kind, obj: Any, violations: Sequence[Any]) -> None:
    if violations:
        found = [Violation(item.field, item.message) for item in violations]
        raise _invalid(kind, obj, found)


def _invalid(kind: Kind, obj: Any, violations: list[Violation]) -> StatusError:
    return status.invalid(violations, subject=subject(kind, obj.metadata.name or obj.metadata.generate_name))
