"""Rules of ``metadata``, the same for every kind (apimachinery ``api/validation/objectmeta.go``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.api import names
from services.api.kinds import Kind, Scope
from services.api.pb.ursa.meta.v1.meta_pb2 import ObjectMeta, OwnerReference
from services.api.validation.violations import (
    FieldViolation,
    Violations,
    faults,
    forbidden,
    invalid,
    non_negative,
    required,
    too_long,
    under,
)

ANNOTATIONS_BYTES_MAX = 256 * 1024
REMEMBERED_MAX = 4096
LABELS_REMEMBERED_MAX = 32
_LABEL_NAMED = frozenset(("Namespace", "Tenant", "TenantPlacement", "TenantPartition", "ResourcePartition"))


def metadata_faults(kind: Kind, metadata: ObjectMeta) -> Violations:
    """Paths start at the object's root."""
    found = _name(kind, metadata) + _place(kind, metadata)
    found += labels_faults("labels", metadata.labels)
    if metadata.annotations:
        found += annotations_faults(metadata.annotations)
    if metadata.owner_references:
        found += _owners(metadata)
    for index, finalizer in enumerate(metadata.finalizers):
        found += faults(f"finalizers[{index}]", finalizer, names.qualified_name(finalizer))
    if metadata.generation < 0:
        found += non_negative("generation", metadata.generation)
    if metadata.deletion_grace_period_seconds < 0:
        found += non_negative("deletionGracePeriodSeconds", metadata.deletion_grace_period_seconds)
    return under("metadata", found) if found else found


def name_rule(kind: Kind) -> Callable[[str], list[str]]:
    """What a name of this kind must be."""
    if kind.name == "Service":
        # It becomes a label of DNS names, which may not begin with a digit.
        return names.dns_1035_label
    return names.dns_label if kind.name in _LABEL_NAMED else names.dns_subdomain


def _name(kind: Kind, metadata: ObjectMeta) -> Violations:
    rule = name_rule(kind)
    if metadata.name and not metadata.generate_name and not rule(metadata.name):
        return []
    found: Violations = []
    if metadata.generate_name:
        # What is appended ends it with an alphanumeric character, so a hyphen at the end is fine.
        prefix = metadata.generate_name
        tested = f"{prefix[:-1]}a" if prefix.endswith("-") else prefix
        found += faults("generateName", prefix, rule(tested))
    if metadata.name:
        found += faults("name", metadata.name, rule(metadata.name))
    elif not metadata.generate_name:
        found.append(required("name", "name or generateName is required"))
    return found


def _place(kind: Kind, metadata: ObjectMeta) -> Violations:
    place = kind, metadata.tenant, metadata.namespace
    if place in _valid_places:
        return []
    found = [
        *_segment("tenant", metadata.tenant, kind.scope is not Scope.CLUSTER, kind),
        *_segment("namespace", metadata.namespace, kind.scope is Scope.NAMESPACED, kind),
    ]
    if not found:
        _remember(_valid_places, place)
    return found


# Few places and few sets of labels make up nearly all objects. Only what is valid is kept, which is short.
_valid_places: set[Any] = set()
_valid_labels: set[Any] = set()


def _remember(valid: set[Any], value: Any) -> None:
    if len(valid) >= REMEMBERED_MAX:
        valid.clear()
    valid.add(value)


def _segment(field: str, value: str, wanted: bool, kind: Kind) -> Violations:
    if not wanted:
        return [forbidden(field, f"not allowed on {kind.name}")] if value else []
    return faults(field, value, names.dns_label(value)) if value else [required(field)]


def labels_faults(field: str, labels: Mapping[str, str]) -> Violations:
    if not labels:
        return []
    items = tuple(labels.items()) if len(labels) <= LABELS_REMEMBERED_MAX else ()
    if items in _valid_labels:
        return []
    found: Violations = []
    for key, value in labels.items():
        found += faults(f"{field}[{key}]", key, names.qualified_name(key))
        found += faults(f"{field}[{key}]", value, names.label_value(value))
    if items and not found:
        _remember(_valid_labels, items)
    return found


def annotations_faults(annotations: Mapping[str, str]) -> Violations:
    found: Violations = []
    size = 0
    for key, value in annotations.items():
        found += faults(f"annotations[{key}]", key, names.qualified_name(key.lower()))
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_BYTES_MAX:
        found.append(too_long("annotations", ANNOTATIONS_BYTES_MAX))
    return found


def _owners(metadata: ObjectMeta) -> Violations:
    found: Violations = []
    for index, owner in enumerate(metadata.owner_references):
        missing = _missing(owner)
        if missing:
            found += under(f"ownerReferences[{index}]", missing)
    controllers = [owner.name for owner in metadata.owner_references if owner.controller]
    if len(controllers) > 1:
        found.append(invalid("ownerReferences", ", ".join(controllers), "only one reference can have controller set"))
    return found


def _missing(owner: OwnerReference) -> list[FieldViolation]:
    fields = (
        ("apiVersion", owner.api_version),
        ("kind", owner.kind),
        ("name", owner.name),
        ("uid", owner.uid),
    )
    return [required(field) for field, value in fields if not value]


def create_faults(metadata: ObjectMeta) -> Violations:
    """What only a new object must not have."""
    if metadata.resource_version:
        detail = "must not be set on an object that is to be created"
        return [invalid("metadata.resourceVersion", metadata.resource_version, detail)]
    return []


_IMMUTABLE = (
    ("name", "name"),
    ("namespace", "namespace"),
    ("tenant", "tenant"),
    ("uid", "uid"),
    ("creation_timestamp", "creationTimestamp"),
    ("deletion_timestamp", "deletionTimestamp"),
)


def update_faults(new: ObjectMeta, old: ObjectMeta) -> Violations:
    """Identity never changes; an object that is being deleted gets no more finalizers."""
    found: Violations = []
    for field, path in _IMMUTABLE:
        before: Any = getattr(old, field)
        after: Any = getattr(new, field)
        if before != after:
            found.append(invalid(f"metadata.{path}", _plain(after), "field is immutable"))
    if new.generation < old.generation:
        found.append(invalid("metadata.generation", new.generation, "must not be decremented"))
    if old.HasField("deletion_timestamp"):
        added = sorted(set(new.finalizers) - set(old.finalizers))
        if added:
            detail = f"no new finalizers can be added if the object is being deleted, found {', '.join(added)}"
            found.append(forbidden("metadata.finalizers", detail))
    return found


def _plain(value: Any) -> object:
    return value.ToJsonString() if hasattr(value, "ToJsonString") else value
