"""Which workloads a label filter selects (upstream's ``-perf-scheduling-label-filter``)."""

from __future__ import annotations

from collections.abc import Collection


def selected(label_filter: str, labels: Collection[str]) -> bool:
    """``a,+b,-c``: must have a and b, must not have c. An empty filter selects everything."""
    for term in label_filter.split(","):
        term = term.strip()
        if term and (term.lstrip("+-") in labels) is term.startswith("-"):
            return False
    return True
