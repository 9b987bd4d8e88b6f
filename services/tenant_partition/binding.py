"""Binding: the compare-and-swap that gives an unbound pod its node, once.

Source: apiserver ``pkg/registry/core/pod/storage`` (BindingREST), with the resource partition of the node added.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from services.api import validation, wire
from services.api.kinds import PODS
from services.api.pb.ursa.core.v1.pod_pb2 import Binding
from services.api.pb.ursa.core.v1.pod_service_pb2 import BatchBindRequest, BindPodRequest
from services.apiserver import objects, scope
from services.apiserver.commit import change
from services.apiserver.resource import Resource
from services.apiserver.writes import Makers, Updating, Writes
from services.rpc import status
from services.rpc.handlers import Context
from services.rpc.status import StatusError, Violation
from services.storage.errors import StorageError


def bound(binding: Binding, old: Any, revision: int, now_s: int) -> Any:
    """``old`` with the node of ``binding``; ``old`` itself if it is bound there already. Raises ``StatusError``."""
    objects.check_preconditions(
        PODS, old, revision, uid=binding.metadata.uid, resource_version=binding.metadata.resource_version
    )
    name, node, partition = old.metadata.name, binding.target.name, binding.resource_partition
    if old.metadata.HasField("deletion_timestamp"):
        raise status.conflict("pods", name, "the pod is being deleted, it cannot be bound", current_rv=revision)
    if old.spec.node_name:
        if (old.spec.node_name, old.spec.resource_partition) == (node, partition):
            return old
        where = f"{old.spec.resource_partition}/{old.spec.node_name}"
        raise status.conflict("pods", name, f"the pod is bound to node {where} already", current_rv=revision)
    if old.spec.scheduling_gates:
        gates = ", ".join(gate.name for gate in old.spec.scheduling_gates)
        raise status.conflict("pods", name, f"scheduling gates hold the pod back: {gates}", current_rv=revision)
    new: Any = PODS.message()
    new.CopyFrom(old)
    new.spec.node_name = node
    new.spec.resource_partition = partition
    for key, value in binding.metadata.annotations.items():
        new.metadata.annotations[key] = value
    condition = next((found for found in new.status.conditions if found.type == "PodScheduled"), None)
    if condition is None:
        condition = new.status.conditions.add(type="PodScheduled")
    condition.status = "True"
    condition.reason = condition.message = ""
    condition.last_transition_time.seconds = now_s
    condition.last_transition_time.nanos = 0
    return new


class Binder:
    """Pods/Bind and Pods/BatchBind."""

    def __init__(self, pods: Resource, writes: Writes, gate: scope.TenantGate, makers: Makers) -> None:
        self._pods = replace(pods, urgent=True)
        self._writes = writes
        self._gate = gate
        self._makers = makers

    async def bind(self, request: bytes, context: Context) -> bytes:
        wanted = objects.parse_request(BindPodRequest, request)
        key, transition = await self._prepare(wanted.object)
        outcome = await change(self._pods, key, transition)
        return wire.with_resource_version(outcome.record.value, outcome.record.revision)

    async def batch_bind(self, request: bytes, context: Context) -> bytes:
        wanted = objects.parse_request(BatchBindRequest, request)
        items: list[tuple[str, Updating] | Exception] = []
        for binding in wanted.objects:
            try:
                items.append(await self._prepare(binding))
            except (StatusError, StorageError) as failure:
                items.append(failure)
        names = [binding.metadata.name for binding in wanted.objects]
        return await self._writes.answer_batch(names, items, resource=self._pods)

    async def _prepare(self, binding: Binding) -> tuple[str, Updating]:
        key = scope.target_of_object(PODS, binding.metadata)
        await self._gate.require(binding.metadata.tenant)
        violations = [Violation(found.field, found.message) for found in validation.validate_binding(binding)]
        if violations:
            raise status.invalid(violations, subject=f'the binding of pods "{binding.metadata.name}"')
        now_s = self._makers.now_s()
        return key, Updating(PODS, lambda old, revision: bound(binding, old, revision, now_s))
