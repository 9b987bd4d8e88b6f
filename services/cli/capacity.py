"""Amounts of capacity ledgers and claims as a person reads them: they hold integers in canonical units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.api import quantities

NONE = "<none>"
PODS = "pods"
_BYTES = ("memory", "ephemeral-storage", "storage")


def amount(resource: str, value: int) -> str:
    """``cpu`` is in thousandths, memory and storage in bytes, everything else whole."""
    if resource == "cpu":
        return quantities.canonical(f"{value}m")
    if (resource in _BYTES or resource.startswith("hugepages-")) and value % 1024 == 0:
        return quantities.canonical(f"{value // 1024}Ki")
    return str(value)


def amounts(values: Mapping[str, int]) -> str:
    """``cpu=500m,memory=1Gi``"""
    return ",".join(f"{name}={amount(name, value)}" for name, value in sorted(values.items())) or NONE


def claimed(ledger: Any) -> dict[str, int]:
    """What all tenant partitions hold of a node together, ``pods`` among it."""
    total: dict[str, int] = {PODS: 0}
    for held in ledger.claimed:
        total[PODS] += held.pods
        for resource, value in held.requests.items():
            total[resource] = total.get(resource, 0) + value
    return total


def share(ledger: Any, resource: str) -> str:
    """``3/32``: claimed of allocatable."""
    return (
        f"{amount(resource, claimed(ledger).get(resource, 0))}/{amount(resource, ledger.allocatable.get(resource, 0))}"
    )


def others(ledger: Any) -> str:
    """The shares of what is neither cpu, memory nor pods."""
    names = sorted({*claimed(ledger), *ledger.allocatable} - {"cpu", "memory", PODS})
    return ",".join(f"{name}={share(ledger, name)}" for name in names) or NONE


def holders(ledger: Any) -> str:
    """``tp-1=7,tp-2=5``: pods by tenant partition."""
    return ",".join(f"{held.tenant_partition}={held.pods}" for held in ledger.claimed) or NONE
