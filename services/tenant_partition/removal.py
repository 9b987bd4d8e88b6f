"""Pods/BatchDelete: each pod as Delete has it, all in one batch of the group commit."""

from __future__ import annotations

from services.api.kinds import PODS
from services.api.pb.ursa.core.v1.pod_service_pb2 import BatchDeletePodsRequest
from services.api.pb.ursa.meta.v1.meta_pb2 import BatchResponse, DeleteRequest
from services.apiserver import deletion, metrics, objects, scope
from services.apiserver.commit import Change
from services.apiserver.deletion import DeleteOptions
from services.apiserver.errors import translate
from services.apiserver.writes import Writes
from services.rpc import status
from services.rpc.handlers import Context
from services.rpc.status import StatusError
from services.storage import errors as storage


class Remover:
    """``writes``: those of pods."""

    def __init__(self, writes: Writes, gate: scope.TenantGate) -> None:
        self._writes = writes
        self._gate = gate

    async def batch_delete(self, request: bytes, context: Context) -> bytes:
        wanted = objects.parse_request(BatchDeletePodsRequest, request)
        metrics.BATCH_ITEMS.labels(PODS.resource).inc(len(wanted.items))
        items: list[tuple[str, DeleteOptions] | Exception] = []
        for item in wanted.items:
            try:
                items.append(await self._prepare(item))
            except (StatusError, storage.StorageError) as failure:
                items.append(failure)
        response = BatchResponse()
        for item, outcome in zip(wanted.items, await self._writes.delete_batch(items), strict=True):
            _add(response, item.name, outcome)
        return response.SerializeToString()

    async def _prepare(self, item: DeleteRequest) -> tuple[str, DeleteOptions]:
        key = scope.target(PODS, item)
        await self._gate.require(item.tenant)
        if item.dry_run:
            raise status.bad_field("dry_run", "a batch cannot be tried; delete one by one")
        await self._writes.admit_delete(key)
        return key, deletion.check_request(item)


def _add(response: BatchResponse, name: str, outcome: Change | Exception) -> None:
    """What became of one pod; resource version 0: it is gone."""
    if isinstance(outcome, Exception):
        error = translate(PODS, outcome)
        if error is None:
            raise outcome
        response.outcomes.add(name=name, status=error.to_status())
        return
    uid = PODS.message.FromString(outcome.record.value).metadata.uid  # type: ignore[attr-defined]
    response.outcomes.add(name=name, uid=uid, resource_version=0 if outcome.removed else outcome.record.revision)
