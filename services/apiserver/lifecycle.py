"""Admission: an object needs a namespace that exists and is not being deleted; some namespaces stay for ever.

Source: apiserver ``plugin/namespace/lifecycle``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.api import keys
from services.api.kinds import NAMESPACES, Kind
from services.api.pb.ursa.core.v1.namespace_pb2 import Namespace
from services.apiserver.admission import Admission
from services.rpc import status
from services.storage import errors as storage
from services.storage.interface import Record, ResourceStore

DEFAULT_NAMESPACE = "default"
SYSTEM_TENANT = "system"


class NamespaceLifecycle(Admission):
    """``namespaces``: the partition's own store of them. ``immortal``: names that no client may delete, by tenant
    ("*": of every tenant)."""

    def __init__(self, namespaces: ResourceStore, immortal: Mapping[str, frozenset[str]]) -> None:
        self._namespaces = namespaces
        self._immortal = immortal
        # The last record seen of a namespace and whether it takes new objects: parsed once per change.
        self._open: dict[str, tuple[Record, bool]] = {}

    async def learn(self, kind: Kind, metadata: Any, obj: Any) -> None:
        if not kind.namespaced:
            return
        tenant, namespace = metadata.tenant, metadata.namespace
        key = keys.key(NAMESPACES, tenant, "", namespace)
        record = self._namespaces.peek(key)
        if record is None:
            try:
                record = await self._namespaces.get(key)
            except storage.KeyNotFound:
                raise status.not_found("namespaces", namespace) from None
        if not self._is_open(key, record):
            raise status.forbidden(
                f'{kind.resource} "{metadata.name}" cannot be created: namespace "{namespace}" is being terminated',
                metadata={"cause": "NamespaceTerminating"},
            )

    async def admit_delete(self, kind: Kind, key: str) -> None:
        if kind is not NAMESPACES:
            return
        _, tenant, _, name = keys.parse(key)
        if name in self._immortal.get("*", ()) or name in self._immortal.get(tenant, ()):
            raise status.forbidden(f'namespace "{name}" may not be deleted', metadata={"cause": "ProtectedNamespace"})

    def _is_open(self, key: str, record: Record) -> bool:
        known = self._open.get(key)
        if known is None or known[0] is not record:
            if len(self._open) > 100_000:
                self._open.clear()
            terminating = Namespace.FromString(record.value).metadata.HasField("deletion_timestamp")
            known = self._open[key] = record, not terminating
        return known[1]
