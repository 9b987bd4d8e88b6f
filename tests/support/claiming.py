"""A fake resource partition that keeps a capacity ledger, by the real arithmetic of ``services.placement.ledger``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from services.api.kinds import CAPACITY_CLAIMS, CAPACITY_LEDGERS, NODES, Kind
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.api.pb.ursa.scheduling.v1 import capacity_pb2
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim, CapacityLedger, ClaimOutcome
from services.placement import ledger as rules
from services.placement.ledger import Ledger
from services.rpc import status
from services.rpc.status import StatusError
from tests.support.fake_partition import FakePartition


class ResourcePartitionDouble(FakePartition):
    """Nodes bring ledgers; claims and releases change them. Answers can be lost, ledgers kept back from watches."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.claim_calls = 0
        # Called before each batch of claims is decided: what others do in that moment.
        self.before_claims: list[Callable[[], None]] = []
        self._lost: list[str] = []
        self._lost_releases: list[str] = []
        # Its etcd takes nothing but deletions: claims have an outcome each, which says so.
        self.full = False

    def lose_claims(self, *stages: str) -> None:
        """For each of the next claim batches: "before" it is decided, "after" it, or "never" (nothing is lost)."""
        self._lost += stages

    def lose_releases(self, *stages: str) -> None:
        self._lost_releases += stages

    def claims(self) -> dict[str, CapacityClaim]:
        """Held and promised, by pod UID."""
        return {claim.metadata.name: claim for claim in self.objects[CAPACITY_CLAIMS.resource].values()}

    def ledger(self, node: str) -> Ledger | None:
        found = self.get(CAPACITY_LEDGERS, node)
        return None if found is None else Ledger.of(found)

    def claim(self, uid: str, node: str, *, tenant_partition: str = "tp-2", epoch: int = 0, **requests: int) -> None:
        """A claim of somebody else; it must be granted."""
        claim = CapacityClaim()
        claim.metadata.name = uid
        claim.spec.node_name, claim.spec.tenant_partition, claim.spec.bind_epoch = node, tenant_partition, epoch
        claim.spec.requests.update(requests)
        outcome = self._decide(claim)
        assert outcome.state == ClaimOutcome.HELD, outcome

    def release(self, uid: str) -> None:
        """Somebody ends a claim."""
        self._end(capacity_pb2.ClaimRelease(pod_uid=uid, fact=capacity_pb2.ClaimRelease.ABSENT))

    def over_committed(self) -> list[str]:
        """Nodes whose held claims are more than allocatable."""
        found = []
        for message in self.objects[CAPACITY_LEDGERS.resource].values():
            ledger = Ledger.of(message)
            held: dict[str, int] = {}
            for total in ledger.claimed.values():
                for resource, amount in total.items():
                    held[resource] = held.get(resource, 0) + amount
            if any(amount > ledger.allocatable.get(resource, 0) for resource, amount in held.items()):
                found.append(message.metadata.name)
        return found

    # The partition's side

    def _commit(self, kind: Kind, key: str, old: Any, new: Any) -> Any:
        stored = super()._commit(kind, key, old, new)
        if kind is NODES:
            name = (new if new is not None else old).metadata.name
            before = self.ledger(name)
            after = rules.node_changed(before, new)
            if after != before:
                self._keep(name, after)
        return stored

    async def call(self, path: str, data: bytes) -> bytes:
        method = path.rsplit("/", 1)[1]
        if method == "BatchClaim":
            return self._claims(data).SerializeToString()
        if method == "BatchRelease":
            return self._releases(data).SerializeToString()
        return await super().call(path, data)

    def _claims(self, data: bytes) -> capacity_pb2.BatchClaimResponse:
        request = capacity_pb2.BatchClaimRequest.FromString(data)
        self._enter("BatchClaim", request)
        self.claim_calls += 1
        stage = self._lost.pop(0) if self._lost else "never"
        if stage == "before":
            raise status.unavailable("the request was lost")
        if self.before_claims:
            self.before_claims.pop(0)()
        response = capacity_pb2.BatchClaimResponse(outcomes=[self._decide(claim) for claim in request.claims])
        if stage == "after":
            raise status.unavailable("the answer was lost")
        return response

    def _releases(self, data: bytes) -> meta_pb2.BatchResponse:
        request = capacity_pb2.BatchReleaseRequest.FromString(data)
        self._enter("BatchRelease", request)
        stage = self._lost_releases.pop(0) if self._lost_releases else "never"
        if stage == "before":
            raise status.unavailable("the request was lost")
        response = meta_pb2.BatchResponse()
        for release in request.releases:
            self._end(release)
            response.outcomes.add(name=release.pod_uid)
        if stage == "after":
            raise status.unavailable("the answer was lost")
        return response

    def _enter(self, method: str, request: Any) -> None:
        if self.down:
            raise status.unavailable("partition is down")
        self.calls.append((method, request))
        for refusal in self._refusals:
            if refusal[0] == method:
                self._refusals.remove(refusal)
                raise refusal[1]

    def _decide(self, wanted: CapacityClaim) -> ClaimOutcome:
        if self.full:
            error = status.resource_exhausted("StorageFull", "the storage is full")
            return ClaimOutcome(pod_uid=wanted.metadata.name, status=error.to_status())
        node = wanted.spec.node_name
        before = self.ledger(node)
        decision = rules.claim(before, wanted, lambda uid: self.get(CAPACITY_CLAIMS, uid))
        if decision.record is not None:
            self.put(CAPACITY_CLAIMS, decision.record)
        if decision.ledger is not None and decision.ledger != before:
            self._keep(node, decision.ledger)
        outcome = ClaimOutcome(
            pod_uid=wanted.metadata.name,
            state=decision.state.value,
            node_name=decision.node_name,
            bind_epoch=decision.bind_epoch,
        )
        if decision.state is rules.State.REFUSED:
            outcome.status.CopyFrom(_refusal(decision.reason, decision.message).to_status())
        return outcome

    def _end(self, release: capacity_pb2.ClaimRelease) -> None:
        claim = self.get(CAPACITY_CLAIMS, release.pod_uid)
        if claim is None or not rules.ends(claim, release):
            return
        self.remove(CAPACITY_CLAIMS, release.pod_uid)
        before = self.ledger(claim.spec.node_name)
        assert before is not None
        self._keep(claim.spec.node_name, rules.release(before, claim))

    def _keep(self, node: str, ledger: Ledger | None) -> None:
        if ledger is None:
            self.remove(CAPACITY_LEDGERS, node)
            return
        message = CapacityLedger()
        message.metadata.name = node
        ledger.write_to(message)
        self.put(CAPACITY_LEDGERS, message)


def _refusal(reason: str, message: str) -> StatusError:
    return StatusError(grpc.StatusCode.FAILED_PRECONDITION, reason, message)
