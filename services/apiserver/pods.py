"""Admission of pods: priority, and the partition of a node name.

Source: apiserver ``plugin/pkg/admission/priority``.
"""

from __future__ import annotations

from collections.abc import Hashable
from operator import attrgetter
from typing import Any

from services.api import keys
from services.api.kinds import PODS, PRIORITY_CLASSES, Kind
from services.api.pb.ursa.scheduling.v1.priority_class_pb2 import PriorityClass
from services.api.selectors import EVERYTHING
from services.apiserver import objects
from services.apiserver.admission import Admission
from services.rpc import status
from services.rpc.status import StatusError, Violation
from services.storage import errors as storage
from services.storage.interface import ListQuery, ResourceStore

BUILT_IN = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_PREEMPT = "PreemptLowerPriority"


class PodPriority(Admission):
    """``spec.priority`` comes from the tenant's PriorityClass, never from the client.

    ``counted``: the store of the classes knows how many there are without being read (it is cached).
    """

    resources = frozenset({PODS.resource})

    def __init__(self, classes: ResourceStore, *, counted: bool = True) -> None:
        self._classes = classes
        self._counted = counted

    async def learn(self, kind: Kind, metadata: Any, obj: Any) -> Hashable:
        """Name, value and preemption policy of the pod's class."""
        name = obj.spec.priority_class_name
        if name in BUILT_IN:
            return name, BUILT_IN[name], _PREEMPT
        if name:
            return (name, *await self._named(metadata, name))
        return await self._global_default(metadata.tenant) or ("", 0, _PREEMPT)

    def impose(self, kind: Kind, obj: Any, learnt: Any) -> None:
        name, value, policy = learnt
        spec = obj.spec
        if spec.HasField("priority") and spec.priority != value:
            raise _invalid(obj.metadata, "spec.priority", f"must be what the priority class gives: {value}")
        if spec.preemption_policy and spec.preemption_policy != policy:
            raise _invalid(obj.metadata, "spec.preemptionPolicy", f"must be what the priority class gives: {policy}")
        spec.priority_class_name, spec.priority, spec.preemption_policy = name, value, policy

    async def _named(self, metadata: Any, name: str) -> tuple[int, str]:
        try:
            key = keys.key(PRIORITY_CLASSES, metadata.tenant, "", name)
            record = self._classes.peek(key) or await self._classes.get(key)
        except (storage.KeyNotFound, keys.InvalidKey):
            raise _invalid(
                metadata, "spec.priorityClassName", f'tenant "{metadata.tenant}" has no PriorityClass "{name}"'
            ) from None
        found = PriorityClass.FromString(record.value)
        return found.value, found.preemption_policy or _PREEMPT

    async def _global_default(self, tenant: str) -> tuple[str, int, str] | None:
        prefix = keys.prefix(PRIORITY_CLASSES, tenant)
        if self._counted and not self._classes.count(prefix):
            return None
        page = await self._classes.list(ListQuery(prefix, EVERYTHING, revision=0))
        defaults = [
            found
            for found in (PriorityClass.FromString(record.value) for record in page.records)
            if found.global_default
        ]
        if not defaults:
            return None
        # Should several exist, the lowest one counts (as upstream).
        lowest = min(defaults, key=attrgetter("value"))
        return lowest.metadata.name, lowest.value, lowest.preemption_policy or _PREEMPT


class PodPlacement(Admission):
    """A node name means something only together with the resource partition that holds the node."""

    resources = frozenset({PODS.resource})

    def impose(self, kind: Kind, obj: Any, learnt: Hashable) -> None:
        spec = obj.spec
        if spec.node_name and not spec.resource_partition:
            raise _invalid(
                obj.metadata, "spec.resourcePartition", "Required value: spec.nodeName is a node of which partition?"
            )
        if spec.resource_partition and not spec.node_name:
            raise _invalid(obj.metadata, "spec.nodeName", "Required value: spec.resourcePartition without a node")


def _invalid(metadata: Any, field: str, description: str) -> StatusError:
    name = metadata.name or metadata.generate_name
    return status.invalid([Violation(field, description)], subject=objects.subject(PODS, name))
