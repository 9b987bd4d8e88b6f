"""Rules of resource lists: names, quantities, requests within limits."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from services.api import names, quantities
from services.api.pb.ursa.core.v1.pod_pb2 import ResourceRequirements
from services.api.validation.violations import Violations, faults, invalid

CONTAINER_RESOURCES = frozenset(("cpu", "memory", "ephemeral-storage"))
HUGE_PAGES = "hugepages-"


def quantity_faults(field: str, resource: str, text: str) -> Violations:
    """Not malformed, not negative, and within int64 in canonical units (CPU: thousandths)."""
    try:
        exact = quantities.parse(text)
    except quantities.QuantityError as error:
        return [invalid(field, text, str(error))]
    if exact < 0:
        return [invalid(field, text, "must be greater than or equal to 0")]
    limit = quantities.INT64_MAX // 1000 if resource == "cpu" else quantities.INT64_MAX
    if exact > limit:
        return [invalid(field, text, f"is absurd: must be less than or equal to {limit}")]
    if exact != int(exact) and not is_compute(resource):
        return [invalid(field, text, "must be an integer")]
    return []


def is_compute(resource: str) -> bool:
    return resource in CONTAINER_RESOURCES


def list_faults(field: str, quantity_by_resource: Mapping[str, str]) -> Violations:
    """Names are qualified names, quantities sound: overhead, a node's capacity."""
    found: Violations = []
    for resource, text in quantity_by_resource.items():
        here = f"{field}[{resource}]"
        if resource not in CONTAINER_RESOURCES:
            found += faults(here, resource, names.qualified_name(resource))
        found += quantity_faults(here, resource, text)
    return found


def requirements_faults(resources: ResourceRequirements) -> Violations:
    """A container's resources; paths start inside ``resources``."""
    found = _container_list("limits", resources.limits) + _container_list("requests", resources.requests)
    if found:
        return found
    for resource, request in resources.requests.items():
        limit = resources.limits.get(resource)
        if limit is not None:
            found += _within(resource, request, limit)
        elif resource.startswith(HUGE_PAGES) or "/" in resource:
            found.append(
                invalid(f"limits[{resource}]", "", f"a limit must be set for {resource}, equal to its request")
            )
    return found


def _container_list(field: str, quantity_by_resource: Mapping[str, str]) -> Violations:
    found = list_faults(field, quantity_by_resource)
    for resource in quantity_by_resource:
        if resource not in CONTAINER_RESOURCES and "/" not in resource and not resource.startswith(HUGE_PAGES):
            detail = "must be a standard resource for containers or have a domain (example.com/name)"
            found.append(invalid(f"{field}[{resource}]", resource, detail))
    return found


def _within(resource: str, request: str, limit: str) -> Violations:
    asked: Fraction | int = quantities.parse(request)
    allowed: Fraction | int = quantities.parse(limit)
    if asked > allowed:
        return [invalid(f"requests[{resource}]", request, f"must be less than or equal to {resource} limit of {limit}")]
    if asked != allowed and (resource.startswith(HUGE_PAGES) or "/" in resource):
        return [invalid(f"requests[{resource}]", request, f"must be equal to {resource} limit of {limit}")]
    return []
