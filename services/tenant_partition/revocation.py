"""Revocation of binds: facts about pods that no message still under way can undo.

Whoever keeps something for a bind (a capacity claim) may give it up on such a fact, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from services.api.kinds import PODS
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.core.v1.pod_service_pb2 import (
    BatchRevokeBindRequest,
    BatchRevokeBindResponse,
    PodRevocation,
    RevocationOutcome,
)
from services.apiserver import limits, metrics, objects, scope
from services.apiserver.commit import Change, change_batch
from services.apiserver.errors import translate
from services.apiserver.resource import Resource
from services.placement.pods import TERMINAL_PHASES
from services.rpc import status
from services.rpc.handlers import Context
from services.rpc.status import StatusError, Violation
from services.storage import errors as storage
from services.storage.interface import Record


def revoked(wanted: PodRevocation, old: Pod) -> tuple[RevocationOutcome, Pod]:
    """The fact, and the pod as it is to be stored: ``old`` itself where the fact stands already."""
    outcome = RevocationOutcome(uid=wanted.uid)
    spec = old.spec
    if old.metadata.uid != wanted.uid:
        outcome.state = RevocationOutcome.ABSENT
        return outcome, old
    outcome.bind_epoch = spec.bind_epoch
    if spec.node_name:
        outcome.node_name, outcome.resource_partition = spec.node_name, spec.resource_partition
    if old.status.phase in TERMINAL_PHASES:
        outcome.state = RevocationOutcome.TERMINAL
        return outcome, old
    if spec.node_name:
        outcome.state = RevocationOutcome.BOUND
        return outcome, old
    outcome.state = RevocationOutcome.REVOKED
    if spec.bind_epoch > wanted.bind_epoch:
        return outcome, old
    new = Pod()
    new.CopyFrom(old)
    new.spec.bind_epoch = outcome.bind_epoch = wanted.bind_epoch + 1
    return outcome, new


class _Revoking:
    """The transition of one revocation: remembers the fact that it found or made."""

    def __init__(self, wanted: PodRevocation) -> None:
        self._wanted = wanted
        self.outcome = RevocationOutcome(uid=wanted.uid)

    def __call__(self, record: Record) -> bytes | None:
        old = Pod.FromString(record.value)
        self.outcome, new = revoked(self._wanted, old)
        return record.value if new is old else objects.encode(new, bytes_max=limits.STORED_BYTES_MAX)


class Revoker:
    """Pods/BatchRevokeBind. What needs no write is told after a quorum read, which the items of a batch share."""

    def __init__(self, pods: Resource, gate: scope.TenantGate) -> None:
        self._pods = replace(pods, urgent=True)
        self._gate = gate

    async def batch_revoke_bind(self, request: bytes, context: Context) -> bytes:
        wanted = objects.parse_request(BatchRevokeBindRequest, request)
        metrics.BATCH_ITEMS.labels(PODS.resource).inc(len(wanted.revocations))
        items: list[tuple[str, _Revoking] | Exception] = []
        for revocation in wanted.revocations:
            try:
                items.append((await self._key(revocation), _Revoking(revocation)))
            except (StatusError, storage.StorageError) as failure:
                items.append(failure)
        changes = await change_batch(self._pods, items)
        response = BatchRevokeBindResponse()
        for revocation, item, change in zip(wanted.revocations, items, changes, strict=True):
            response.outcomes.append(_outcome(revocation, item, change))
        return response.SerializeToString()

    async def _key(self, revocation: PodRevocation) -> str:
        """Where the pod is. A tenant that lives on another partition is refused: this one knows nothing of its pods."""
        violations = _violations(revocation)
        if violations:
            raise status.invalid(violations, subject="the revocation")
        key = scope.target(PODS, revocation)
        try:
            await self._gate.require(revocation.tenant)
        except StatusError as refusal:
            # A tenant that was deleted took its pods with it.
            if refusal.reason != "NotFound":
                raise
        return key


def _violations(revocation: PodRevocation) -> Sequence[Violation]:
    found = [] if revocation.uid else [Violation("uid", "Required value: the UID of the pod that is meant")]
    if revocation.bind_epoch < 0:
        found.append(Violation("bind_epoch", f"must not be negative, is {revocation.bind_epoch}"))
    return found


def _outcome(
    wanted: PodRevocation, item: tuple[str, _Revoking] | Exception, change: Change | Exception
) -> RevocationOutcome:
    if isinstance(change, storage.KeyNotFound):
        return RevocationOutcome(uid=wanted.uid, state=RevocationOutcome.ABSENT)
    if isinstance(change, Exception) or isinstance(item, Exception):
        failure: Any = change if isinstance(change, Exception) else item
        error = translate(PODS, failure)
        if error is None:
            raise failure
        return RevocationOutcome(uid=wanted.uid, status=error.to_status())
    return item[1].outcome
