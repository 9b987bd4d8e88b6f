"""gRPC method paths, from the kinds table: every kind's service has the same methods."""

from __future__ import annotations

from typing import Protocol

WATCH_SERVICE = "ursa.watch.v1.WatchService"
WATCH_METHOD = f"/{WATCH_SERVICE}/Watch"

TRACEPARENT = "traceparent"
"""Metadata key of the W3C trace context; a client sets it only if its current span is sampled."""


class HasService(Protocol):
    """A row of the kinds table, as far as paths go."""

    @property
    def service(self) -> str: ...


def path(kind: HasService, method: str) -> str:
    """``path(PODS, "Create")`` is ``/ursa.core.v1.Pods/Create``."""
    return f"/{kind.service}/{method}"
