"""Whose pod is this? Every UID has one kubelet and one tenant partition, and answers go nowhere else.

There is no default: Arktos' kubelet sent what it could not place to client 0, and so to the wrong partition.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from services.kubelet import metrics
from services.kubelet.kubelet import Kubelet
from services.kubelet.nodelease import SYSTEM_TENANT

_log = logging.getLogger(__name__)


class UnknownPod(LookupError):
    """No pod of this UID came from any partition."""


class Origin(NamedTuple):
    kubelet: Kubelet
    partition: str


class Provenance:
    """Pods by UID and tenants by name, each with the partition they were seen in."""

    def __init__(self) -> None:
        self._pods: dict[str, Origin] = {}
        self._tenants: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._pods)

    def remember(self, uid: str, kubelet: Kubelet, partition: str) -> None:
        if uid not in self._pods:
            self._pods[uid] = Origin(kubelet, partition)

    def forget(self, uid: str) -> None:
        self._pods.pop(uid, None)

    def of(self, uid: str) -> Origin:
        """Raises ``UnknownPod``, and counts it: something answers about a pod that nobody sent here."""
        origin = self._pods.get(uid)
        if origin is None:
            metrics.UNKNOWN_PODS.labels("host").inc()
            raise UnknownPod(f"no pod has the UID {uid}")
        return origin

    def peek(self, uid: str) -> Origin | None:
        """None where not knowing is normal: the pod may have been forgotten since."""
        return self._pods.get(uid)

    def tenant_seen(self, tenant: str, partition: str) -> None:
        """A tenant lives in one partition; two that show pods of one tenant are an error that is told and counted.
        Only the tenant ``system`` is in every one."""
        if tenant == SYSTEM_TENANT:
            return
        known = self._tenants.setdefault(tenant, partition)
        if known != partition:
            self._tenants[tenant] = partition
            metrics.UNKNOWN_PODS.labels("tenant").inc()
            _log.error("tenant seen in two partitions", extra={"tenant": tenant, "partitions": [known, partition]})

    def partition_of_tenant(self, tenant: str) -> str | None:
        """Where pods of ``tenant`` were last seen."""
        return self._tenants.get(tenant)

    def drop_partition(self, partition: str) -> None:
        """The partition is gone: its tenants may turn up elsewhere."""
        self._tenants = {tenant: name for tenant, name in self._tenants.items() if name != partition}
