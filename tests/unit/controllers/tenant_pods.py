"""Pods of a tenant partition, as its controllers see them."""

from __future__ import annotations

from typing import Any

from services.controllers.tenantpods import TenantPod

DEFAULTS: dict[str, Any] = {
    "tenant": "acme",
    "namespace": "default",
    "version": 1,
    "partition": "",
    "node": "",
    "phase": "Pending",
    "ready_since": 0,
    "created": 1_000,
    "owner": "",
    "labels": (),
    "restarts": 0,
    "cost": 0,
    "ending": False,
    "held": False,
    "evicted": False,
}


def tenant_pod(uid: str, **fields: Any) -> TenantPod:
    return TenantPod(**{**DEFAULTS, "uid": uid, "name": uid, **fields})
