"""Resource names and their canonical units."""

from __future__ import annotations

from collections.abc import Mapping

from services.api import quantities

CPU = "cpu"
MEMORY = "memory"
EPHEMERAL_STORAGE = "ephemeral-storage"
PODS = "pods"

Amounts = Mapping[str, int]
"""Resource name to an int64 amount in canonical units."""


def amount(resource: str, quantity: str) -> int:
    """A quantity in the resource's canonical unit, rounded up, at most int64. Raises ``QuantityError``."""
    value = quantities.milli(quantity) if resource == CPU else quantities.whole(quantity)
    return value if value <= quantities.INT64_MAX else quantities.INT64_MAX


def amounts(quantity_by_resource: Mapping[str, str]) -> dict[str, int]:
    """Raises ``QuantityError``."""
    return {resource: amount(resource, quantity) for resource, quantity in quantity_by_resource.items()}


def add(into: dict[str, int], more: Amounts) -> None:
    """Sum in place, at most int64."""
    for resource, value in more.items():
        into[resource] = min(into.get(resource, 0) + value, quantities.INT64_MAX)


def raise_to(into: dict[str, int], floor: Amounts) -> None:
    """Maximum in place."""
    for resource, value in floor.items():
        if value > into.get(resource, -1):
            into[resource] = value
