"""Partitions in memory that know claims: a tenant partition that revokes binds, a resource partition that releases.

They keep the protocol's rules for one server and no crash; what real servers do is tested in ``integration``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from services.api.kinds import CAPACITY_CLAIMS, PODS
from services.api.pb.ursa.core.v1 import pod_pb2, pod_service_pb2
from services.api.pb.ursa.core.v1.pod_service_pb2 import PodRevocation, RevocationOutcome
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.api.pb.ursa.scheduling.v1 import capacity_pb2
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim, ClaimRelease
from services.rpc import status
from services.rpc.status import StatusError
from tests.support.fake_partition import FakePartition


def claim(
    pod: pod_pb2.Pod, node: str, *, partition: str = "tp-1", epoch: int = 0, created: float | None = None
) -> CapacityClaim:
    """The claim of ``pod`` on ``node``, as a resource partition stores it. ``created``: Unix seconds."""
    made = CapacityClaim()
    made.metadata.name = pod.metadata.uid
    spec, metadata = made.spec, pod.metadata
    spec.node_name, spec.tenant_partition, spec.bind_epoch = node, partition, epoch
    spec.tenant, spec.namespace, spec.pod_name = metadata.tenant, metadata.namespace, metadata.name
    if created is not None:
        made.metadata.creation_timestamp.seconds = int(created)
    return made


class RevokingPartition(FakePartition):
    """A tenant partition with BatchRevokeBind. ``withhold(uid)``: this pod's outcome is an error from now on."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.revocations: list[list[str]] = []
        self._withheld: set[str] = set()

    def withhold(self, uid: str) -> None:
        self._withheld.add(uid)

    def answer_for(self, uid: str) -> None:
        self._withheld.discard(uid)

    def answer_all(self) -> None:
        self._withheld.clear()

    async def call(self, path: str, data: bytes) -> bytes:
        if not path.endswith("/BatchRevokeBind"):
            return await super().call(path, data)
        if self.down:
            raise status.unavailable("partition is down")
        request = pod_service_pb2.BatchRevokeBindRequest.FromString(data)
        self.revocations.append([one.uid for one in request.revocations])
        response = pod_service_pb2.BatchRevokeBindResponse(outcomes=[self._revoke(one) for one in request.revocations])
        return response.SerializeToString()

    def _revoke(self, asked: PodRevocation) -> RevocationOutcome:
        outcome = RevocationOutcome(uid=asked.uid)
        if asked.uid in self._withheld:
            outcome.status.CopyFrom(status.unavailable("the store does not answer").to_status())
            return outcome
        pod = self.get(PODS, asked.name, asked.tenant, asked.namespace)
        if pod is None or pod.metadata.uid != asked.uid:
            outcome.state = RevocationOutcome.ABSENT
        elif pod.status.phase in ("Succeeded", "Failed"):
            outcome.state = RevocationOutcome.TERMINAL
        elif pod.spec.node_name:
            outcome.state = RevocationOutcome.BOUND
            outcome.node_name, outcome.resource_partition = pod.spec.node_name, pod.spec.resource_partition
        else:
            if pod.spec.bind_epoch <= asked.bind_epoch:
                pod.spec.bind_epoch = asked.bind_epoch + 1
                self.put(PODS, pod)
            outcome.state, outcome.bind_epoch = RevocationOutcome.REVOKED, pod.spec.bind_epoch
        return outcome


class ClaimedPartition(FakePartition):
    """A resource partition with BatchRelease; ``releases`` are those that ended a claim. ``withhold`` as above.

    ``on_release(claim, release)`` is called before a claim ends.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.releases: list[ClaimRelease] = []
        self.on_release: Callable[[CapacityClaim, ClaimRelease], None] = lambda held, release: None
        self._withheld: set[str] = set()

    def withhold(self, uid: str) -> None:
        self._withheld.add(uid)

    def answer_for(self, uid: str) -> None:
        self._withheld.discard(uid)

    @property
    def claims(self) -> set[str]:
        """UIDs of the pods that have one."""
        return {message.metadata.name for message in self.objects[CAPACITY_CLAIMS.resource].values()}

    def released(self) -> dict[str, str]:
        """UID to fact."""
        return {one.pod_uid: ClaimRelease.Fact.Name(one.fact) for one in self.releases}

    async def call(self, path: str, data: bytes) -> bytes:
        if not path.endswith("/BatchRelease"):
            return await super().call(path, data)
        if self.down:
            raise status.unavailable("partition is down")
        response = meta_pb2.BatchResponse()
        for release in capacity_pb2.BatchReleaseRequest.FromString(data).releases:
            outcome = response.outcomes.add(name=release.pod_uid)
            try:
                self._release(release)
            except StatusError as error:
                outcome.status.CopyFrom(error.to_status())
        return response.SerializeToString()

    def _release(self, release: ClaimRelease) -> None:
        if release.pod_uid in self._withheld:
            raise status.unavailable("the store does not answer")
        held = self.get(CAPACITY_CLAIMS, release.pod_uid)
        if held is None:
            return
        stays = (
            held.spec.bind_epoch > release.bind_epoch
            if release.fact == ClaimRelease.REVOKED
            else release.fact == ClaimRelease.BOUND_ELSEWHERE and held.spec.node_name == release.node_name
        )
        if stays or release.fact == ClaimRelease.FACT_UNSPECIFIED:
            raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, "ClaimStays", "the claim stays")
        self.on_release(held, release)
        self.remove(CAPACITY_CLAIMS, release.pod_uid)
        self.releases.append(release)
