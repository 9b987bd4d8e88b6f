"""Which tenant, namespace and name a request is about, and whether it may ask that here."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

from services.api import keys
from services.api.kinds import Kind
from services.api.selectors import FieldRequirement, FieldSelector, Selection
from services.apiserver import limits
from services.rpc import status
from services.rpc.status import StatusError, Violation


class TenantGate(Protocol):
    """Knows the tenants of this partition."""

    async def require(self, tenant: str) -> None:
        """Return if ``tenant`` is served here. Raises ``StatusError``: WrongPartition, NotFound, Unavailable."""
        ...


def target(kind: Kind, request: Any) -> str:
    """The key that a Get, Patch or Delete request names. Raises ``StatusError``."""
    tenant, namespace, name = request.tenant, request.namespace, request.name
    violations = _misplaced(kind, tenant, namespace, "", one=True)
    if not name:
        violations.append(Violation("name", "Required value: the object's name"))
    if violations:
        raise _refusal(violations)
    return _key(kind, tenant, namespace, name)


def target_of_object(kind: Kind, metadata: Any) -> str:
    """The key that an object's metadata names. Raises ``StatusError``."""
    violations = _misplaced(kind, metadata.tenant, metadata.namespace, "metadata.", one=True)
    if not metadata.name:
        violations.append(Violation("metadata.name", "Required value: name or generateName is required"))
    if violations:
        raise _refusal(violations)
    return _key(kind, metadata.tenant, metadata.namespace, metadata.name)


def collection(kind: Kind, request: Any) -> tuple[str, Selection]:
    """The key prefix and the selection of a List, Watch or DeleteCollection request. Raises ``StatusError``."""
    violations = _misplaced(kind, request.tenant, request.namespace, "", one=False)
    if violations:
        raise _refusal(violations)
    for field in ("label_selector", "field_selector"):
        if len(getattr(request, field)) > limits.SELECTOR_CHARACTERS_MAX:
            raise status.bad_field(field, f"longer than {limits.SELECTOR_CHARACTERS_MAX} characters")
    selection = _selection(kind, request.label_selector, request.field_selector)
    namespace = request.namespace
    if namespace and request.tenant == keys.EVERY_TENANT:
        # No range of keys is one namespace of every tenant: select by field instead.
        wanted = FieldRequirement("metadata.namespace", namespace, True)
        selection = Selection(selection.label, FieldSelector((*selection.field.requirements, wanted)))
        namespace = ""
    try:
        return keys.prefix(kind, request.tenant, namespace), selection
    except keys.InvalidKey as failure:
        raise status.bad_field("tenant" if "/" in request.tenant else "namespace", "may not contain '/'") from failure


def place(kind: Kind, metadata: Any) -> None:
    """Check the tenant and namespace of an object that is to be created. Raises ``StatusError``."""
    violations = _misplaced(kind, metadata.tenant, metadata.namespace, "metadata.", one=True)
    if violations:
        raise _refusal(violations)


@lru_cache(maxsize=4096)
def _selection(kind: Kind, label_selector: str, field_selector: str) -> Selection:
    return Selection.parse(label_selector, field_selector, kind.fields)


def _misplaced(kind: Kind, tenant: str, namespace: str, prefix: str, *, one: bool) -> list[Violation]:
    found: list[Violation] = []
    if not kind.tenant_scoped:
        if tenant:
            found.append(Violation(f"{prefix}tenant", f"must be empty: {kind.resource} belong to no tenant"))
    elif not tenant:
        found.append(Violation(f"{prefix}tenant", f"Required value: {kind.resource} belong to a tenant"))
    elif one and tenant == keys.EVERY_TENANT:
        found.append(Violation(f"{prefix}tenant", '"*" is for List and Watch only'))
    if not kind.namespaced:
        if namespace:
            found.append(Violation(f"{prefix}namespace", f"must be empty: {kind.resource} belong to no namespace"))
    elif one and not namespace:
        found.append(Violation(f"{prefix}namespace", f"Required value: {kind.resource} belong to a namespace"))
    return found


def _refusal(violations: list[Violation]) -> StatusError:
    return status.invalid(violations, subject="the request")


def _key(kind: Kind, tenant: str, namespace: str, name: str) -> str:
    try:
        return keys.key(kind, tenant, namespace, name)
    except keys.InvalidKey as failure:
        field = "tenant" if "/" in tenant else "namespace" if "/" in namespace else "name"
        raise status.bad_field(field, "may not contain '/'") from failure
