"""Quantities as they are stored in resource lists."""

from __future__ import annotations

from collections.abc import MutableMapping
from functools import lru_cache

from services.api import quantities


@lru_cache(maxsize=8192)
def stored(text: str) -> str:
    """Canonical, rounded up to thousandths (Kubernetes ``SetDefaults_ResourceList``); what is no quantity unchanged."""
    try:
        exact = quantities.parse(text)
        thousandths = quantities.milli(text)
        return quantities.canonical(text) if exact * 1000 == thousandths else quantities.canonical(f"{thousandths}m")
    except quantities.QuantityError:
        return text


def normalise(quantity_by_resource: MutableMapping[str, str]) -> None:
    """``stored`` for every entry, in place."""
    changed = {resource: stored(text) for resource, text in quantity_by_resource.items() if stored(text) != text}
    for resource, text in changed.items():
        quantity_by_resource[resource] = text
