"""Binding: the compare-and-swap that gives an unbound pod its node, once.

Source: apiserver ``pkg/registry/core/pod/storage`` (BindingREST), with the resource partition of the node added, and
the bind epoch: a bind commits only while it names the pod's current one. A revocation raises it, and no bind that is
still under way can commit any more (docs/adr/0011).
"""

from __future__ import annotations

import enum
from dataclasses import replace
from typing import Any

from services.api import validation, wire
from services.api.kinds import PODS
from services.api.pb.ursa.core.v1.pod_pb2 import Binding
from services.api.pb.ursa.core.v1.pod_service_pb2 import BatchBindRequest, BindPodRequest
from services.apiserver import limits, objects, scope
from services.apiserver.commit import change
from services.apiserver.resource import Resource
from services.apiserver.writes import Makers, Updating, Writes
from services.placement.pods import TERMINAL_PHASES
from services.rpc import status
from services.rpc.handlers import Context
from services.rpc.status import StatusError, Violation
from services.storage.errors import StorageError
from services.storage.interface import Record
from services.tenant_partition.splicing import mark_scheduled, spliced


class Cause(enum.StrEnum):
    """Why a bind is refused: metadata ``cause`` of the status. The first five hold for ever, whatever happens."""

    UID = "OtherUID"
    BOUND = "BoundElsewhere"
    EPOCH = "EpochPassed"
    DELETING = "BeingDeleted"
    TERMINAL = "Terminal"
    MODIFIED = "Modified"
    GATED = "Gated"
    AHEAD = "EpochAhead"


def bound(binding: Binding, old: Any, revision: int, now_s: int) -> Any:
    """``old`` with the node of ``binding``; ``old`` itself if it is bound there already.

    Raises ``StatusError``: ABORTED, reason Conflict (EpochPassed for an epoch that was revoked), with metadata
    ``cause`` and ``bindEpoch``, and ``nodeName`` and ``resourcePartition`` of a pod that is bound.
    """
    wanted, spec = binding.metadata, old.spec
    node, partition = binding.target.name, binding.resource_partition
    if wanted.uid and wanted.uid != old.metadata.uid:
        raise _refusal(Cause.UID, f"the pod of this name has UID {old.metadata.uid}, not {wanted.uid}", old, revision)
    if spec.node_name and (spec.node_name, spec.resource_partition) != (node, partition):
        where = f"{spec.resource_partition}/{spec.node_name}"
        raise _refusal(Cause.BOUND, f"the pod is bound to node {where} already", old, revision)
    if wanted.resource_version and wanted.resource_version != revision:
        raise _refusal(Cause.MODIFIED, "the pod has been modified", old, revision)
    if spec.node_name:
        return old
    if old.metadata.HasField("deletion_timestamp"):
        raise _refusal(Cause.DELETING, "the pod is being deleted, it cannot be bound", old, revision)
    if old.status.phase in TERMINAL_PHASES:
        raise _refusal(Cause.TERMINAL, f"the pod has ended ({old.status.phase})", old, revision)
    if binding.bind_epoch != spec.bind_epoch:
        cause = Cause.EPOCH if binding.bind_epoch < spec.bind_epoch else Cause.AHEAD
        told = f"the pod's bind epoch is {spec.bind_epoch}, the binding is of {binding.bind_epoch}"
        raise _refusal(cause, told, old, revision)
    if spec.scheduling_gates:
        gates = ", ".join(gate.name for gate in spec.scheduling_gates)
        raise _refusal(Cause.GATED, f"scheduling gates hold the pod back: {gates}", old, revision)
    new: Any = PODS.message()
    new.CopyFrom(old)
    new.spec.node_name = node
    new.spec.resource_partition = partition
    new.spec.capacity_claimed = binding.capacity_claimed
    for key, value in binding.metadata.annotations.items():
        new.metadata.annotations[key] = value
    mark_scheduled(new.status, now_s)
    return new


def _refusal(cause: Cause, message: str, pod: Any, revision: int) -> StatusError:
    refusal = status.conflict("pods", pod.metadata.name, message, current_rv=revision)
    metadata = {**refusal.metadata, "cause": cause.value, "bindEpoch": str(pod.spec.bind_epoch)}
    if pod.spec.node_name:
        metadata["nodeName"], metadata["resourcePartition"] = pod.spec.node_name, pod.spec.resource_partition
    reason = Cause.EPOCH.value if cause is Cause.EPOCH else refusal.reason
    return StatusError(refusal.code, reason, refusal.message, metadata=metadata)


class Bind(Updating):
    """The transition of a bind: a splice where that will do."""

    bytes_max = limits.STORED_BYTES_MAX

    def __init__(self, binding: Binding, now_s: int) -> None:
        super().__init__(PODS, self._bound)
        self._binding = binding
        self._now_s = now_s
        self._uid = ""

    def _bound(self, old: Any, revision: int) -> Any:
        return bound(self._binding, old, revision, self._now_s)

    def __call__(self, record: Record) -> bytes | None:
        found = spliced(self._binding, record.value, self._now_s)
        if found is None or len(found[0]) > self.bytes_max:
            self._uid = ""
            return super().__call__(record)
        self._uid = found[1]
        return found[0]

    @property
    def uid(self) -> str:
        return self._uid or super().uid


class Binder:
    """Pods/Bind and Pods/BatchBind."""

    def __init__(self, pods: Resource, writes: Writes, gate: scope.TenantGate, makers: Makers) -> None:
        self._pods = replace(pods, urgent=True)
        self._writes = writes
        self._gate = gate
        self._makers = makers

    async def bind(self, request: bytes, context: Context) -> bytes:
        wanted = objects.parse_request(BindPodRequest, request)
        key, transition = await self._prepare(wanted.object, self._makers.now_s(), set())
        outcome = await change(self._pods, key, transition)
        return wire.with_resource_version(outcome.record.value, outcome.record.revision)

    async def batch_bind(self, request: bytes, context: Context) -> bytes:
        wanted = objects.parse_request(BatchBindRequest, request)
        items: list[tuple[str, Updating] | Exception] = []
        required: set[str] = set()
        now_s = self._makers.now_s()
        for binding in wanted.objects:
            try:
                items.append(await self._prepare(binding, now_s, required))
            except (StatusError, StorageError) as failure:
                items.append(failure)
        names = [binding.metadata.name for binding in wanted.objects]
        return await self._writes.answer_batch(names, items, resource=self._pods)

    async def _prepare(self, binding: Binding, now_s: int, required: set[str]) -> tuple[str, Updating]:
        """``required``: the tenants of this request that are known to be served here."""
        metadata = binding.metadata
        key = scope.target_of_object(PODS, metadata)
        tenant = metadata.tenant
        if tenant not in required:
            await self._gate.require(tenant)
            required.add(tenant)
        faults = validation.validate_binding(binding)
        if faults:
            violations = [Violation(found.field, found.message) for found in faults]
            raise status.invalid(violations, subject=f'the binding of pods "{metadata.name}"')
        return key, Bind(binding, now_s)
